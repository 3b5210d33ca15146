"""Shaped links with real processes: answers are right, take at least their rounds' delays, and two
parties that were told different lines say so.
"""

import json
import subprocess
import sys

from cell import PARTIES, PATIENCE, check_row, expect, expect_text, run_cell

DELAY_MS = 2
TEXT = "a film to remember"


def configure(cell, *shapes):
    """Both parties anew, each with its line, '' for none."""
    for party, shape in zip(PARTIES, shapes):
        cell.write_config(party, cell.config(party) + ([("shape", shape)] if shape else []))
        cell.kill(party)
    for party in PARTIES:
        cell.start(party)


def expect_delayed(row, what):
    expect(row["rounds_online"] > 100, f"{what}: {row['rounds_online']} rounds")
    # Openings that do not wait for each other share a delay: fewer than a quarter do.
    least = 0.75 * row["rounds_online"] * DELAY_MS
    expect(row["online_ms"] >= least, f"{what}: {row['online_ms']} ms online, and "
           f"{row['rounds_online']} rounds of {DELAY_MS} ms one way take {least}")


def delayed(cell, _):
    """A query over a shaped link is right, and as slow as its rounds."""
    before = cell.infer_right(TEXT).rows[0]
    configure(cell, f"1gbit,{DELAY_MS}ms", f"{DELAY_MS}ms,1gbit")
    cell.wait_ready()
    row = cell.infer_right(TEXT).rows[0]
    expect_delayed(row, "both parties shaped")
    expect(row["bytes_online"] == before["bytes_online"], "a stamp counts as payload")
    status = json.loads(cell.ask("party1", "status", "--json"))
    expect(status["shape"] == f"1gbit,{DELAY_MS}ms", f"status says {status['shape']}")
    return f"{row['rounds_online']} rounds, {row['online_ms']:.0f} ms"


def mismatch(cell, _):
    """One line at one party, another or none at the other: both say so, and agree once alike."""
    for shapes in (("1gbit", ""), ("1gbit", "1gbit,1us")):
        mark = cell.mark()
        configure(cell, *shapes)
        for mine, theirs, party in zip(shapes, shapes[::-1], PARTIES):
            cell.expect_log(party, f"peer-refused .*here is link = uring, shape = {mine or 'none'}, "
                            f"at the other party link = uring, shape = {theirs or 'none'}: write "
                            "the same", mark)
    configure(cell, "", "")
    cell.wait_ready()
    cell.infer_right(TEXT)


def lab(cell, options):
    """`lab --shape` hands the line to both; a bad one is refused before anything starts."""
    words = [options.tool, "lab", "--model", options.model, "--tokens", "16", "--shape",
             f"{DELAY_MS}ms", "--", "mpcformer", "infer", "--json", "--compare", TEXT]
    p = subprocess.run(words, capture_output=True, timeout=120 * PATIENCE, cwd=cell.folder)
    expect(p.returncode == 0, f"lab --shape: exit {p.returncode}: {p.stderr.decode()}")
    row = json.loads(p.stdout)
    check_row(row, cell.shared)
    expect_delayed(row, "lab")
    expect_text("--shape slow: \"slow\" is no rate and no delay",
                cell.run("lab", "--shape", "slow", "--", "true", code=2), "a bad line")


CASES = (delayed, mismatch, lab)


if __name__ == "__main__":
    sys.exit(run_cell(__doc__, CASES))
