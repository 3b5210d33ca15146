"""Jobs that stay at the parties: fetched later, cancelled, in their owners' turns, within bounds; and
what operators do: fill and discard a stock, drain, look for peers, log more.

The dealer is stopped to have jobs wait: the parties use up their tapes, and what comes then stays
queued until it goes on.
"""

import contextlib
import json
import os
import re
import signal
import sys
import time

from cell import PARTIES, PATIENCE, expect, expect_text, run_cell

TEXTS = ("a film to remember", "tired and far too long")
TAPES = 2
OWNER_JOBS_MAX = 32


def begin(cell):
    """A second owner; and the answers that are right."""
    cell.make_identity("other", "owner")
    pin = cell.pin("other")
    for party in PARTIES:
        cell.write_config(party, cell.config(party) + [("client_pin", pin)])
        cell.ask(party, "reload")
    papers = {"certificate": "other.pem", "key": "other.key"}
    cell.write_config("other", [(k, papers.get(k, v)) for k, v in cell.config("owner")])
    cell.right = [row["label"] for row in cell.infer_right(*TEXTS).rows]


def job(cell, verb, *words, owner="owner", **more):
    return cell.run("job", verb, "--config", f"{owner}.conf", *words, **more)


def submit(cell, *words, **more):
    return job(cell, "submit", *words, **more).split()


def here(cell, party, state="queued"):
    rows = json.loads(cell.ask(party, "job", "list", "--json"))["jobs"]
    return [row["job"] for row in rows if row["state"] == state]


def wait_until(true, text):
    deadline = time.monotonic() + 10 * PATIENCE
    while not true():
        expect(time.monotonic() < deadline, text)
        time.sleep(0.02)


@contextlib.contextmanager
def starved(cell):
    """No tape is in stock and none comes."""
    stock = lambda: json.loads(cell.ask("party0", "status", "--json"))["tapes"]
    wait_until(lambda: stock() >= TAPES, "no stock of tapes")  # one more after a refused proposal
    os.kill(cell.process["dealer"].pid, signal.SIGSTOP)
    try:
        while stock():
            cell.infer_right(TEXTS[0])
        yield
    finally:
        os.kill(cell.process["dealer"].pid, signal.SIGCONT)


def fetched_later(cell, _):
    """Its owner leaves, and fetches the answer once; nobody else can."""
    ids = submit(cell, *TEXTS)
    expect(len(ids) == len(TEXTS), f"{len(TEXTS)} texts, jobs {ids}")
    for which in range(len(TEXTS)):
        for verb in ("wait", "cancel"):
            expect_text("no such job", job(cell, verb, ids[which], owner="other", code=3),
                        f"another owner's {verb}")
        answer = json.loads(job(cell, "wait", "--json", ids[which]))
        expect(answer["label"] == cell.right[which], f"{TEXTS[which]} is {answer['label']}")
        expect_text("no such job", job(cell, "wait", ids[which], code=3), "a second time")
    expect(ids[0] not in job(cell, "list", owner="other"), "another owner sees a job")
    expect(ids[0] in job(cell, "list"), "its owner does not")


def cancelled(cell, _):
    """By its owner or an operator of either party: it ends at both, and no tape is lost."""
    with starved(cell):
        kept, own, zero, one = submit(cell, *TEXTS, *TEXTS)
        job(cell, "cancel", own)
        cell.ask("party0", "job", "cancel", zero)
        cell.ask("party1", "job", "cancel", one)
        wait_until(lambda: here(cell, "party1") == [kept], "what ended at party 0 stays at party 1")
        expect_text("cancelled by its owner", job(cell, "wait", own, code=3), "its owner's")
        expect_text("cancelled by an operator", job(cell, "wait", zero, code=3), "party 0's")
    expect(job(cell, "wait", kept).startswith(cell.right[0]), "the one that was left")
    expect_text("cancelled", job(cell, "wait", one, code=3), "party 1's")
    wait_until(lambda: not here(cell, "party0"), "what ended at party 1 stays at party 0")


def in_turn(cell, _):
    """Owners by turns, whatever one says of its own; then priority, deadline, arrival."""
    with starved(cell):
        low, first, second = submit(cell, "--priority", "1", TEXTS[0]) + submit(cell, *TEXTS)
        high = submit(cell, "--priority", "9", TEXTS[0])[0]
        soon = submit(cell, "--priority", "9", "--deadline", "60000", TEXTS[0])[0]
        other = submit(cell, "--priority", "0", TEXTS[0], owner="other")[0]
        mark = cell.mark()
    own = [soon, high, first, second, low]
    for name in own:
        job(cell, "wait", name)
    job(cell, "wait", other, owner="other")
    order = [e.fields["job"] for e in cell.events("party0", mark) if e.name == "job-revealed"]
    expect(other in order[:2], f"the other owner's job came after {order.index(other)} jobs")
    order.remove(other)
    expect(order == own, f"an owner's jobs ran as {order}, not {own}")


def past_its_deadline(cell, _):
    with starved(cell):
        late = submit(cell, "--deadline", "300", TEXTS[0])[0]
        expect_text("deadline has passed", job(cell, "wait", late, code=3), "a job that stays")
        said = cell.run("infer", "--config", "owner.conf", "--deadline", "300", TEXTS[0], code=3)
        expect_text("deadline has passed|ended at party 0", said, "one that is waited for")
        wait_until(lambda: not here(cell, "party1"), "it stays at party 1")


def full(cell, _):
    """An owner has its half of the queue, and the other can still ask."""
    with starved(cell):
        ids = submit(cell, *TEXTS[:1] * OWNER_JOBS_MAX)
        expect_text(rf"{OWNER_JOBS_MAX} jobs of owner are here.*may have {OWNER_JOBS_MAX}",
                    job(cell, "submit", TEXTS[0], code=3), "one more")
        others = submit(cell, TEXTS[1], owner="other")
        for name in ids:
            job(cell, "cancel", name)
    expect(job(cell, "wait", *others, owner="other").startswith(cell.right[1]), "the other's")


def refused(cell, party):
    return json.loads(cell.ask(party, "status", "--json"))["jobs_refused"]


def limit(cell, *lines, only=PARTIES):
    """These limits, at the parties of @only, from now on."""
    for party in PARTIES:
        more = [("limit", line) for line in lines if party in only]
        cell.write_config(party, cell.config(party) + [("client_pin", cell.pin("other"))] + more)
        cell.ask(party, "reload")


def authorised(cell, _):
    """An owner asks the models that it is allowed; a job that one party refuses is over at the
    other, whether its owner waits or not."""
    before, mark = refused(cell, "party0")["forbidden"], cell.mark()
    limit(cell, f"owner model={'0' * 32}", only="party0")
    expect_text("party0: refuses: owner may not ask model [0-9a-f]{32} here",
                cell.infer(TEXTS[0]).text, "what it is told")
    expect_text("may not ask model", job(cell, "submit", TEXTS[0], code=3), "a job that stays")
    wait_until(lambda: not here(cell, "party1"), "it waits at party 1")
    queued = [e for e in cell.events("party1", mark) if e.name == "job-queued"]
    expect(len(queued) == 2, f"party 1 queued {len(queued)} jobs, not 2")
    others = submit(cell, TEXTS[0], owner="other")
    expect(job(cell, "wait", *others, owner="other").startswith(cell.right[0]), "another owner's")
    expect(refused(cell, "party0")["forbidden"] == before + 2, "the metric")
    limit(cell)
    cell.infer_right(TEXTS[0])


def rated(cell, _):
    """A burst, then a wait that is told, which neither a session nor a reload makes shorter."""
    before = refused(cell, "party1")["rate"]
    lines = ("* waiting=2", "owner queries=1 burst=3")
    limit(cell, *lines)
    cell.infer_right(*TEXTS, TEXTS[0])
    for _ in range(2):
        said = cell.infer(TEXTS[0])
        expect(said.code == 3, "more than a burst is answered")
        wait = re.search(r"party1: refuses: owner may ask 1 queries an hour here, 3 at once, and "
                         r"has: ask again in (\d+) s", said.text)
        expect(wait and 3000 < int(wait[1]) <= 3600, f"the time to wait: {said.text}")
        limit(cell, *lines)
    expect(refused(cell, "party1")["rate"] == before + 2, "the metric")
    expect(refused(cell, "party0")["rate"] == 0, "party 0 was asked")
    limit(cell, "owner waiting=1")
    with starved(cell):
        first = submit(cell, TEXTS[0])[0]
        expect_text("1 jobs of owner have not ended", job(cell, "submit", TEXTS[0], code=3), "more")
        job(cell, "cancel", first)
    expect(refused(cell, "party1")["waiting"] == 1, "the metric")
    limit(cell)


def misconfigured(cell, _):
    """A limit that is wrong changes nothing and says where and how to write it."""
    cell.write_config("party0", cell.config("party0") + [("limit", "nobody queries=3")])
    expect_text(r"party0\.conf:\d+: limit: no owner is pinned as nobody: name one",
                cell.ask("party0", "reload", code=3), "a limit of nobody")
    cell.infer_right(TEXTS[0])
    limit(cell)


def unknown(cell, _):
    """A model that no party has, of an owner and of an operator's file."""
    strange = cell.share("strange", tokens="32")
    lines = [(k, "strange/client" if k == "model" else v) for k, v in cell.config("owner")]
    cell.write_config("strange", lines)
    expect_text("does not serve this model: its operator has to load it",
                cell.infer(TEXTS[0], config="strange").text, "an owner")
    cell.run("job", "split", "--model", "strange/client", "--output", "split", TEXTS[0])
    halves = cell.path("split")
    said = cell.ask("party0", "job", "submit", "--input", f"{halves}/party0.job", "--output", "x",
                    code=3)
    expect_text(f"model {strange['model_id']} is not loaded here", said, "an operator")


def wrong(cell, _):
    for words, pattern in ((("wait", "xyz"), "no job's id"), (("cancel", "0" * 32), "no such job")):
        expect_text(pattern, job(cell, *words, code=3), words[0])
    for words in (("submit",), ("wait",), ("submit", "--priority", "10", "x"),
                  ("submit", "--deadline", "0", "x")):
        job(cell, *words, code=2)
    name = submit(cell, TEXTS[0])[0]
    wait_until(lambda: name in here(cell, "party0", "done"), "no answer")
    job(cell, "cancel", name)
    expect_text("no such job", job(cell, "wait", name, code=3), "an answer that was given up")


def stock(cell, party):
    """The first model's id, and its first wanted variant's row."""
    rows = json.loads(cell.ask(party, "tape", "status", "--json"))["variants"]
    return rows[0]["model"], next(row for row in rows if row["wanted"])


def filled(cell, _):
    """An operator has more tapes kept, destroys them, and questions are answered with others."""
    model, before = stock(cell, "party0")
    expect(before["wanted"] == TAPES, f"{before}")
    for party in PARTIES:
        cell.ask(party, "tape", "fill", "--model", model, "--count", TAPES + 3)
    wait_until(lambda: stock(cell, "party0")[1]["tapes"] >= TAPES + 3, "the stock does not grow")
    mark = cell.mark()
    said = json.loads(cell.ask("party0", "tape", "discard", "--model", model, "--json"))
    gone = {e.fields["number"] for e in cell.events("party0", mark) if e.name == "tape-destroyed"}
    expect(said["destroyed"] and len(gone) == said["destroyed"], f"{said}, {gone}")
    cell.infer_right(*TEXTS)
    used = {e.fields["tape"] for e in cell.events("party0", mark) if e.name == "tape-struck"}
    expect(used and not used & gone, f"tapes {used & gone} were destroyed, then used")
    for words in (("fill", "--model", model, "--count", 0), ("fill", "--model", "0" * 32, "--count", 1),
                  ("discard", "--model", "x")):
        cell.ask("party0", "tape", *words, code=3)
    cell.ask("party0", "tape", "fill", "--model", model, code=2)


def drained(cell, _):
    """A party that is drained finishes what it has, takes nothing new, and takes it again."""
    with starved(cell):
        kept = submit(cell, TEXTS[0])[0]
        expect(json.loads(cell.ask("party1", "drain", "--json"))["jobs"] == 1, "a job was lost")
        expect_text("party1: .*drained", job(cell, "submit", TEXTS[1], code=3), "a new job")
    expect(job(cell, "wait", kept).startswith(cell.right[0]), "the job that was there")
    cell.ask("party1", "drain", "--wait")
    expect(json.loads(cell.ask("party1", "status", "--json"))["draining"], "it forgot")
    cell.ask("party1", "drain", "--undo")
    cell.infer_right(TEXTS[1])


def peers(cell, _):
    """Who is there, and since when."""
    before = json.loads(cell.ask("party0", "peer", "status", "--json"))["peers"]
    expect([row["peer"] for row in before] == ["party1", "dealer"], f"{before}")
    cell.stop("dealer")
    wait_until(lambda: "away" in cell.ask("party0", "peer", "status"), "nobody noticed")
    cell.start("dealer")
    cell.wait_ready()
    after = json.loads(cell.ask("party0", "peer", "status", "--json"))["peers"]
    expect(after[0]["sessions"] == before[0]["sessions"] and
           after[1]["sessions"] > before[1]["sessions"] and
           after[1]["since_ms"] < after[0]["since_ms"], f"{before}, {after}")


def levels(cell, _):
    """What is logged changes at once, and back."""
    for role in (*PARTIES, "dealer"):
        cell.ask(role, "log", "level", "--level", "error")
        mark = cell.mark()
        cell.ask(role, "reload")
        expect(not [e for e in cell.events(role, mark) if e.name == "reloaded"], f"{role} logs on")
        cell.ask(role, "log", "level", "--level", "info")
        cell.ask(role, "reload")
        expect([e for e in cell.events(role, mark) if e.name == "reloaded"], f"{role} is silent")
    expect_text("error, warning, info or debug",
                cell.ask("dealer", "log", "level", "--level", "x", code=3), "no level")
    cell.ask("dealer", "drain", code=3)


def watched(cell, _):
    """`top` of two appliances and of one that is not there, while questions are asked."""
    sockets = [word for name in ("party0", "dealer", "nobody")
               for word in ("--socket", cell.path(f"{name}.control"))]
    client = cell.infer_start(*TEXTS * 4)
    looks = cell.run("top", "--interval", 2 * PATIENCE, "--count", 2, *sockets).split("\n\n")
    expect(cell.infer_end(client, 60).code == 0, "a question is not answered")
    for look in looks[:2]:
        expect_text(r"(?m)^party0 +[0-9.]+ .*\n  1 of 1 models ready", look, "party 0")
        expect_text(r"tapes dealt a second", look, "the dealer")
        expect_text(r"nobody\.control: no appliance listens", look, "who is not there")
    second = re.search(r"^party0 +([0-9.]+)", looks[1], re.M)
    expect(float(second[1]) > 0, f"no jobs in a second: {looks[1]}")
    expect_text(r"online < +[0-9.]+ ms +[0-9]+ #", looks[1], "the histogram")
    cell.run("top", "--count", 0, code=2)
    cell.run("top", "--count", 1, "--socket", cell.path("nobody.control"), code=3)


CASES = (fetched_later, cancelled, in_turn, past_its_deadline, full, authorised, rated,
         misconfigured, unknown, wrong, filled, drained, peers,
         levels, watched)


if __name__ == "__main__":
    sys.exit(run_cell(__doc__, CASES, begin, tapes=TAPES))
