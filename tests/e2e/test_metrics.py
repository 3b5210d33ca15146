"""What an appliance tells its operators: metrics over HTTP, a health probe, what is made of them,
and the audit log.
"""

import errno
import http.client
import json
import math
import os
import re
import socket
import subprocess
import sys
import time

from cell import NAMES, PARTIES, Cell, expect, expect_text, free_ports, parse_event, run_cell

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
    cell.more["party0"] = [("metrics", f"127.0.0.1:{taken.getsockname()[1]}"), more[1]]
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


# --- the audit log

def audit_lines(path):
    """[(event, fields)] of an audit log."""
    with open(path, encoding="utf-8") as f:
        lines = f.read().splitlines()[1:]
    events = [parse_event(re.sub(r"Z ", "Z info ", line.rpartition(" ")[0], count=1))
              for line in lines]
    expect(all(events), f"{path}: {lines}")
    return [(e.name, e.fields) for e in events]


def found_lines(cell, who, event, since=0, **fields):
    """The fields of such lines of who's audit log, after the first @since of all."""
    lines = audit_lines(cell.path(f"{who}.audit"))[since:]
    found = [f for name, f in lines
             if name == event and all(f.get(k) == v for k, v in fields.items())]
    expect(found, f"{who}: no {event} {fields} in {lines[-8:]}")
    return found


def audit_count(cell, who):
    return len(audit_lines(cell.path(f"{who}.audit")))


def audit_head(cell, who):
    return json.loads(cell.ask(who, "status", "--json"))["audit"]["head"]


def audit_verifies(cell, *files, head=None, code=0):
    return cell.run("audit", "verify", "--json", *(["--head", head] if head else []),
                    *[cell.path(f) for f in files], code=code)


def audit(cell, _):
    """Who loaded, asked, was refused, cancelled, reloaded."""
    model = cell.shared["model_id"]
    cell.infer_right(TEXT)
    for who in NAMES:
        since = audit_count(cell, who)
        found_lines(cell, who, "started", role=who)
        loaded = found_lines(cell, who, "model-load", model=model, user=str(os.geteuid()))[0]
        expect(loaded["plan"].endswith("model/plan.mpcf") and loaded["done"] == "yes", f"{loaded}")
        expect(loaded.get("share", "").endswith(f"{who}.share") == (who != "dealer"), f"{loaded}")
        cell.ask(who, "reload")
        found_lines(cell, who, "reload", since, done="yes")
    for who in PARTIES:
        last = found_lines(cell, who, "asked")[-1]
        expect(last["name"] == "owner" and last["model"] == model and last["batch"] == "1" and
               last["tokens"] == "16", f"{last}")
        found_lines(cell, who, "answered", job=last["job"], name="owner")
    # Refused: a model that is not there, a stranger, an operator's mistake.
    cell.ask("party1", "model", "unload", model)
    found_lines(cell, "party1", "model-unload", model=model, done="yes")
    expect(cell.infer(TEXT).code == 3, "an answer without the model")
    cell.ask("party1", "model", "unload", model, code=3)
    refused = found_lines(cell, "party1", "model-unload", model=model)[-1]
    expect_text("no model .* is loaded", refused["error"], "the second unload")
    cell.load("party1")
    cell.wait_ready()
    cell.make_identity("stranger", "owner")
    strange = {"certificate": "stranger.pem", "key": "stranger.key"}
    cell.write_config("stranger", [(k, strange.get(k, v)) for k, v in cell.config("owner")])
    mark = cell.mark()
    a = cell.infer(TEXT, config="stranger")
    expect(a.code == 3, f"an answer to a stranger: {a}")
    who = re.search("party[01]", a.text)[0]
    cell.expect_log(who, "session-refused", mark)
    time.sleep(0.1)
    turned_away = found_lines(cell, who, "session-refused")
    expect("127.0.0.1" in turned_away[-1]["from"] and "stranger" in turned_away[-1]["error"],
           f"{turned_away}")


def audit_notices(cell, _):
    """What was done to the file is found; it goes on over restarts and when it is moved away."""
    head = audit_head(cell, "party0")
    rows = [json.loads(line) for line in audit_verifies(cell, "party0.audit", head=head).split("\n")
            if line]
    expect(rows[0]["head"] == head and rows[0]["lines"] > 5, f"{rows}")
    with open(cell.path("party0.audit"), encoding="utf-8") as f:
        lines = f.readlines()
    for what, changed in (("removed", lines[:3] + lines[4:]), ("moved", lines[:3] + lines[5:3:-1]),
                          ("changed", [l.replace("name=owner", "name=Owner") for l in lines])):
        with open(cell.path("changed"), "w", encoding="utf-8") as f:
            f.writelines(changed)
        text = audit_verifies(cell, "changed", code=1)
        expect_text("changed:[0-9]+: this line does not follow", text, what)
    with open(cell.path("changed"), "w", encoding="utf-8") as f:
        f.writelines(lines[:-1])
    audit_verifies(cell, "changed")
    expect_text("no line has that head", audit_verifies(cell, "changed", head=head, code=1), "cut")
    since = audit_count(cell, "party0")
    cell.stop("party0")
    # The daemon does not go on behind a changed file.
    os.rename(cell.path("party0.audit"), cell.path("good"))
    with open(cell.path("party0.audit"), "w", encoding="utf-8") as f:
        f.writelines(lines[:3] + lines[4:])
    expect_text("party0.audit:4: this line does not follow", cell.start_refused("party0"), "changed")
    os.rename(cell.path("good"), cell.path("party0.audit"))
    cell.start("party0")
    cell.wait_ready()
    found_lines(cell, "party0", "stopped", since)
    found_lines(cell, "party0", "started", since)
    # Rotated: the files are one chain.
    os.rename(cell.path("party0.audit"), cell.path("party0.audit.1"))
    cell.ask("party0", "reload")
    cell.infer_right(TEXT)
    audit_verifies(cell, "party0.audit.1", "party0.audit", head=audit_head(cell, "party0"))
    expect_text("does not go on where",
                audit_verifies(cell, "party0.audit", "party0.audit.1", code=1), "the wrong order")


def audit_full(options, *_):
    """On a full disk an accepted job is answered and noted, the next refused, and all is loud."""
    with Cell(options, more=with_metrics("disk/audit")) as cell:
        cell.metrics = PORTS
        os.mkdir(cell.path("disk"))
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", cell.path("disk")],
                          capture_output=True).returncode:
            return "no disk can be made here"
        try:
            check_full(cell)
        finally:
            for who in list(cell.process):
                cell.kill(who)
            subprocess.run(["umount", "-l", cell.path("disk")], check=True)
    return None


def fill(path):
    with open(path, "wb", buffering=0) as f:
        for size in (4096, 1):
            try:
                while True:
                    f.write(bytes(size))
            except OSError as e:
                expect(e.errno == errno.ENOSPC, f"filling: {e}")


def check_full(cell):
    cell.start_all()
    cell.load_all()
    cell.infer_right(TEXT)
    fill(cell.path("disk", "filler"))
    # What has room on the file's last page is written; from the first line that has not, no more.
    mark, answered = cell.mark(), 0
    while (a := cell.infer(TEXT)).code == 0:
        answered += 1
        expect(answered < 200, "a disk without an end")
    expect_text("party0: refuses: the audit log cannot be written: No space left", a.text, "full")
    cell.expect_log("party0", "error audit-not-written .*No space left", mark)
    cell.expect_log("party0", r'error audit-waits line=".* (asked|answered) job=', mark)
    code, _, text = fetch(cell, "party0", "/healthz")
    expect(code == 503, f"healthy with a full disk: {text}")
    expect_text("the audit log cannot be written", text, "a full disk")
    expect(sample(metrics(cell, "party0"), "audit_pending_lines") > 0, "no line waits")
    os.unlink(cell.path("disk", "filler"))
    cell.expect_log("party0", "info audit-written", mark)
    cell.infer_right(TEXT)
    expect(fetch(cell, "party0", "/healthz")[0] == 200, "unhealthy with room on the disk")
    cell.run("audit", "verify", "--head", audit_head(cell, "party0"), cell.path("disk", "audit"))
    lines = audit_lines(cell.path("disk", "audit"))
    asked = {f["job"] for e, f in lines if e == "asked"}
    done = {f["job"] for e, f in lines if e == "answered"}
    expect(asked == done and len(done) == answered + 2, f"{len(asked)}, {len(done)}, {answered}")
    expect(sample(metrics(cell, "party0"), "audit_lost_lines_total") == 0, "lines were lost")


def with_metrics(audit=None):
    """What each one's configuration says besides; @audit is party0's file."""
    more = {who: [("metrics", f"127.0.0.1:{PORTS[who]}"), ("audit", f"{who}.audit")]
            for who in NAMES}
    if audit:
        more["party0"][1] = ("audit", audit)
    return more


CASES = (same_as_status, dashboard_and_alerts, counts, health, odd_callers, no_place, audit,
         audit_notices)
PORTS = dict(zip(NAMES, free_ports(3)))


def begin(cell):
    cell.metrics = PORTS


if __name__ == "__main__":
    sys.exit(run_cell(__doc__, CASES, begin, after=(audit_full,), more=with_metrics()))
