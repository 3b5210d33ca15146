"""A cell of real processes - party0, party1, the dealer - made by hand as its operators would.

A test gets the paths of `mpcformer`, `mpcformerd` and of a float model, makes a Cell, and then
starts, stops, kills and asks its processes one by one. What they log is kept over restarts, one
file a process, and every test ends with a look through the logs for a sanitizer's report.
"""

import argparse
import hashlib
import json
import math
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import namedtuple

PARTIES = ("party0", "party1")
NAMES = ("dealer", "party1", "party0")  # in the order in which they start
READY = {"party0": ("peer", "dealer"), "party1": ("peer", "dealer"), "dealer": PARTIES}

# Sanitized builds on two busy cores are this much slower; a limit is no measurement.
PATIENCE = float(os.environ.get("MPCFORMER_TEST_PATIENCE", "1"))

NAMESPACE = "MPCFORMER_TEST_NAMESPACE"
SKIP = 77

Answer = namedtuple("Answer", "code rows text seconds")
Event = namedtuple("Event", "time level name fields")
Struck = namedtuple("Struck", "model number plan_hash job")


class Failed(Exception):
    """What a test expected and did not find."""


def expect(true, text):
    if not true:
        raise Failed(text)


def expect_text(pattern, text, what):
    """@text says what is wrong: it matches @pattern, whatever the case."""
    expect(re.search(pattern, text, re.IGNORECASE), f"{what}: no /{pattern}/ in {text.strip()!r}")


def free_ports(count):
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in held]
    for s in held:
        s.close()
    return ports


def enter_namespace(setup):
    """Start this program again in a network namespace in which the shell has run @setup; only that
    one returns."""
    if os.environ.get(NAMESPACE):
        return
    if os.geteuid() != 0 or subprocess.run(["unshare", "--net", "sh", "-c", setup],
                                           capture_output=True).returncode:
        print("no network namespace can be made here")
        sys.exit(SKIP)
    os.environ[NAMESPACE] = "1"
    os.execvp("unshare", ["unshare", "--net", "sh", "-c", f'{setup} && exec "$@"', "sh",
                          sys.executable, *sys.argv])


def parse_event(line):
    """One line of a log, or None for what is none, such as a sanitizer's report."""
    m = re.match(r"(\S+Z) (error|warning|info|debug) (\S+)(.*)$", line)
    if not m:
        return None
    fields = re.findall(r' (\w+)=("(?:[^"\\]|\\.)*"|\S*)', m[4])
    return Event(m[1], m[2], m[3], {key: value.strip('"') for key, value in fields})


def ledger_line(text):
    """A line of a ledger with its check, as a party writes it."""
    return f"{text} {hashlib.sha256(text.encode()).hexdigest()[:8]}\n"


class Cell:
    def __init__(self, options, ring=64, frac=16, tokens="16", tapes=2, timeout_ms=5000, states=(),
                 more=(), hosts=(), inside=()):
        """States: {name: folder} of who keeps its state elsewhere than in the cell's folder; more:
        {name: [(key, value)]} of what else its configuration says; hosts: {name: address} of who
        does not listen on 127.0.0.1, "link" being party1's; inside: {name: words} that start its
        process elsewhere."""
        self.tool, self.daemon, self.model = options.tool, options.daemon, options.model
        self.folder = tempfile.mkdtemp(prefix="mpcformer-cell-")
        self.tapes, self.timeout_ms = tapes, timeout_ms
        self.states = dict(states)
        self.more = dict(more)
        self.hosts, self.inside = dict(hosts), dict(inside)
        self.daemons = {}  # {name: program} of who runs another one
        self.process = {}
        self.make_identities()
        self.ports = dict(zip(("party0", "party1", "dealer", "link"), free_ports(4)))
        for name in NAMES + ("owner",):
            self.write_config(name, self.config(name))
        self.shared = self.share("model", ring, frac, tokens)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        for name in list(self.process):
            self.kill(name)
        if kind and kind is not KeyboardInterrupt:
            self.show_logs()
        shutil.rmtree(self.folder, ignore_errors=True)

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def state(self, name):
        return self.states.get(name, self.path(name))

    # --- as an operator does it

    def run(self, *words, code=0, timeout=60, stdin=None):
        """The tool with these words: its output, or everything it said when @code is not 0."""
        start = time.monotonic()
        p = subprocess.run([self.tool, *map(str, words)], input=stdin, capture_output=True,
                           timeout=timeout * PATIENCE, cwd=self.folder)
        out, error = p.stdout.decode(), p.stderr.decode()
        took = time.monotonic() - start
        expect(p.returncode == code, f"mpcformer {' '.join(map(str, words))}: exit {p.returncode}, "
               f"not {code}, after {took:.1f} s: {error}")
        return out if code == 0 else out + error

    def make_identity(self, name, role, authority="authority", days=825):
        self.run("keygen", "request", "--name", name, "--key", f"{name}.key",
                 "--request", f"{name}.csr")
        self.run("keygen", "sign", "--authority", f"{authority}.pem", "--authority-key",
                 f"{authority}.key", "--request", f"{name}.csr", "--role", role, "--name", name,
                 "--certificate", f"{name}.pem", "--days", days)

    def make_authority(self, name):
        self.run("keygen", "authority", "--name", name, "--key", f"{name}.key",
                 "--certificate", f"{name}.pem")

    def make_identities(self):
        self.make_authority("authority")
        for name in NAMES + ("owner",):
            self.make_identity(name, name)
        for name in NAMES:
            self.run("keygen", "store", "--key", f"{name}.store")

    def pin(self, name):
        shown = json.loads(self.run("keygen", "show", "--json", f"{name}.pem"))
        return f"{name}={shown['fingerprint']}"

    def config(self, name):
        """The lines of a configuration, as pairs."""
        at = {who: f"{self.hosts.get(who, '127.0.0.1')}:{port}" for who, port in self.ports.items()}
        lines = [("role", name), ("certificate", f"{name}.pem"), ("key", f"{name}.key"),
                 ("authority", "authority.pem"), ("timeout_ms", self.timeout_ms)]
        if name in NAMES:
            lines += [("listen", at[name]), ("state", self.state(name)),
                      ("control", f"{name}.control"), ("store_key", f"{name}.store")]
        if name in PARTIES:
            other = PARTIES[name == "party0"]
            lines += [("dealer", at["dealer"]), ("peer_pin", self.pin(other)),
                      ("dealer_pin", self.pin("dealer")), ("client_pin", self.pin("owner")),
                      ("tapes", self.tapes)]
        else:
            lines += [(f"{party}_pin", self.pin(party)) for party in PARTIES]
        return lines + {"party0": [("peer", at["party1"]), ("peer_link", at["link"])],
                        "party1": [("link_listen", at["link"])],
                        "owner": [("party0", at["party0"]), ("party1", at["party1"]),
                                  ("model", "model/client")]}.get(name, []) + self.more.get(name, [])

    def write_config(self, name, lines):
        with open(self.path(f"{name}.conf"), "w") as f:
            f.writelines(f"{key} = {value}\n" for key, value in lines)

    def share(self, out, ring=64, frac=16, tokens="16", more=()):
        """Share the model into the folder @out; what `mpcformer share --json` says."""
        shown = self.run("share", "--model", self.model, "--out", out, "--ring", ring, "--frac",
                         frac, "--tokens", tokens, *more, "--json", timeout=120)
        os.symlink(os.path.abspath(f"{self.model}/model.safetensors"),
                   self.path(out, "client/model.safetensors"))
        return json.loads(shown)

    def ask(self, name, *words, **more):
        return self.run(*words, "--socket", self.path(f"{name}.control"), **more)

    def load(self, name, folder="model", plan=None, share=None, **more):
        words = ["model", "load", "--plan", plan or f"{folder}/plan.mpcf"]
        if name in PARTIES:
            words += ["--share", share or f"{folder}/{name}.share"]
        return self.ask(name, *words, **more)

    def load_all(self, folder="model"):
        for name in NAMES:
            self.load(name, folder)
        self.wait_ready()

    # --- processes

    def start(self, name, config=None):
        log = open(self.path(f"{name}.log"), "ab")
        self.process[name] = subprocess.Popen(
            [*self.inside.get(name, ()), self.daemons.get(name, self.daemon), "--config",
             self.path(f"{config or name}.conf")], stderr=log, stdout=log, stdin=subprocess.DEVNULL)
        log.close()

    def start_all(self):
        for name in NAMES:
            self.start(name)
        self.wait_ready()

    def reconfigure(self, more):
        """Both parties once more, with what @more says of each."""
        for party in PARTIES:
            self.stop(party)
            self.more[party] = more[party]
            self.write_config(party, self.config(party))
        for party in PARTIES[::-1]:
            self.start(party)

    def kill(self, name, how=signal.SIGKILL):
        """Kill it; its exit status, negative for a signal."""
        p = self.process.pop(name)
        p.send_signal(how)
        try:
            return p.wait(15 * PATIENCE)
        except subprocess.TimeoutExpired:
            p.kill()
            p.wait()
            raise Failed(f"{name} did not end at signal {how}")

    def stop(self, name):
        code = self.kill(name, signal.SIGTERM)
        expect(code == 0, f"{name} stopped with {code}")

    def start_refused(self, config, code=3):
        """A daemon that does not start: what it says."""
        p = subprocess.run([self.daemon, "--config", self.path(f"{config}.conf")],
                           capture_output=True, timeout=20 * PATIENCE)
        expect(p.returncode == code, f"{config}: exit {p.returncode}, not {code}: {p.stderr}")
        return p.stderr.decode()

    def check_alive(self):
        for name, p in self.process.items():
            expect(p.poll() is None, f"{name} has ended with {p.returncode}")

    def rss_bytes(self, name):
        with open(f"/proc/{self.process[name].pid}/status") as f:
            return int(re.search(r"VmRSS:\s+(\d+) kB", f.read())[1]) * 1024

    def missing(self, name):
        """What this process still waits for, '' for nothing."""
        try:
            status = json.loads(self.ask(name, "status", "--json"))
        except Failed as e:
            return str(e)
        away = [who for who in READY[name] if status[who] != "connected"]
        away += [f"{m['model']} {m['state']}" for m in status["models"] if m["state"] != "ready"]
        return f"{name}: {away}" if away else ""

    def wait_ready(self, timeout=20):
        """Every process is up, sees the others, and its models are ready."""
        deadline = time.monotonic() + timeout * PATIENCE
        while any(missing := [m for m in map(self.missing, NAMES) if m]):
            self.check_alive()
            expect(time.monotonic() < deadline, f"not ready in {timeout} s: {missing}")
            time.sleep(0.05)

    # --- logs

    def show_logs(self):
        for name in NAMES:
            print(f"--- the end of {name}'s log\n{self.log(name)[-6000:]}")

    def log(self, name):
        try:
            with open(self.path(f"{name}.log"), errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def mark(self):
        """Where the logs end now."""
        return {name: len(self.log(name)) for name in NAMES}

    def events(self, name, mark=None):
        lines = self.log(name)[mark[name] if mark else 0:].split("\n")[:-1]
        return [e for e in map(parse_event, lines) if e]

    def wait_event(self, names, events, mark, timeout, step=0.0005):
        """The first of @events in the logs of @names after @mark; None when none comes."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            for name in names:
                for e in self.events_quick(name, mark):
                    if e.name in events:
                        return e
            time.sleep(step)
        return None

    def events_quick(self, name, mark):
        with open(self.path(f"{name}.log"), "rb") as f:
            f.seek(mark[name])
            return [e for e in map(parse_event, f.read().decode(errors="replace").split("\n")) if e]

    def expect_log(self, name, pattern, mark, timeout=10):
        deadline = time.monotonic() + timeout * PATIENCE
        while not re.search(pattern, self.log(name)[mark[name]:]):
            expect(time.monotonic() < deadline,
                   f"{name} does not log /{pattern}/: {self.log(name)[mark[name]:][-1000:]}")
            time.sleep(0.05)

    def check_logs(self):
        """No sanitizer had anything to say."""
        for name in NAMES:
            m = re.search(r"(==\d+==ERROR|runtime error:|WARNING: ThreadSanitizer).*", self.log(name))
            expect(not m, f"{name}: {m and m[0]}")

    # --- queries

    def infer_start(self, *words, config="owner"):
        return subprocess.Popen([self.tool, "infer", "--json", "--config",
                                 self.path(f"{config}.conf"), *words], stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=self.folder)

    def infer_end(self, p, timeout, since=None):
        since = since or time.monotonic()
        try:
            out, error = p.communicate(timeout=timeout * PATIENCE)
        except subprocess.TimeoutExpired:
            waits = [f"{name} {open(f'/proc/{p.pid}/{name}').read().strip()}"
                     for name in ("wchan", "syscall")]
            p.kill()
            _, error = p.communicate()
            raise Failed(f"infer hangs: no answer in {timeout * PATIENCE:.0f} s; {waits}; "
                         f"{error.decode()}") from None
        rows = [json.loads(line) for line in out.decode().splitlines()]
        return Answer(p.returncode, rows, error.decode(), time.monotonic() - since)

    def infer(self, *words, timeout=20, config="owner"):
        return self.infer_end(self.infer_start(*words, config=config), timeout)

    def infer_right(self, *texts):
        """A query whose labels and probabilities are the float model's."""
        a = self.infer("--compare", *texts)
        expect(a.code == 0, f"a query fails with {a.code}: {a.text}")
        expect(len(a.rows) == len(texts), f"{len(a.rows)} answers to {len(texts)} texts")
        for row in a.rows:
            check_row(row, self.shared)
        return a

    # --- ledgers

    def ledger(self, name):
        """Models {id: digest} and [Struck] of a party, every line's check verified. A tape that was
        reserved has no job, and its batch in place of it."""
        models, tapes = {}, []
        with open(os.path.join(self.state(name), "ledger")) as f:
            lines = f.read().split("\n")
        expect(lines[0] == "mpcformer-ledger 1", f"{name}: its ledger begins with {lines[0]!r}")
        for line in lines[1:-1]:
            text, _, _ = line.rpartition(" ")
            expect(ledger_line(text) == line + "\n", f"{name}: a damaged line {line!r}")
            word, model, *rest = text.split()
            if word == "model":
                expect(model not in models, f"{name}: model {model} was struck twice")
                models[model] = rest[0]
            elif word == "reserve":
                tapes += [Struck(model, int(n), rest[1], int(rest[0])) for n in rest[2].split(",")]
            elif word == "tape":
                tapes.append(Struck(model, int(rest[0]), rest[1], rest[2]))
            else:
                expect(word == "floor", f"{name}: a line {line!r}")
        return models, tapes

    def check_ledgers(self):
        """No tape number twice, nor under two jobs; how many both parties struck."""
        of = {}
        for name in PARTIES:
            _, tapes = self.ledger(name)
            of[name] = {(t.model, t.number): t for t in tapes}
            expect(len(of[name]) == len(tapes), f"{name}: a tape number was struck twice")
            jobs = [t.job for t in tapes if isinstance(t.job, str)]
            expect(len(set(jobs)) == len(jobs), f"{name}: a job used two tapes")
        both = of["party0"].keys() & of["party1"].keys()
        for key in both:
            first, second = of["party0"][key], of["party1"][key]
            # A batch that party 0 could not strike off is struck in a later one.
            expect(first == second or first.plan_hash == second.plan_hash and
                   isinstance(first.job, int) and isinstance(second.job, int),
                   f"tape {key} under two jobs or plans")
        return len(both)

    def check_online_once(self):
        """In all that was ever logged a party ran each tape of a model once, after striking it
        off."""
        for name in PARTIES:
            models, struck, reserved, online = {}, set(), set(), set()
            for e in self.events(name):
                job, tape = e.fields.get("job"), e.fields.get("tape")
                if e.name == "job-admitted":
                    models[job] = e.fields["model"]
                if e.name == "tape-struck":
                    struck.add((tape, job))
                if e.name == "tapes-reserved":
                    reserved |= {(e.fields["model"], n) for n in e.fields["numbers"].split(",")}
                if e.name == "job-online":
                    used = models[job], tape
                    expect((tape, job) in struck or used in reserved,
                           f"{name} ran {tape} before it was struck off")
                    expect(used not in online, f"{name} ran tape {tape} twice")
                    online.add(used)


def check_row(row, shared):
    """The label is the float one, and so are the logits, as far as probabilities can tell."""
    tolerance = 2 * shared["error_bound"] + 0.01
    expect(row["label"] == row["float_label"], f"label {row['label']}, not {row['float_label']}")
    private = row["logits"][1] - row["logits"][0]
    wanted = math.log(row["float_probabilities"][1] / row["float_probabilities"][0])
    expect(abs(private - wanted) < tolerance, f"logits {private:.4f} apart, not {wanted:.4f}")


def parse_arguments(doc):
    p = argparse.ArgumentParser(description=doc)
    p.add_argument("tool", type=os.path.abspath, help="mpcformer")
    p.add_argument("daemon", type=os.path.abspath, help="mpcformerd")
    p.add_argument("model", type=os.path.abspath, help="folder of a float model")
    p.add_argument("--long", action="store_true", help="the full form")
    p.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    p.add_argument("--only", default="", help="run the cases whose name contains this")
    options = p.parse_args()
    random.seed(options.seed)
    print(f"seed {options.seed}", flush=True)
    return options


def run_cases(cases, options, *arguments):
    """Each case in turn, with its time; how many failed."""
    failed = 0
    for case in cases:
        if options.only not in case.__name__:
            continue
        start, said = time.monotonic(), "ok"
        try:
            said = case(*arguments) or "ok"
        except (Failed, AssertionError, OSError, subprocess.TimeoutExpired) as e:
            failed += 1
            said = f"FAILED: {type(e).__name__}: {e}"
            if isinstance(arguments[0], Cell):
                arguments[0].show_logs()
        print(f"{case.__name__:34} {time.monotonic() - start:6.1f} s  {said}", flush=True)
    return failed


def run_cell(doc, cases, begin=lambda cell: None, after=(), **more):
    """The exit status of a test: @cases on one cell, which is well at their end, then those @after
    it is gone. More is the cell's."""
    options = parse_arguments(doc)
    try:
        with Cell(options, **more) as cell:
            cell.start_all()
            cell.load_all()
            begin(cell)
            failed = run_cases(cases, options, cell, options)
            cell.check_alive()
            cell.check_ledgers()
            cell.check_logs()
        failed += run_cases(after, options, options)
        expect(not failed, f"{failed} cases")
    except Failed as e:
        print(f"FAILED: {e}")
        return 1
    return 0
