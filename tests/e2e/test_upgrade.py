"""Neighbouring releases: appliances whose sessions, tapes or plans have another version than today's
refuse each other with both versions and what to do, and nothing that was accepted is lost.

The neighbours are real daemons, built with the one file that has the version changed."""

import json
import os
import re
import socket
import sys
import time

from cell import NAMES, PARTIES, PATIENCE, expect, expect_text, run_cell

SESSIONS = (r"speaks version (\d+) of the sessions, this side version (\d+): install the same "
            r"release on both")
ANSWER_S = 20  # of an owner whose question cannot be answered


def neighbour(options, name):
    return os.path.join(os.path.dirname(options.daemon), "..", "tests", "e2e", "neighbour",
                        f"mpcformerd_{name}")


def become(cell, name, daemon):
    """Stop it, and start it as another release: what an operator's upgrade is."""
    cell.stop(name)
    if daemon:
        cell.daemons[name] = daemon
    else:
        del cell.daemons[name]
    cell.start(name)


def versions(text, by):
    """The two versions that are named are as far apart as they are."""
    found = re.search(SESSIONS, text)
    expect(found, f"no versions in {text[-600:]!r}")
    expect(abs(int(found[1]) - int(found[2])) == abs(by), f"versions: {found[0]}")


def refused_by_others(cell, name, mark, by):
    """Both ends of its sessions say why, and an owner is told in time."""
    for other in {"dealer": PARTIES, "party0": ("party1",), "party1": ("party0",)}[name]:
        cell.expect_log(other, SESSIONS, mark, timeout=10)
        versions(cell.log(other)[mark[other]:], by)
    cell.expect_log(name, SESSIONS, mark, timeout=10)
    versions(cell.log(name)[mark[name]:], by)


def one_at_a_time(cell, options):
    """Any one of the three is upgraded, or left behind: refused, not hung; then all is well again."""
    said = []
    for name, release, by in (("party0", "sessions_next", 1), ("party1", "sessions_next", 1),
                              ("dealer", "sessions_next", 1), ("party1", "sessions_before", -1)):
        mark = cell.mark()
        become(cell, name, neighbour(options, release))
        refused_by_others(cell, name, mark, by)
        if name in PARTIES:
            a = cell.infer("a fine film", timeout=ANSWER_S)
            expect(a.code == 3, f"with another {name}: exit {a.code}: {a.text}")
            versions(a.text, by)
            said.append(f"{a.seconds:.1f} s")
        cell.check_alive()
        become(cell, name, None)
        cell.wait_ready()
        cell.infer_right("a fine film")
    return "refused in " + ", ".join(said)


def all_at_once(cell, options):
    """All three are of another release, which speak with each other; the owner is of the old one."""
    for name in NAMES:
        cell.stop(name)
        cell.daemons[name] = neighbour(options, "sessions_next")
    for name in NAMES:
        cell.start(name)
    cell.wait_ready()
    a = cell.infer("a fine film", timeout=ANSWER_S)
    expect(a.code == 3, f"an old owner: exit {a.code}: {a.text}")
    versions(a.text, 1)
    for name in NAMES:
        become(cell, name, None)
    cell.wait_ready()
    cell.infer_right("a fine film")


def tapes(cell, options):
    """A dealer whose tapes have another version: refused by name, and what is in stock is used."""
    cell.stop("dealer")
    mark = cell.mark()
    cell.daemons["dealer"] = neighbour(options, "tapes_next")
    cell.start("dealer")
    cell.infer_right("a fine film")  # from the stock, which is filled again after it
    cell.expect_log("party1", r"a tape of version 5; this appliance takes version 4: run the same "
                    "release at the dealer and at both parties", mark)
    time.sleep(2)
    tries = sum(e.name == "dealer-connected" for e in cell.events("party1", mark))
    expect(tries < 20, f"{tries} sessions in some seconds")
    cell.check_alive()
    become(cell, "dealer", None)
    cell.wait_ready()
    cell.infer_right("a fine film", "dull")


def plans(cell, options):
    """An appliance that was upgraded finds the plans of before in its state: it says so of each
    model, runs, and goes on where it was when the old release comes back."""
    mark = cell.mark()
    become(cell, "party1", neighbour(options, "plans_next"))
    cell.expect_log("party1", r"a plan of version 5; this program reads version 6: share the model "
                    "again", mark)
    a = cell.infer("a fine film", timeout=ANSWER_S)
    expect(a.code == 3, f"without a plan: exit {a.code}: {a.text}")
    expect_text("party1.*(not loaded|does not serve)", a.text, "what the owner is told")
    text = cell.load("party1", code=3)
    expect_text("version 5; this program reads version 6", text, "loading an old plan")
    become(cell, "party1", None)
    cell.wait_ready()
    cell.infer_right("a fine film")


def states(cell, options):
    """A state folder of another release: no start, by name of the file, and not a byte is changed."""
    path = os.path.join(cell.state("party0"), "ledger")
    with open(path, "rb") as f:
        kept = f.read()
    cell.stop("party0")
    with open(path, "wb") as f:
        f.write(kept.replace(b"mpcformer-ledger 1", b"mpcformer-ledger 2", 1))
    text = cell.start_refused("party0")
    expect_text("ledger: .*version 2; this appliance reads version 1: .*release", text, "a ledger")
    with open(path, "rb") as f:
        expect(f.read() == kept.replace(b"ledger 1", b"ledger 2", 1), "the ledger was changed")
    with open(path, "wb") as f:
        f.write(kept)
    cell.start("party0")
    cell.wait_ready()
    cell.infer_right("a fine film")


def control(cell, options):
    """A tool of another release at the control socket."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(5 * PATIENCE)
        s.connect(cell.path("party0.control"))
        s.sendall(b'{"version": 2, "command": "status"}\n')
        reply = json.loads(s.makefile().readline())
    expect(reply["ok"] is False and reply["version"] == 1, f"{reply}")
    expect_text('say "version": 1', reply["error"], "what is said")


def accepted(cell, options):
    """The order of docs/upgrade.md: drained first, what was accepted is answered, new jobs hear why
    they are not taken."""
    mark = cell.mark()
    questions = [cell.infer_start("a fine film") for _ in range(3)]
    expect(cell.wait_event(("party0",), ("job-admitted",), mark, ANSWER_S), "no job is admitted")
    for party in PARTIES:
        cell.ask(party, "drain", "--wait")
    answers = [cell.infer_end(q, ANSWER_S) for q in questions]
    for a in answers:
        expect(a.code == 0 and a.rows or "drained" in a.text, f"neither answered nor told: {a}")
    expect(any(a.rows for a in answers), f"no question was accepted before the drain: {answers}")
    a = cell.infer("a fine film", timeout=ANSWER_S)
    expect_text("drained and takes no new job", a.text, "while drained")
    for name in ("party0", "party1", "dealer"):
        cell.stop(name)
    cell.check_ledgers()
    for name in NAMES:
        cell.start(name)
    cell.wait_ready()
    cell.infer_right("a fine film")


def main():
    return run_cell(__doc__, (one_at_a_time, all_at_once, tapes, plans, states, control, accepted),
                    timeout_ms=2000)


if __name__ == "__main__":
    sys.exit(main())
