"""What an appliance tells its operators: metrics over HTTP, a health probe, what is made of them."""

import http.client
import json
import math
import os
import re
import socket
import sys
import time

from cell import NAMES, PARTIES, Failed, expect, expect_text, free_ports, run_cell

ROOT = os.path.join(os.path.dirname(__file__), "..", "..")
TEXT = "a fine film"

SAMPLE = re.compile(r'(?P<name>[a-z_][a-z0-9_]*)(?P<labels>\{[a-z_]+="(?:[^"\\\n]|\\["\\n])*"'
                    r'(?:,[a-z_]+="(?:[^"\\\n]|\\["\\n])*")*\})? (?P<value>\S+)')


def read(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as f:
        return f.read()


def parse_metrics(text):
    """{name: (type, [(suffix, labels, value)])} of Prometheus' text format, nothing else in it."""
    found, name = {}, None
    for line in text.splitlines():
        words = line.split(" ", 3)
        if words[:2] == ["#", "HELP"]:
            name = words[2]
            expect(name not in found and words[3], f"a second or an empty {line}")
        elif words[:2] == ["#", "TYPE"]:
            expect(words[2] == name and words[3] in ("counter", "gauge", "histogram"), line)
            expect((words[3] == "counter") == name.endswith("_total"), f"no counter's name: {line}")
            found[name] = words[3], []
        else:
            m = SAMPLE.fullmatch(line)
            expect(m and m["name"].startswith(name), f"no sample of {name}: {line!r}")
            found[name][1].append((m["name"][len(name):], m["labels"], float(m["value"])))
    return found


def check_histogram(name, samples):
    buckets = [(labels, value) for suffix, labels, value in samples if suffix == "_bucket"]
    ends = {suffix: value for suffix, _, value in samples if suffix != "_bucket"}
    bounds = [float(labels[len('{le="'):-len('"}')]) for labels, _ in buckets]
    counts = [value for _, value in buckets]
    expect(bounds == sorted(set(bounds)) and bounds[-1] == math.inf, f"{name}: bounds {bounds}")
    expect(counts == sorted(counts) and counts[-1] == ends["_count"], f"{name}: counts {counts}")
    expect(ends.keys() == {"_sum", "_count"} and counts[-1] > 0 and
           0 < ends["_sum"] / counts[-1] < bounds[-2], f"{name}: {ends}")


def sample(found, name, **labels):
    """The one sample of a metric with these labels."""
    rows = [value for suffix, of, value in found[f"mpcformer_{name}"][1]
            if not suffix and all(f'{k}="{v}"' in (of or "") for k, v in labels.items())]
    expect(len(rows) == 1, f"{len(rows)} samples of {name} {labels}")
    return rows[0]


def fetch(cell, who, path, method="GET"):
    """(code, type, text) of a page, over a connection of its own."""
    c = http.client.HTTPConnection("127.0.0.1", cell.metrics[who], timeout=10)
    c.request(method, path)
    r = c.getresponse()
    text = r.read().decode()
    c.close()
    return r.status, r.getheader("Content-Type"), text


def metrics(cell, who):
    code, kind, text = fetch(cell, who, "/metrics")
    expect(code == 200 and kind.startswith("text/plain; version=0.0.4"), f"{who}: {code} {kind}")
    return parse_metrics(text)


def same_as_status(cell, _):
    """What Prometheus reads of each appliance is what status says, and is documented."""
    documented = read("docs", "monitor.md")
    cell.infer_right(TEXT)
    for who in NAMES:
        status = json.loads(cell.ask(who, "status", "--json"))
        found = metrics(cell, who)
        expect(found.keys() == parse_metrics(cell.ask(who, "metrics")).keys(), f"{who}: two lists")
        for name, (kind, samples) in found.items():
            expect(f"`{name}`" in documented, f"{name} is not in docs/monitor.md")
            expect(samples, f"{name} has no sample")
            if kind == "histogram":
                check_histogram(name, samples)
        expect(f'role="{who}"' in found["mpcformer_info"][1][0][1], f"{found['mpcformer_info']}")
        expect(len(found["mpcformer_model_ready"][1]) == len(status["models"]), f"models: {found}")
        expect(sample(found, "ready") == 1, f"{who}: {status['state']}")
        expect(sample(found, "page_faults_total", kind="minor") > 0, "page faults")
        if who == "dealer":
            expect("mpcformer_thread_cpu_seconds_total" in found, "threads")
            continue
        for name, value in (("jobs_done_total", status["jobs_done"]), ("peer_connected", 1),
                            ("link_sent_bytes_total", status["link"]["sent_bytes"])):
            expect(sample(found, name) == value > 0, f"{name}: not {value}")
        expect(sample(found, "thread_cpu_seconds_total", thread="online") > 0, "the online thread")
        for name in ("online", "queue"):
            expect(found[f"mpcformer_{name}_seconds"][1][-1][2] == status["jobs_done"], name)
        expect(found["mpcformer_link_round_seconds"][1][-1][2] == status["link"]["rounds"], "rounds")


def asked_for(expressions):
    """Each metric that PromQL names, and each label that it wants to be something."""
    for e in expressions:
        for name, labels in re.findall(r"\b(mpcformer_[a-z0-9_]+)(?:\{([^}]*)\})?", e):
            yield name, dict(re.findall(r'([a-z]+)="([^"]*)"', labels))


def dashboard_and_alerts(cell, _):
    """All that the dashboard and the alert rules ask for is there."""
    printed = set()
    cell.infer_right(TEXT)
    for who in NAMES:
        for name, (_, samples) in metrics(cell, who).items():
            printed.update((name + suffix, label) for suffix, labels, _ in samples
                           for label in [None, *re.findall(r'(\w+)="([^"]*)"', labels or "")])
    board = json.loads(read("monitoring", "mpcformer-dashboard.json"))
    shown = [t["expr"] for p in board["panels"] for t in p.get("targets", ())]
    shown += [v["query"]["query"] for v in board["templating"]["list"] if v["type"] == "query"]
    alerts = re.findall(r"^ +expr: (.*)$", read("monitoring", "mpcformer-alerts.yml"), re.M)
    expect(len(shown) > 30 and len(alerts) >= 10, f"{len(shown)} queries, {len(alerts)} alerts")
    for name, labels in asked_for(shown + alerts):
        for label in [None, *labels.items()]:
            expect((name, label) in printed, f"nothing prints {name} {label}")
    ids = [p["id"] for p in board["panels"]]
    expect(len(ids) == len(set(ids)), "two panels of one number")


def counts(cell, _):
    """What jobs cost, and how they end."""
    before = {who: metrics(cell, who) for who in PARTIES}
    row = cell.infer_right(TEXT).rows[0]
    for who in PARTIES:
        after = metrics(cell, who)

        def grown(name, **labels):
            return sample(after, name, **labels) - sample(before[who], name, **labels)

        expect(grown("jobs_ended_total", how="answered") == 1, "answered")
        expect(grown("jobs_rounds_total") == row["rounds_online"], "rounds")
        expect(0 < grown("jobs_bytes_total") <= row["bytes_online"], "bytes")
    cell.ask("dealer", "model", "unload", cell.shared["model_id"])
    a = cell.infer("--deadline", "500", *[TEXT] * 8)
    expect(a.code != 0, f"answers without a dealer's plan: {a}")
    # Who is asked second hears that its owner has gone.
    ended = [sample(metrics(cell, who), "jobs_ended_total", how=how)
             for how in ("in-vain", "cancelled") for who in PARTIES]
    expect(sum(ended) == 2 and sum(ended[:2]) >= 1, f"in vain and cancelled: {ended}")
    cell.load("dealer")
    cell.wait_ready()


def health(cell, _):
    """The probe says when an appliance cannot do its work, and why."""
    for who in NAMES:
        code, _, text = fetch(cell, who, "/healthz")
        expect(code == 200 and text.startswith("ready: "), f"{who}: {code} {text}")
    cell.stop("party1")
    deadline = time.monotonic() + 20
    while fetch(cell, "party0", "/healthz")[0] == 200 or fetch(cell, "dealer", "/healthz")[0] == 200:
        expect(time.monotonic() < deadline, "healthy without party1")
        time.sleep(0.1)
    code, _, text = fetch(cell, "party0", "/healthz")
    expect(code == 503, f"party0 alone: {code}")
    expect_text("not ready: 1 of 1 models ready, the other party away", text, "party0 alone")
    expect(sample(metrics(cell, "party0"), "ready") == 0, "ready without party1")
    cell.start("party1")
    cell.wait_ready()
    expect(fetch(cell, "party0", "/healthz")[0] == 200, "party0 again")


def odd_callers(cell, _):
    """Whoever connects there costs jobs nothing."""
    expect(fetch(cell, "party0", "/")[0] == 404, "no such page")
    expect(fetch(cell, "party0", "/metrics", "POST")[0] == 405, "a POST")
    expect(fetch(cell, "party0", "/metrics", "HEAD")[2] == "", "a HEAD")
    silent = []
    for data in [b"", b"GET /metr", b"\0" * 5000, b"GET /" + b"a" * 100000, b"\n" * 50] * 2:
        s = socket.create_connection(("127.0.0.1", cell.metrics["party0"]), timeout=10)
        try:
            s.sendall(data)
        except OSError:
            pass
        silent.append(s)
    cell.infer_right(TEXT)
    # Those who say nothing are hung up on.
    deadline = time.monotonic() + 30
    while True:
        try:
            expect(fetch(cell, "party0", "/healthz")[0] == 200, "unhealthy")
            break
        except (OSError, http.client.HTTPException) as e:
            expect(time.monotonic() < deadline, f"no page any more: {e}")
            time.sleep(0.3)
    for s in silent:
        s.close()
    cell.check_alive()


def no_place(cell, _):
    """An address that is taken costs the metrics and nothing else."""
    mark = cell.mark()
    taken = socket.create_server(("127.0.0.1", free_ports(1)[0]))
    cell.stop("party0")
    more = cell.more["party0"]
    cell.more["party0"] = [("metrics", f"127.0.0.1:{taken.getsockname()[1]}")]
    cell.write_config("party0", cell.config("party0"))
    cell.start("party0")
    cell.wait_ready()
    cell.expect_log("party0", "error metrics-not-served .*in use", mark)
    cell.infer_right(TEXT)
    cell.stop("party0")
    taken.close()
    cell.more["party0"] = more
    cell.write_config("party0", cell.config("party0"))
    cell.start("party0")
    cell.wait_ready()


CASES = (same_as_status, dashboard_and_alerts, counts, health, odd_callers, no_place)
PORTS = dict(zip(NAMES, free_ports(3)))


def begin(cell):
    cell.metrics = PORTS


if __name__ == "__main__":
    sys.exit(run_cell(__doc__, CASES, begin,
                      more={who: [("metrics", f"127.0.0.1:{PORTS[who]}")] for who in NAMES}))
