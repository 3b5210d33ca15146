"""The appliance as its users see it: right answers in three number formats, from arguments, lines
and pairs, alone and side by side, and exit codes that scripts can rely on.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import time

from cell import NAMES, PATIENCE, check_row, expect, expect_text, run_cell

TEXTS = ("a film to remember", "tired and far too long", "warm, funny and never cruel",
         "the jokes are old and the songs are worse", "a small wonder", "I want my evening back",
         "two hours of people talking in a kitchen, and I would have stayed for two more",
         "it has a plot, I am told", "not bad at all", "not good at all",
         "the lead gives everything; the script gives nothing back",
         "my grandmother slept, my children cried and I envied them both, which for a comedy of "
         "this length and this price is really quite an achievement, if not the one they wanted")
DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data")
NOTHING = -0.763079707  # of regression, for an empty text, in kinds.tsv
BY_HAND = """cd "$(dirname "$MPCFORMER_CONFIG")"
    mpcformer job split --model model/client --output jobs ""
    for p in party1 party0; do
        mpcformer job submit --socket $p.control --input jobs/$p.job --output $p.answer --json
    done | sed 's/.*"job":"\\([^"]*\\)".*/\\1/' > ids
    for p in party1 party0; do mpcformer job wait --socket $p.control "$(head -n 1 ids)" >&2; done
    mpcformer job reveal --json --model model/client party0.answer party1.answer"""
FORMATS = ((64, 16), (48, 12), (40, 11))


def owner_of(cell, folder):
    """The configuration of an owner who asks for another model."""
    cell.write_config(f"owner-{folder}", [(key, f"{folder}/client" if key == "model" else value)
                                          for key, value in cell.config("owner")])
    return f"owner-{folder}"


def formats(cell, options):
    """Every format says what the float model says, within its plan's bound, at its plan's cost."""
    said = []
    for ring, frac in FORMATS[1:]:
        cell.formats[f"f{ring}"] = cell.share(f"f{ring}", ring, frac, "16,48")
        cell.load_all(f"f{ring}")
        owner_of(cell, f"f{ring}")
    for folder, shared in cell.formats.items():
        config = "owner" if folder == "model" else f"owner-{folder}"
        texts = TEXTS if options.long or shared["ring"] > 40 else TEXTS[:5]
        a = cell.infer("--compare", *texts, config=config, timeout=60)
        expect(a.code == 0 and len(a.rows) == len(texts), f"{folder}: exit {a.code}: {a.text}")
        costs = {(v["bytes_online"], v["rounds_online"]) for v in shared["variants"]}
        for row in a.rows:
            check_row(row, shared)
            expect((row["bytes_online"], row["rounds_online"]) in costs,
                   f"{folder}: {row['bytes_online']} bytes in {row['rounds_online']} rounds, and "
                   f"the plan says {costs}")
        expect(len({row["label"] for row in a.rows}) == 2, f"{folder}: all labels are the same")
        said.append(f"{shared['ring']}/{shared['frac']} {len(a.rows)} right")
    return ", ".join(said)


def lines(cell, _):
    """Lines of standard input, in their order; a line that is none is named."""
    answers = cell.run("infer", "--json", "--compare", "--config", "owner.conf",
                       stdin="\n".join(TEXTS[:3]).encode() + b"\r\n")
    rows = [json.loads(line) for line in answers.splitlines()]
    expect(len(rows) == 3, f"{len(rows)} answers to 3 lines")
    for row in rows:
        check_row(row, cell.shared)
    alone = cell.infer(TEXTS[1]).rows[0]
    expect(rows[1]["label"] == alone["label"], "lines are answered out of order")
    expect_text(r"standard input, line 2: .*NUL", cell.run(
        "infer", "--config", "owner.conf", stdin=b"fine\nwith \0 inside\n", code=3), "a NUL")


def lengths(cell, _):
    """Texts of different lengths in one job, whoever may know them; and a mode that is not there."""
    words = TEXTS[0].split()
    texts = [" ".join((words * 4)[:n]) for n in (1, 30, 5)]
    shared = cell.formats["both"] = cell.share("both", 48, 12, "16,48",
                                               ("--length", "both", "--batch", "2"))
    cell.load_all("both")
    config = owner_of(cell, "both")
    costs = {(v["tokens"], v["length"], v["batch"]): v["rounds_online"] for v in shared["variants"]}
    expect(len(costs) == 8, f"the variants of two buckets, modes and batches are {costs}")
    for mode in ("public", "bucket"):
        alone = cell.infer("--compare", "--length", mode, *texts, config=config, timeout=60)
        together = cell.infer("--compare", "--length", mode, "--batch", "2", *texts, config=config,
                              timeout=60)
        for a in (alone, together):
            expect(a.code == 0 and len(a.rows) == len(texts), f"{mode}: {a}")
            for row in a.rows:
                check_row(row, shared)
                expect(row["length"] == mode, f"{row['length']} instead of {mode}")
        expect([row["batch"] for row in together.rows] == [2, 2, 1], f"jobs of {together.rows}")
        expect(together.rows[0]["rounds_online"] == costs[48, mode, 2], f"rounds of {together.rows}")
        expect(len({row["bytes_upload"] for row in alone.rows}) == 2, "a size for each bucket")
    expect(cell.infer(texts[0], config=config).rows[0]["length"] == "bucket", "the usual mode")
    for command in (("infer", "--config", "owner.conf", texts[0]),
                    ("eval", "--config", "owner.conf", "--data", "no.tsv"),
                    ("job", "split", "--model", "model/client", "--output", "none", texts[0])):
        code = 3 if command[0] == "job" else 2
        expect_text("no variant for it; its owner makes one with `mpcformer share --length public`",
                    cell.run(*command, "--length", "public", code=code), f"{command[0]}: a lost mode")
        expect_text("there are public and bucket", cell.run(*command, "--length", "secret",
                                                            code=code), f"{command[0]}: no mode")
    expect_text("public, bucket and both", cell.run("share", "--model", cell.model, "--out", "no",
                                                    "--length", "none", code=2), "share: no mode")


def labels_only(cell, _):
    """A model that gives labels and nothing else: not to infer, not to a job, not in the halves of
    the answer that its owner gets."""
    shared = cell.share("labels", 48, 12, "16", ("--labels-only", "--batch", "2"))
    costs = {v["batch"]: (v["rounds_online"], v["bytes_online"]) for v in shared["variants"]}
    cell.load_all("labels")
    config = owner_of(cell, "labels")
    for more in ((), ("--batch", "2")):
        a = cell.infer("--compare", *more, *TEXTS, config=config, timeout=60)
        expect(a.code == 0 and len(a.rows) == len(TEXTS), f"labels: {a}")
        for row in a.rows:
            expect(row["label"] == row["float_label"], f"{row}")
            expect(row["logits"] is None and row["probabilities"] is None, f"more than a label: {row}")
            cost = row["rounds_online"], row["bytes_online"]
            expect(cost == costs[row["batch"]], f"{cost}, and the plan says {costs}")
    name = cell.run("job", "submit", "--config", f"{config}.conf", TEXTS[-1]).strip()
    said = cell.run("job", "wait", "--config", f"{config}.conf", name)
    expect(said.strip() == a.rows[-1]["label"], f"a job says {said}")
    regression = os.path.join(DATA, "regression")
    expect_text("a regression has a score and no label", cell.run(
        "share", "--model", regression, "--out", "none", "--labels-only", code=3), "a regression")
    for name in NAMES:
        cell.ask(name, "model", "unload", shared["model_id"])


def pairs(cell, _):
    a = cell.infer("--pair", "--compare", "a film", "it was good")
    expect(a.code == 0 and len(a.rows) == 1, f"a pair: {a}")
    check_row(a.rows[0], cell.shared)
    answers = cell.run("infer", "--json", "--pair", "--config", "owner.conf",
                       stdin=b"a film\tit was good\na film\tit was bad\n")
    expect(len(answers.splitlines()) == 2, "two pairs on two lines")
    expect_text("TEXT<tab>TEXT", cell.run("infer", "--pair", "--config", "owner.conf", code=3,
                                          stdin=b"no tab\n"), "a line without a pair")


def kinds(cell, _):
    """RoBERTa, DistilBERT, and a regression whose weights are in two files: each in a lab."""
    texts = [("a film to remember", "the caf\u00e9, isn't it? \U0001f600"), ("", "x")]
    lines = "".join(f"{a}\t{b}\n" for a, b in texts).encode()
    for kind in ("roberta", "distilbert", "regression"):
        said = cell.run("lab", "--model", os.path.join(DATA, kind), "--", cell.tool, "infer",
                        "--pair", "--compare", "--json", stdin=lines)
        rows = [json.loads(line) for line in said.splitlines()]
        expect(len(rows) == len(texts), f"{kind}: {said}")
        for row in rows:
            if kind == "regression":
                expect(row["label"] is None and row["probabilities"] is None
                       and [row["score"]] == row["logits"], f"a score: {row}")
                expect(abs(row["score"] - row["float_score"]) < 0.01, f"a score: {row}")
                continue
            expect(row["label"] == row["float_label"] and "score" not in row, f"{kind}: {row}")
            off = max(abs(a - b) for a, b in zip(row["probabilities"], row["float_probabilities"]))
            expect(off < 0.005, f"{kind}: probabilities are {off} off: {row}")
    by_hand = json.loads(cell.run("lab", "--model", os.path.join(DATA, "regression"), "--", "sh",
                                  "-ec", BY_HAND))
    expect(by_hand["label"] is None and by_hand["probabilities"] is None
           and abs(by_hand["score"] - NOTHING) < 0.01, f"a score by files: {by_hand}")


def job_files(cell, _):
    """A query that goes by hand, as files; and files that are none."""
    def job(name):
        return cell.path("jobs", f"{name}.job")

    def refused(name, pattern, path):
        expect_text(pattern, cell.ask(name, "job", "submit", "--input", path, "--output",
                                      cell.path("never"), code=3), path)

    cell.run("job", "split", "--model", "model/client", "--output", "jobs", TEXTS[0])
    expect_text("there already", cell.run("job", "split", "--model", "model/client", "--output",
                                          "jobs", TEXTS[0], code=3), "a split over a split")
    refused("party0", "it is party1's half of the job", job("party1"))
    with open(job("party0"), "rb") as f:
        good = f.read()
    for what, body, pattern in (
            ("old", b"MPCFJOB4" + good[8:-32], "its version is 4; this program reads version 5"),
            ("long", good[:-32] + b"x", "its input has .* bytes where the plan says"),
            ("short", good[:-33], "its input has .* bytes where the plan says"),
            ("none", b"MPCFPLAN" + good[8:-32], "does not begin with MPCFJOB5")):
        with open(job(what), "wb") as f:
            f.write(body + hashlib.sha256(body).digest())
        refused("party0", pattern, job(what))
    jobs = {name: json.loads(cell.ask(name, "job", "submit", "--json", "--input", job(name),
                                      "--output", cell.path(f"{name}.answer")))["job"]
            for name in ("party1", "party0")}
    for name in jobs:
        cell.ask(name, "job", "wait", jobs[name])
    answer = json.loads(cell.run("job", "reveal", "--json", "--model", "model/client",
                                 "party0.answer", "party1.answer"))
    row = cell.infer("--compare", TEXTS[0]).rows[0]
    expect(answer["label"] == row["float_label"], f"by files {answer}, by line {row}")


def odd_texts(cell, _):
    """Nothing that a text may hold gets in the way: empty, too long, other scripts."""
    a = cell.infer("--compare", "", "word " * 500, "\u4f60\u597d, na\u00efve caf\u00e9 \U0001f600",
                   "\ud7ff\u0301", "?!", timeout=60)
    expect(a.code == 0 and len(a.rows) == 5, f"odd texts: {a}")
    expect_text("text 2 is too long: its last .* tokens were left out", a.text, "a long text")
    for row in a.rows:
        check_row(row, cell.shared)
    expect_text("line 1: the text is not UTF-8: byte 3", cell.run(
        "infer", "--config", "owner.conf", stdin=b"caf\xe9\n", code=3), "a text in Latin-1")


def exit_codes(cell, _):
    run = cell.run
    run("infer", "--config", "owner.conf", "--json", TEXTS[0], code=0)
    expect_text("no-such-option", run("infer", "--no-such-option", code=2), "an unknown option")
    expect_text("for --compare only", run("infer", "--model", ".", "x", code=2), "a lone --model")
    expect_text("nowhere.conf.*No such file", run("infer", "--config", "nowhere.conf", "x", code=2),
                "a configuration that is not there")
    cell.write_config("odd", cell.config("owner") + [("colour", "blue")])
    expect_text(r"odd.conf:\d+: .*unknown key `colour`", run(
        "infer", "--config", "odd.conf", "x", code=2), "an unknown key")
    cell.write_config("off", [(key, "127.0.0.1:1" if key == "party1" else value)
                              for key, value in cell.config("owner")])
    expect_text("party1: cannot connect to 127.0.0.1:1", run(
        "infer", "--config", "off.conf", "x", code=3), "a party that is away")
    expect_text("nobody.control", run("status", "--socket", "nobody.control", code=3), "no socket")
    expect_text("load, unload or list", run("model", code=2), "no verb")
    expect_text("never overwritten", run("share", "--model", cell.model, "--out", "model", code=3),
                "sharing on top of a share")


def keygen(cell, _):
    """No key, request or certificate is ever replaced."""
    for words in (("authority", "--name", "a", "--key", "authority.key", "--certificate", "new.pem"),
                  ("request", "--name", "a", "--key", "owner.key", "--request", "new.csr"),
                  ("sign", "--authority", "authority.pem", "--authority-key", "authority.key",
                   "--request", "owner.csr", "--role", "owner", "--name", "owner", "--certificate",
                   "owner.pem")):
        before = {name: os.stat(cell.path(name)).st_mtime_ns
                  for name in ("authority.key", "owner.key", "owner.pem")}
        expect_text("exists|already|never", cell.run("keygen", *words, code=3), f"keygen {words[0]}")
        for name, when in before.items():
            expect(os.stat(cell.path(name)).st_mtime_ns == when, f"{name} was written to")
    for name in ("authority.key", "owner.key"):
        expect(os.stat(cell.path(name)).st_mode & 0o777 == 0o600, f"{name}: open to others")
    expect_text("no role", cell.run("keygen", "sign", "--authority", "authority.pem",
                                    "--authority-key", "authority.key", "--request", "owner.csr",
                                    "--role", "king", "--name", "owner", "--certificate", "x.pem",
                                    code=3), "an unknown role")


def evaluate(cell, options):
    """`eval` counts what `infer` says, and names lines that are none."""
    texts = TEXTS if options.long else TEXTS[:6]
    labels = [row["float_label"] == "positive" for row in
              cell.infer("--compare", *texts, timeout=60).rows]
    with open(cell.path("task.tsv"), "w") as f:
        f.write("sentence\tlabel\n")
        for i, (text, label) in enumerate(zip(texts, labels)):
            f.write(f"{text}\t{int(label) ^ (i == 0)}\n")
    words = ("eval", "--config", "owner.conf", "--data", "task.tsv", "--json")
    r = json.loads(cell.run(*words, timeout=120))
    right = (len(texts) - 1) / len(texts)
    expect(r["n"] == len(texts) and r["agree"] == 1, f"eval: {r}")
    expect(abs(r["private"] - right) < 1e-9 and r["private"] == r["float"], f"eval: {r}")
    expect(0 <= r["logit_error_median"] <= r["logit_error_max"] < 0.01, f"eval: {r}")
    expect(json.loads(cell.run(*words, "--limit", "3"))["n"] == 3, "eval --limit 3")
    with open(cell.path("task.tsv"), "a") as f:
        f.write("no label\nfine\t7\n")
    p = cell.run(*words, "--limit", "20", timeout=120)
    expect(json.loads(p)["n"] == len(texts), "eval counts lines that are none")
    expect_text("bad lines, and --strict takes none", cell.run(*words, "--strict", code=3), "--strict")
    expect_text("sentence<tab>label", cell.run("eval", "--config", "owner.conf", "--data",
                                               "owner.conf", code=3), "eval of no task")
    expect_text("--task SST-3: there are CoLA, SST-2", cell.run(*words, "--task", "SST-3", code=2),
                "an unknown task")
    expect_text("the model has 2 labels, MNLI 3", cell.run(
        *words[:-1], "--task", "MNLI", "--data", write_mnli(cell), code=3), "another task's model")
    with open(cell.path("sts.tsv"), "w") as f:
        f.writelines(f"{texts[i]}\t{texts[i - 1]}\t{i % 6}\n" for i in range(6))
    sts = ("--task", "STS-B", "--data", "sts.tsv", "--json")
    expect_text("neither the names of STS-B's columns",
                cell.run(*words[:3], *sts, code=3), "a file without its columns")
    with open(cell.path("sts.tsv")) as f:
        rows = f.read()
    with open(cell.path("sts.tsv"), "w") as f:
        f.write("sentence1\tsentence2\tscore\n" + rows)
    expect_text("STS-B is a score, of a model with one", cell.run(*words[:3], *sts, code=3),
                "a score by labels")
    score = json.loads(cell.run("lab", "--model", os.path.join(DATA, "regression"), "--", cell.tool,
                                "eval", *sts, timeout=120))
    expect(set(score["metrics"]) == {"pearson", "spearman"} and score["agree"] == 1, f"{score}")
    expect(abs(score["private"] - score["float"]) < 0.01 and score["n"] == 6, f"{score}")
    return f"{r['n']} sentences, logit error at most {r['logit_error_max']:.1e}"


def write_mnli(cell):
    with open(cell.path("mnli.tsv"), "w") as f:
        f.write("sentence1\tsentence2\tgold_label\nIt rains.\tIt is wet.\tentailment\n")
    return "mnli.tsv"


def read_rows(path):
    """The rows of a results file, but for a last line that was cut off."""
    with open(path) as f:
        lines = f.read().split("\n")[:-1]
    return [json.loads(line) for line in lines[1:]]


def resume(cell, options):
    """An evaluation that is killed anywhere goes on; one that was not killed says the same."""
    count = 80 if options.long else 24
    with open(cell.path("long.tsv"), "w") as f:
        f.write("sentence\tlabel\n" + "".join(f"{TEXTS[i % len(TEXTS)]} {i}\t{i % 2}\n"
                                              for i in range(count)))
    words = ("eval", "--config", "owner.conf", "--data", "long.tsv", "--json")
    kept = (*words, "--results", "kept.jsonl")
    file, kills, had = cell.path("kept.jsonl"), 0, 0
    while kills < 3:
        p = subprocess.Popen([cell.tool, *kept], cwd=cell.folder, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 30 * PATIENCE
        while p.poll() is None and not (os.path.exists(file) and len(read_rows(file)) >= had + 3):
            expect(time.monotonic() < deadline, "no rows in 30 s")
            time.sleep(0.01)
        p.kill()
        p.wait()
        kills += 1
        rows = read_rows(file)
        expect(len(rows) >= had + 3, f"{len(rows)} rows after {had} and 3 more")
        expect([r["index"] for r in rows] == list(range(len(rows))), f"rows: {rows}")
        had = len(rows)
    with open(file, "a") as f:
        f.write('{"index":')
    again = json.loads(cell.run(*kept, timeout=120))
    expect(again["n"] == count and again["rows_kept"] == had, f"{had} rows, and {again}")
    rows = read_rows(file)
    expect(len(rows) == count, f"{len(rows)} rows")
    whole = json.loads(cell.run(*words, timeout=120))
    # A private logit is off by other roundings in each run.
    for key in ("n", "metric", "private", "float", "agree", "private_interval"):
        expect(whole[key] == again[key], f"{key}: {whole[key]}, and resumed {again[key]}")
    right = sum((r["private"][1] > r["private"][0]) == r["label"] for r in rows) / count
    expect(abs(right - again["private"]) < 1e-9, f"{again['private']}, and by its rows {right}")
    for r in rows:
        for at, key in ((1, "bytes_online"), (2, "rounds_online")):
            expect(sum(op[at] for op in r["ops"].values()) == r[key], f"{key} of {r}")
    for more, n in ((("--limit", 3), 3), ((), count)):
        r = json.loads(cell.run(*kept, *more))
        expect(r["n"] == r["rows_kept"] == n, f"all there: {r}")
    with open(cell.path("other.tsv"), "w") as f:
        f.write("sentence\tlabel\nanother\t1\n")
    other = (*kept[:4], "other.tsv", *kept[5:])
    expect_text("results of another data file", cell.run(*other, code=3), "another file's results")
    with open(file) as f:
        lines = f.readlines()
    with open(file, "w") as f:
        f.writelines(lines[:4] + ["\n"] + lines[4:])
    expect_text("kept.jsonl:5: damaged", cell.run(*kept, code=3), "damaged results")
    expect_text("no results of an evaluation",
                cell.run(*words, "--results", "owner.conf", code=3), "no results")
    alone = json.loads(cell.run("eval", "--float-only", "--model", cell.model, *words[3:]))
    expect(alone["float"] == whole["float"] and "private" not in alone, f"float alone: {alone}")
    return f"{kills} kills, {had} of {count} rows before the last run"


def bench(cell, _):
    shape = ("--layers", 1, "--hidden", 32, "--heads", 2, "--ffn", 64, "--tokens", 8, "--vocab", 100)
    for ring, frac in FORMATS[:2]:
        r = json.loads(cell.run("bench", "bert", *shape, "--ring", ring, "--frac", frac,
                                "--repeat", 2, "--json", timeout=120))
        expect(r["correct"] is True and r["error_max"] <= r["error_bound"], f"bench: {r}")
        for what in ("bytes", "rounds"):
            parts = sum(op[what] for op in r["ops"])
            expect(parts == r[f"{what}_online"],
                   f"bench {ring}: {r[f'{what}_online']} {what}, and its operations {parts}")
    for ring in (24, 64):
        keys = json.loads(cell.run("bench", "input", "--tokens", 8, "--vocab", 100, "--ring", ring,
                                   "--repeat", 2, "--json"))
        expect(keys["correct"] is True, f"bench input: {keys}")
        expect(ring != 24 or keys["bytes_keys"] < r["bytes_upload"], f"bench: {keys} and {r}")


def operators(cell, _):
    """status, model list, unload, and load again, here and after a stop of all."""
    for name in NAMES:
        s = json.loads(cell.ask(name, "status", "--json"))
        expect(s["role"] == name, f"{name} is {s['role']}")
        models = json.loads(cell.ask(name, "model", "list", "--json"))["models"]
        expect({m["model"] for m in models} == {f["model_id"] for f in cell.formats.values()},
               f"{name} lists {models}")
        expect(all(m["state"] == "ready" for m in models), f"{name}: {models}")
        cell.ask(name, "status")
    model = cell.shared["model_id"]
    for name in NAMES:
        cell.ask(name, "model", "unload", model)
        expect_text("no model .* is loaded", cell.ask(name, "model", "unload", model, code=3),
                    "unloading twice")
    a = cell.infer(TEXTS[0])
    expect(a.code == 3, f"a query for an unloaded model: {a}")
    expect_text("does not serve this model: its operator has to load it", a.text, "unloaded")
    for name in NAMES:
        cell.ask(name, "model", "load", "--plan", "model/plan.mpcf")
    cell.wait_ready()
    cell.infer_right(TEXTS[0])
    for name in NAMES:
        cell.stop(name)
    for name in NAMES:
        cell.start(name)
    cell.wait_ready()
    cell.infer_right(TEXTS[0])


def library(cell, options):
    """A program of somebody else's, which has mpcformer.h alone, gets the answers of `infer`."""
    ask = os.path.join(os.path.dirname(options.tool), "..", "library", "ask")
    rows = cell.infer_right(*TEXTS[:3]).rows
    p = subprocess.run([ask, cell.path("owner.conf"), *TEXTS[:3]], capture_output=True, text=True,
                       timeout=20 * PATIENCE, check=False)
    said = [re.fullmatch(r"(\w+) \(([\d.]+)\)", line) for line in p.stdout.splitlines()]
    expect(p.returncode == 0 and len(said) == len(rows) and all(
        m and m[1] == row["label"] and abs(float(m[2]) - max(row["probabilities"])) < 0.001
        for m, row in zip(said, rows)), f"{p.returncode}: {p.stdout!r} {p.stderr}, not {rows}")
    for words, text in ((["nothing.conf", "a"], "nothing.conf"),
                        ([cell.path("owner.conf"), "\udcff"], "UTF-8")):
        p = subprocess.run([ask, *words], capture_output=True, text=True, timeout=20 * PATIENCE,
                           check=False)
        expect(p.returncode == 3, f"{words}: exit {p.returncode}")
        expect_text(text, p.stderr, words)


def side_by_side(cell, options):
    """Four owners' programs at once, of two models."""
    for _ in range(10 if options.long else 2):
        configs = ["owner", "owner-f48"] * 2
        clients = [cell.infer_start("--compare", *TEXTS[i:i + 4], config=c)
                   for i, c in enumerate(configs)]
        for config, client in zip(configs, clients):
            a = cell.infer_end(client, 60)
            expect(a.code == 0 and len(a.rows) == 4, f"{config} side by side: {a}")
            for row in a.rows:
                check_row(row, cell.formats["model" if config == "owner" else "f48"])


CASES = (formats, lines, lengths, labels_only, pairs, kinds, job_files, odd_texts, exit_codes, keygen, evaluate, resume, bench,
         operators, library, side_by_side)


def begin(cell):
    cell.formats = {"model": cell.shared}


if __name__ == "__main__":
    sys.exit(run_cell(__doc__, CASES, begin, tokens="16,48"))
