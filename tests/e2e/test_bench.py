"""The benches that dashboards read: their keys, and that what they say can be true."""

import json
import math
import os
import shutil
import subprocess
import sys
import tempfile

from cell import PATIENCE, expect, expect_text, parse_arguments, run_cases

SHAPE = ("--layers", "1", "--hidden", "32", "--heads", "2", "--tokens", "8", "--vocab", "40",
         "--repeat", "2")
DELAY_MS = 2
COMPARE = os.path.join(os.path.dirname(__file__), "..", "..", "bench", "compare")


def bench(options, *words, code=0):
    """What `mpcformer bench` with these words says: an object, or its complaint."""
    p = subprocess.run([options.tool, "bench", *words, "--json"], capture_output=True,
                       timeout=120 * PATIENCE)
    expect(p.returncode == code, f"bench {' '.join(words)}: exit {p.returncode}: {p.stderr}")
    return p.stderr.decode() if code else json.loads(p.stdout)


def bert(options):
    """Both links do the same work, right, and no faster than the line that is imposed."""
    rows = {(link, shape): bench(options, "bert", *SHAPE, "--link", link,
                                 *(("--shape", shape) if shape else ()))
            for link in ("mem", "uring") for shape in ("", f"{DELAY_MS}ms")}
    cost = {(r["bytes_online"], r["rounds_online"], r["bytes_offline"]) for r in rows.values()}
    expect(len(cost) == 1, f"costs differ: {cost}")
    for (link, shape), r in rows.items():
        expect(r["correct"], f"{link} {shape}: not correct: {r['error_max']}")
        expect((r["link"], r["shape"]) == (link, shape or "none"), f"{link} {shape}: {r}")
        expect(0 < r["online_ms_min"] <= r["online_ms_median"], f"{link} {shape}: {r}")
        # In a lab the total is of another query, and on a busy machine it may have been the lucky one.
        expect(r["total_ms_median"] > (r["online_ms_median"] if link == "mem" else 0),
               f"{link} {shape}: {r}")
        for key in ("offline_party_ms_median", "offline_dealer_ms_median", "gmac_online"):
            expect(r[key] > 0, f"{link} {shape}: {key} is {r[key]}")
        # Only a lab has processes whose time and memory can be told apart.
        for key in ("online_cpu_ms_median", "prepare_cpu_ms_median", "deal_cpu_ms_median",
                    "party_rss_bytes"):
            expect(r.get(key, 0) > 0 if link == "uring" else key not in r,
                   f"{link} {shape}: {key} is {r.get(key)}")
        for parts in (r["ops"], r["products"]):
            expect(math.isclose(sum(p["gmac"] for p in parts), r["gmac_online"]),
                   f"{link}: multiply-adds of {parts}")
        expect({"open", "matmul"} <= {op["kind"] for op in r["ops"]}, f"{link}: {r['ops']}")
        # Openings that do not wait for each other share a delay: fewer than a quarter do.
        least = 0.75 * r["rounds_online"] * DELAY_MS if shape else 0
        expect(r["online_ms_min"] >= least, f"{link} {shape}: {r['online_ms_min']} ms, not {least}")
    expect_text("--link pigeon: there are mem, uring and dpdk",
                bench(options, "bert", "--link", "pigeon", code=2), "a bad link")
    expect_text("--shape 1: \"1\" is no rate",
                bench(options, "bert", "--shape", "1", code=2), "a bad line")


def functions(options):
    """Every activation and softmax is right; exact ones cost more, and what a plan says they do."""
    cost = {}
    for hidden in ("gelu", "gelu_new", "relu", "quad", "tanh"):
        for softmax in ("softmax", "2relu", "2quad"):
            names = ("--hidden-act", hidden, "--softmax-act", softmax)
            r = bench(options, "bert", *SHAPE, "--link", "mem", *names)
            expect(r["correct"], f"{names}: not correct: {r['error_max']}")
            cost[hidden, softmax] = r["bytes_online"]
    least = cost["quad", "2quad"]
    expect(all(c > least for names, c in cost.items() if names != ("quad", "2quad")), f"{cost}")
    model = SHAPE[:SHAPE.index("--repeat")]
    exact = bench(options, "forms", *model, "--hidden-act", "gelu", "--softmax-act", "softmax")
    expect(exact["forms"][0]["bytes_online"] == cost["gelu", "softmax"], f"{exact} and {cost}")
    expect_text("--hidden-act swish: it may be one of: gelu, gelu_new, relu, quad, tanh",
                bench(options, "bert", "--hidden-act", "swish", code=2), "a bad activation")
    expect_text("--softmax-act max: it may be one of: softmax, 2relu, 2quad",
                bench(options, "forms", "--softmax-act", "max", code=2), "a bad softmax")


def table(options):
    """A row a pair and length, what `bench bert` says of it, and the speed-up over the first pair."""
    words = ("functions", *SHAPE, "--link", "mem", "--tokens")
    p = subprocess.run([options.tool, "bench", *words, "8,16", "--json"], capture_output=True,
                       timeout=120 * PATIENCE)
    expect(p.returncode == 0, f"bench functions: exit {p.returncode}: {p.stderr}")
    rows = [json.loads(line) for line in p.stdout.splitlines()]
    pairs = [f"{hidden}+{softmax}" for softmax in ("softmax", "2relu", "2quad")
             for hidden in ("gelu", "quad")]
    expect([(r["tokens"], r["functions"]) for r in rows] == [(n, p) for n in (8, 16) for p in pairs],
           f"rows: {rows}")
    for i, r in enumerate(rows):
        base = rows[i - i % len(pairs)]
        expect(r["correct"] is True, f"{r['functions']}: {r}")
        for name in ("online", "total"):
            expect(math.isclose(r[f"speedup_{name}"] * r[f"{name}_ms_median"],
                                base[f"{name}_ms_median"]), f"speed-up of {r}")
        expect(i % len(pairs) == 0 or r["bytes_online"] < base["bytes_online"], f"bytes of {r}")
    expect(rows[0]["model"] == "1 layer of 32" and rows[-1]["speedup_mpcformer"] == 5.26, f"{rows}")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "rates.json")
        with open(path, "w") as f:
            f.write('{"round_ns": 0, "byte_ns": 0, "work_ns": {}}\n' + p.stdout.decode())
        rates = bench(options, "rates", "--rates", path)
        with open(path, "w") as f:
            f.write(p.stdout.decode())
        with open(path + ".of", "w") as f:
            json.dump(rates, f)
        held = bench(options, "rates", "--rates", path + ".of", "--against", path)["rows"]
    expect(len(held) == len(rows) and min(rates["work_ns"].values()) >= 0, f"{rates}, {held}")
    predicted = sum(r["predicted_ms"] for r in held)
    measured = sum(op["ms"] for r in rows for op in r["ops"])
    expect(0.5 < predicted / measured < 2, f"{predicted} ms predicted, {measured} measured: {rates}")
    said = subprocess.run([options.tool, "bench", "functions", "--layers", "100", "--hidden", "8192",
                           "--heads", "64", "--tokens", "8", "--only", "quad+2quad"],
                          capture_output=True, text=True, timeout=120 * PATIENCE)
    expect(said.returncode == 1, f"what fits nowhere: exit {said.returncode}: {said}")
    expect_text("quad\\+2quad +8 +does not fit in memory: about [0-9.]+ GiB are needed", said.stdout,
                "what fits nowhere")
    expect_text("--only gelu\\+cubic: there are",
                bench(options, "functions", "--only", "gelu+cubic", code=2), "a bad pair")
    expect_text("--link pigeon: there are mem",
                bench(options, "functions", "--link", "pigeon", code=2), "a bad link")


def forms(options):
    """A row without each form, one with all and one with none; what runs is the one with all."""
    model = SHAPE[:SHAPE.index("--repeat")]
    rows = {row["without"]: row for row in bench(options, "forms", *model)["forms"]}
    expect(list(rows) == ["nothing", "cut", "narrow", "multiply", "compare", "scale", "turns", "any"],
           f"rows: {list(rows)}")
    run = bench(options, "bert", *SHAPE, "--link", "mem")
    for key in ("bytes_online", "rounds_online", "bytes_offline", "gmac_online"):
        expect(rows["nothing"][key] == run[key], f"{key}: {rows['nothing']} and {run}")
    for key in ("bytes_online", "rounds_online", "gmac_online"):
        expect(rows["nothing"][key] < rows["any"][key], f"{key}: {rows}")


def link(options):
    """The engine that was chosen is the one that is named; each engine is measured."""
    best = bench(options, "link", "--link", "mem")
    engines = {row["engine"] for row in best["seal_gb_per_s"]}
    expect(best["seal"] in engines and "openssl" in engines, f"engines: {engines}")
    for row in best["seal_gb_per_s"]:
        expect(row["seal"] > 0 and row["open"] > 0, f"a rate of nothing: {row}")
    expect({row["bytes"] for row in best["seal_gb_per_s"]} == {1400, 65536, 1 << 20}, "sizes")
    forced = bench(options, "link", "--link", "uring", "--seal", "openssl")
    expect(forced["seal"] == "openssl", f"asked for openssl: {forced['seal']}")
    expect(len(forced["exchange"]) == len(forced["raw"]["exchange"]) > 0, "exchanges")
    for name in ("spinning", "epoll"):
        peer = forced["peers"][name]
        expect(peer["pingpong_us_p50"] > 0 and len(peer["exchange"]) == len(forced["exchange"]),
               f"{name}: {peer}")
    expect(("iperf3" in forced["peers"]) == bool(shutil.which("iperf3")) and
           forced["peers"].get("iperf3", {"gbit_per_s": 1})["gbit_per_s"] > 0, "iperf3")
    for row in (best, forced):
        expect(row["peers"]["memcpy_gbit_per_s"] > 0, f"peers: {row['peers']}")
        for at in row["exchange"]:
            expect(math.isclose(at["gbit_per_s_median"] / at["limit_gbit_per_s"], at["of_limit"]),
                   f"{at}")
    expect("features" not in best, "memory offers nothing")
    expect_text("sends", forced["features"], "what is in use")
    never = bench(options, "link", "--zero-copy", "never")
    expect_text("plain sends \\(as asked for\\)", never["features"], "what is in use")
    expect_text("--zero-copy perhaps: try, never or always",
                bench(options, "link", "--zero-copy", "perhaps", code=2), "a bad time")
    expect_text("--seal wax: ipsec-mb or openssl",
                bench(options, "link", "--seal", "wax", code=2), "a bad engine")
    return f"{best['seal']} of {', '.join(sorted(engines))}"


def load(options):
    """Every question is answered or counted, at a rate as at none, and waits count as latency; a
    percentage is of what the cell can do. The page that it draws is the report's."""
    with tempfile.TemporaryDirectory() as folder:
        page, again, log = (os.path.join(folder, name) for name in ("a.html", "b.html", "rows"))
        words = ("lab", "--model", options.model, "--", options.tool, "bench", "load", "--json",
                 "--seconds", "1", "--clients", "2", "--page", page, "--rate", "max,5,40%")
        p = subprocess.run([options.tool, *words], capture_output=True, text=True,
                           timeout=60 * PATIENCE)
        expect(p.returncode == 0, f"bench load: exit {p.returncode}: {p.stderr}")
        with open(log, "w") as f:
            f.write(p.stdout)
        subprocess.run([options.tool, "report", "--load", log, "--out", again], check=True,
                       timeout=20 * PATIENCE)
        with open(page) as one, open(again) as other:
            expect(one.read() == other.read(), "the page is another than the report's")
    rows = [json.loads(line) for line in p.stdout.splitlines()]
    expect([row["offered_per_s"] for row in rows[:2]] == [None, 5], f"rates: {rows}")
    expect(math.isclose(rows[2]["offered_per_s"], 0.4 * rows[0]["answered_per_s"], rel_tol=1e-6),
           f"40 % of {rows[0]}: {rows[2]}")
    peak = 0
    for row in rows:
        peak = max(peak, row["answered_per_s"])
        expect(math.isclose(row["of_peak"], row["answered_per_s"] / peak, rel_tol=1e-6), f"{row}")
        expect(row["answered"] > 0 and row["failed"] == row["refused"] == 0, f"answers: {row}")
        expect(0 < row["online_ms"]["p50"] < row["latency_ms"]["p50"] <= row["latency_ms"]["p99"],
               f"latency: {row}")
    for rate in ("0", "fast", "5,", "1,-1", "50%,max"):
        p = subprocess.run([options.tool, "bench", "load", "--rate", rate], capture_output=True,
                           text=True, timeout=20 * PATIENCE)
        expect(p.returncode == 2, f"--rate {rate}: exit {p.returncode}")
        expect_text("questions a second|max has to stand before", p.stderr, f"--rate {rate}")
    return f"{rows[0]['answered_per_s']:.0f} a second"


def compare_run(*words, code=0):
    """What bench/compare with these words prints, or its complaint."""
    p = subprocess.run([COMPARE, *words], capture_output=True, text=True, timeout=300 * PATIENCE)
    expect(p.returncode == code, f"bench/compare {' '.join(words)}: {p.returncode}: {p.stderr}")
    return p.stderr if code else p.stdout


def compare(options):
    """Every instruction set is measured and right, or named as absent; nothing of how fast."""
    build = os.path.dirname(os.path.dirname(options.tool))
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "figures.json")
        words = ("--build", build, "--quick", "--json", file)
        said = compare_run(*words, "--only", "product,model")
        with open(file, encoding="utf-8") as f:
            report = json.load(f)
    expect(report["correct"] and report["quick"] and report["machine"]["cores"] > 0, "the head")
    expect(set(report["parts"]) == {"product", "model"}, f"parts: {list(report['parts'])}")
    product = report["parts"]["product"]
    for shape in {r["shape"] for r in product["rows"]}:
        rows = [r for r in product["rows"] if r["shape"] == shape]
        absent = {r["isa"] for r in rows if r.get("absent")}
        rings = {isa: {r["ring"] for r in rows if r["isa"] == isa and not r.get("absent")}
                 for isa in ("amx", "ifma", "avx512", "avx2", "c")}
        for isa, measured in rings.items():
            expect((isa in absent) != (measured >= {48, 64}), f"{shape} by {isa}: {measured}")
        expect("c" not in absent, "plain C is absent")
    for r in product["rows"] + product["openblas"]:
        if r.get("absent"):
            expect_text(rf"\| {r['isa']} .*not on this CPU", said, f"{r['isa']} in the table")
        else:
            expect(r["correct"] is True and r["gmac_per_s_median"] > 0, f"a wrong product: {r}")
    expect(product["openblas"] or "libopenblas-dev" in product["openblas_absent"], "OpenBLAS")
    for r in report["parts"]["model"]:
        expect(r["label"] == "positive" and r["n"] > 1, f"the shipped model: {r}")
    expect_text("there is product", compare_run(*words, "--only", "pigeons", code=2), "a bad part")
    expect_text("mpcformer is not there",
                compare_run("--build", "/nonexistent", "--only", "link", code=3), "no build")
    return f"not on this CPU: {', '.join(sorted(absent)) or 'none'}"


def main():
    options = parse_arguments(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TMPDIR"] = folder
        cases = (bert, functions, table, forms, link, load) + ((compare,) if options.long else ())
        failed = run_cases(cases, options, options)
        if os.listdir(folder):
            failed += 1
            print(f"left behind: {os.listdir(folder)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
