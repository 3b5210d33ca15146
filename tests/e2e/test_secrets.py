"""No secret in what an appliance says: logs at their most talkative, audit log, status, metrics, what
its owner's program prints; of texts, tokens, weights, shares and keys, in whatever way bytes are
written. And none in a core dump: the kernel is asked for none. Of the long-lived keys, none in the
memory of the daemon either: only in that of its keeper.

A search that finds nothing proves nothing unless it finds what is there: each case first plants
something that may be said, or a copy, and finds it.
"""

import base64
import json
import os
import random
import signal
import sys
import time

from cell import NAMES, PARTIES, PATIENCE, expect, run_cell

WINDOW = 12  # bytes: by chance in no log
WINDOWS = 400
CANARY = "zanzibarquux"
FAILED = 3  # appliance/exit.h


def forms(secret):
    """What a piece of @secret looks like where somebody wrote it: raw, in hexadecimal, in base64 at
    any place of a longer one."""
    yield secret
    yield secret.hex().encode()
    yield secret.hex().upper().encode()
    yield secret.hex(" ").encode()
    for pad in range(3):
        text = base64.b64encode(bytes(pad) + secret)
        yield text[4 if pad else 0:len(text) - 4]


def pieces(secret):
    """Windows of it: all when it is short. Those of few different bytes are in anything."""
    starts = range(len(secret) - WINDOW + 1)
    if len(starts) > WINDOWS:
        starts = random.sample(starts, WINDOWS)
    for at in starts:
        piece = secret[at:at + WINDOW]
        if len(set(piece)) > WINDOW // 2:
            yield piece


def found(said, secret):
    return next((form for piece in pieces(secret) for form in forms(piece) if form in said), None)


def read(cell, *path):
    with open(cell.path(*path), "rb") as f:
        return f.read()


def der(pem):
    return base64.b64decode(b"".join(line for line in pem.splitlines() if b"-----" not in line))


def everything_said(cell, more=b""):
    """All that came out of the three processes so far, and @more."""
    said = more
    for name in NAMES:
        said += read(cell, f"{name}.log") + read(cell, f"{name}.audit")
        for command in ("status", "metrics"):
            said += cell.ask(name, command).encode()
        said += json.dumps(json.loads(cell.ask(name, "status", "--json"))).encode()
    for party in PARTIES:
        for words in (("job", "list"), ("tape", "status"), ("peer", "status"), ("model", "list")):
            said += cell.ask(party, *words).encode()
    return said


def begin(cell):
    for name in NAMES:
        cell.ask(name, "log", "level", "--level", "debug")


def texts(cell, _):
    """A word that nobody else says, asked in every way; and what its letters become."""
    text = f"{CANARY} is a fine {CANARY} film"
    a = cell.infer_right(text)
    cell.infer("--deadline", "1", text)
    cell.run("job", "wait", "--config", "owner.conf",
             cell.run("job", "submit", "--config", "owner.conf", text).strip())
    said = everything_said(cell, a.text.encode())
    expect(b"job-revealed" in said and b"name=owner" in said, "nothing is found in what is said")
    expect(CANARY.encode() not in said, "the text is in what was said")
    with open(os.path.join(cell.model, "vocab.txt"), encoding="utf-8") as f:
        ids = {word: i for i, word in enumerate(f.read().split("\n"))}
    run = [ids[word] for word in ("is", "a", "fine")]
    for between in (" ", ",", ", ", ":"):
        expect(between.join(map(str, run)).encode() not in said, f"its tokens are: {run}")
    for row in a.rows:
        for logit in row["logits"]:
            expect(f"{logit:.6f}".encode() not in read(cell, "party0.log"), "an answer is logged")


def keys(cell, _):
    """Private keys and store keys, of every process and its owner."""
    cell.infer_right(f"a {CANARY}")
    for name in NAMES:
        cell.ask(name, "reload")
    said = everything_said(cell)
    secrets = {f"{name}.key": der(read(cell, f"{name}.key")) for name in (*NAMES, "owner")}
    secrets |= {f"{name}.store": read(cell, f"{name}.store") for name in NAMES}
    for what, secret in secrets.items():
        # Of a private key in DER the public one is a part, and nobody's secret.
        expect(len(secret) >= 32, f"{what} has {len(secret)} bytes")
        expect(found(said + secret, secret), "a copy is not found")
        expect(found(said + base64.b64encode(b"." + secret), secret), "one in base64 is not found")
        expect(found(said + secret.hex().encode(), secret), "one in hexadecimal is not found")
        expect(not found(said, secret), f"{what} is in what was said")


def weights(cell, _):
    """The model, and what each party has of it."""
    cell.infer_right(f"a {CANARY}")
    said = everything_said(cell)
    for path in (("model", "party0.share"), ("model", "party1.share"),
                 ("model", "client", "model.safetensors")):
        secret = read(cell, *path)[4096:]
        expect(found(said + secret, secret), "a copy is not found")
        expect(not found(said, secret), f"{'/'.join(path)} is in what was said")


def crashes(cell, _):
    """A process that dies says nothing more."""
    for name in NAMES:
        expect(cell.kill(name, signal.SIGABRT) == -signal.SIGABRT, f"{name} survived")
        cell.start(name)
        cell.wait_ready()
    cell.infer_right(f"a {CANARY}")
    expect(CANARY.encode() not in everything_said(cell), "the text is in what was said")


def keeper_of(pid):
    """The one process that a daemon has made."""
    with open(f"/proc/{pid}/task/{pid}/children") as f:
        children = f.read().split()
    expect(len(children) == 1, f"{pid} has made {len(children)} processes")
    return int(children[0])


REGION_MAX = 4 << 30  # of a sanitizer's shadow, which has nothing of what it is the shadow of


def memory(pid):
    """All that a process can read of itself."""
    regions = []
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
        for line in maps:
            where, rights, *_ = line.split()
            first, end = (int(x, 16) for x in where.split("-"))
            if rights[0] != "r" or end - first > REGION_MAX or end > 1 << 47:
                continue
            mem.seek(first)
            try:
                regions.append(mem.read(end - first))
            except OSError:  # a device's, a ring's
                continue
    return b"".join(regions)


def held(mem, secret):
    """Half of a key is enough, as it is, in base64 or in hexadecimal."""
    return next((form for half in (secret[:16], secret[16:]) for form in forms(half)
                 if form in mem), None)


def memories(cell, _):
    """After sessions, sealed files and a reload: each key is in the keeper, and not in the daemon."""
    if os.geteuid() != 0:
        return "not searched: it takes root"
    cell.infer_right(f"a {CANARY}")
    for name in NAMES:
        cell.ask(name, "reload")
    cell.infer_right(f"a {CANARY}")
    for name in NAMES:
        pid = cell.process[name].pid
        daemon, keeper = memory(pid), memory(keeper_of(pid))
        signature = der(read(cell, f"{name}.pem"))[-64:]
        expect(signature in daemon, f"{name}'s certificate is not found where it must be")
        for what, secret in (("key", der(read(cell, f"{name}.key"))[-32:]),
                             ("store", read(cell, f"{name}.store"))):
            expect(held(keeper, secret), f"{name}.{what} is not found in the keeper")
            expect(not held(daemon, secret), f"{name}.{what} is in the daemon's memory")


def bound(cell, _):
    """Every thread of both processes is filtered, and neither leaves a core."""
    for name in NAMES:
        pid = cell.process[name].pid
        for process in (pid, keeper_of(pid)):
            threads = os.listdir(f"/proc/{process}/task")
            expect((process == pid) == (len(threads) > 1), f"{name}: {len(threads)} threads")
            for thread in threads:
                with open(f"/proc/{process}/task/{thread}/status") as f:
                    status = dict(line.split(":\t", 1) for line in f)
                expect(status["Seccomp"].strip() == "2" and status["NoNewPrivs"].strip() == "1",
                       f"{name}: a thread {status['Name']} without a filter")
            with open(f"/proc/{process}/limits") as f:
                limit = next(line for line in f if line.startswith("Max core file size"))
            expect(limit.split()[4:6] == ["0", "0"], f"{name}: {limit}")


def ended(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def keepers(cell, _):
    """Neither process goes on without the other, and what follows is right."""
    for name in NAMES:
        mark, process = cell.mark(), cell.process.pop(name)
        os.kill(keeper_of(process.pid), signal.SIGKILL)
        code = process.wait(15 * PATIENCE)
        expect(code == FAILED, f"{name} ends with {code} when its keeper is gone")
        cell.expect_log(name, "error keeper-lost how=.killed by signal 9", mark)
        cell.start(name)
        cell.wait_ready()
        keeper = keeper_of(cell.process[name].pid)
        cell.kill(name)
        deadline = time.monotonic() + 5 * PATIENCE
        while not ended(keeper):
            expect(time.monotonic() < deadline, f"{name} is killed, and its keeper goes on")
            time.sleep(0.05)
        cell.start(name)
        cell.wait_ready()
    cell.infer_right(f"a {CANARY}")


CASES = (texts, keys, weights, memories, bound, keepers, crashes)

if __name__ == "__main__":
    sys.exit(run_cell(__doc__, CASES, begin,
                      more={name: [("audit", f"{name}.audit")] for name in NAMES}))
