"""Kill -9 any one process at random instants in every phase of a query.

Whatever instant it was: the client ends within seconds, with the right answer or with an error that
names what happened; the process comes back; every later query is right; no tape number is used
twice and none of a tape's bytes is sent under two inputs. The phase of a kill is read from the logs
as they were at that instant, and the killing goes on until each phase was hit often enough.
"""

import math
import random
import signal
import sys
import time
from collections import Counter

from cell import NAMES, PARTIES, PATIENCE, Cell, Failed, expect, expect_text, parse_arguments

KILLS_SHORT, KILLS_LONG = 3, 50
CLIENT_S = 10  # from a kill until the client has ended
PHASES = ("admission", "tape", "online", "reveal")

# Phase -> who logs what when it begins, and how long to wait after that at the most, in seconds.
TRIGGERS = {
    "admission": ((PARTIES, ("job-admitted",), 0.02), (("party1",), ("job-queued",), 0.01)),
    "tape": ((("party0",), ("job-queued",), 0.05), (("party1",), ("job-queued",), 0.06)),
    "online": ((PARTIES, ("job-online",), 0.1),),
    "reveal": ((PARTIES, ("job-revealed",), 0.001), (PARTIES, ("job-answered",), 0.002)),
}

# By the number of tokens: the long ones are of a variant whose tapes are dealt when a job comes.
SHORT = ("a film to remember", "tired and far too long", "warm and funny")
LONG = ("the plot is thin and the jokes are old but the two of them on the screen together are "
        "such a joy to watch", "nobody in this film seems to know why they are there and after two "
        "hours of it neither did anybody in the seats around me")


def phase_at(cell, mark):
    """The phase of the query that began at @mark, as the logs tell now."""
    seen = {name: {e.name for e in cell.events_quick(name, mark) if e.name.startswith("job-")}
            for name in PARTIES}
    some = seen["party0"] | seen["party1"]
    if "job-revealed" in some:
        return "reveal"
    if "job-online" in some:
        return "online"
    if "job-queued" in seen["party0"]:
        return "tape"
    return "admission" if "job-admitted" in some else "before"


class Killing:
    def __init__(self, cell):
        self.cell = cell
        self.hit, self.asked, self.ended = Counter(), Counter(), Counter()
        self.wait_max, self.wait_text = 0, ""
        self.expected = {}
        for text in SHORT + LONG:
            row = cell.infer_right(text).rows[0]
            self.expected[text] = row["label"], row["logits"]

    def check_answer(self, text, answer):
        label, logits = self.expected[text]
        row = answer.rows[0]
        expect(row["label"] == label, f"{text!r} is {row['label']}, not {label}")
        expect(all(math.isclose(a, b, abs_tol=0.02) for a, b in zip(row["logits"], logits)),
               f"{text!r}: logits {row['logits']}, not {logits}")

    def check_lost(self, victim, answer):
        expect(answer.code == 3 and not answer.rows, f"a lost query ends with {answer.code}")
        expect_text(r"^mpcformer: party[01]: .*(connect|ended|lost|away|reset|no tape|refuses|busy)",
                    answer.text, f"{victim} was killed, and the client says")

    def one(self, phase):
        """Kill in @phase; the phase that it really was."""
        cell, victim = self.cell, random.choice(NAMES)
        names, events, delay_s = random.choice(TRIGGERS[phase])
        text = random.choice(LONG if phase == "tape" else SHORT)
        mark = cell.mark()
        client = cell.infer_start(text)
        cell.wait_event(names, events, mark, 10 * PATIENCE)
        stopped = phase == "admission"
        if stopped:
            client.send_signal(signal.SIGSTOP)  # or its input would be there before the kill
        time.sleep(random.uniform(0, delay_s))
        over = client.poll() is not None
        cell.kill(victim)
        was = "after" if over else phase_at(cell, mark)
        if stopped:  # of none else: it takes back the stops with which LSan looks at its threads
            client.send_signal(signal.SIGCONT)
        answer = cell.infer_end(client, CLIENT_S)
        if answer.seconds > self.wait_max and not over:
            self.wait_max = answer.seconds
            self.wait_text = f"{victim} killed in {was}: {answer.text.strip() or 'answered'}"
        if answer.code == 0:
            self.check_answer(text, answer)
        else:
            self.check_lost(victim, answer)
        self.ended[was, victim, "answered" if answer.code == 0 else "lost"] += 1
        cell.start(victim)
        cell.wait_ready()
        self.check_later(random.choice(SHORT))
        return was

    def check_later(self, text):
        answer = self.cell.infer(text)
        expect(answer.code == 0, f"the query after a restart fails: {answer.text}")
        self.check_answer(text, answer)

    def all(self, kills):
        tries = 0
        while (wanted := [p for p in PHASES if self.hit[p] < kills]) and tries < 8 * kills:
            phase = min(wanted, key=lambda p: self.hit[p])
            self.asked[phase] += 1
            tries += 1
            was = self.one(phase)
            self.hit[was] += 1
        expect(not wanted, f"{wanted} hit too seldom: {dict(self.hit)} of {dict(self.asked)} tries")


def report(killing, cell):
    both = cell.check_ledgers()
    print(f"kills {dict(killing.hit)} for {dict(killing.asked)} tries; {both} tapes struck by both; "
          f"the longest wait of a client {killing.wait_max:.1f} s ({killing.wait_text})")
    for (phase, victim, how), count in sorted(killing.ended.items()):
        print(f"    {phase:10} {victim:7} {how:9} {count}")


def main():
    options = parse_arguments(__doc__)
    try:
        with Cell(options, tokens="16,32") as cell:
            cell.start_all()
            cell.load_all()
            killing = Killing(cell)
            try:
                killing.all(KILLS_LONG if options.long else KILLS_SHORT)
            finally:
                report(killing, cell)
            cell.check_online_once()
            cell.check_logs()
    except Failed as e:
        print(f"FAILED: {e}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
