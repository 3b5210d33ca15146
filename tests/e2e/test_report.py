"""The report: a page that stands alone, with the numbers of its inputs in its tables and plots."""

import json
import math
import os
import random
import re
import subprocess
import sys
import tempfile
from html.parser import HTMLParser

from cell import PATIENCE, expect, expect_text, parse_arguments, run_cases

HEAD = {"results": 1, "task": "SST-2", "data": "a.tsv", "data_sha256": "0", "model": "<b>&\"x",
        "functions": "quad+2quad", "ring": 48, "frac": 12, "plan_sha256": "1", "float_sha256": "2",
        "labels": ["negative", "positive"], "labels_by": "name", "error_bound": 0.5}


class Page(HTMLParser):
    """Tables as lists of rows of cells, pieces of bars as (kind, value, width); what is not closed
    or comes from elsewhere fails."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tables, self.pieces, self.bars, self.headings = [], [], [], [], []
        self.feed(text)
        self.close()
        expect(not self.open, f"not closed: {self.open}")

    def handle_startendtag(self, tag, attributes):
        self.look(tag, dict(attributes))

    def handle_starttag(self, tag, attributes):
        self.look(tag, dict(attributes))
        self.open.append(tag)

    def look(self, tag, attributes):
        expect(tag not in ("script", "link", "img", "iframe", "object", "b"), f"a <{tag}>")
        expect(not {"src", "href", "onload"} & attributes.keys(), f"<{tag}> has {attributes}")
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag == "svg":
            self.pieces.append([])
        elif tag == "rect":
            self.width = float(attributes["width"]), float(attributes["height"])

    def handle_endtag(self, tag):
        expect(self.open and self.open.pop() == tag, f"</{tag}> closes another")

    def handle_data(self, text):
        if self.open and {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += text
        elif self.open[-2:] == ["rect", "title"]:
            self.pieces[-1].append((text, *self.width))
        elif self.open and self.open[-1] in ("h2", "h3"):
            self.headings.append(text)


def make_rows(count, rng):
    """Rows of a task of two labels whose figures follow from them."""
    rows = []
    for i in range(count):
        logits = [rng.uniform(-3, 3), rng.uniform(-3, 3)]
        rows.append({"index": i, "line": i + 2, "label": rng.randrange(2),
                     "private": [x + rng.gauss(0, 0.3) for x in logits], "float": logits,
                     "tokens": 9, "dropped": int(i % 4 == 0), "batch": 1 + i % 2,
                     "online_ms": rng.uniform(5, 9), "offline_ms": 3.5, "bytes_online": 3000000 + i,
                     "rounds_online": 100, "ops": {"open": [rng.uniform(1, 2), 2000000, 60],
                                                   "row sum": [1e-5, 0, 0],
                                                   "lookup": [3.25, 1000000, 40]}})
    return rows


def write_results(folder, name, rows, **head):
    path = os.path.join(folder, name)
    with open(path, "w", encoding="utf-8") as f:
        f.writelines(json.dumps(line) + "\n" for line in ({**HEAD, **head}, *rows))
    return path


def report(options, folder, *words, code=0):
    """The page, or why there is none."""
    out = os.path.join(folder, "page.html")
    p = subprocess.run([options.tool, "report", "--out", out, *words], capture_output=True, text=True,
                       timeout=60 * PATIENCE)
    expect(p.returncode == code, f"report {' '.join(words)}: exit {p.returncode}: {p.stderr}")
    if code:
        return p.stderr
    with open(out, encoding="utf-8") as f:
        return f.read()


def right(rows, side):
    return sum((r[side][1] > r[side][0]) == r["label"] for r in rows) / len(rows)


def evaluations(options):
    """Accuracy, its parts by batch, the histogram and the bars are those of the rows."""
    rows = make_rows(90, random.Random(options.seed))
    with tempfile.TemporaryDirectory() as folder:
        path = write_results(folder, "a.jsonl", rows)
        alone = [{k: r[k] for k in ("index", "line", "label", "float", "tokens", "dropped")}
                 for r in rows]
        floats = write_results(folder, "b.jsonl", alone, plan_sha256=None, ring=None, frac=None,
                               error_bound=None, task="MRPC")
        page = Page(report(options, folder, "--eval", path, "--eval", floats))
        with open(path, "a", encoding="utf-8") as f:
            f.write('{"index": 90, ')
        again = report(options, folder, "--eval", path)
        expect_text("--eval RESULTS", report(options, folder, code=2), "a report of nothing")
        expect_text("a.jsonl:3: damaged",
                    report(options, folder, "--eval", write_results(folder, "a.jsonl", rows[:1] * 2),
                           code=3), "damaged results")
    head, *table = page.tables[0]
    cells = dict(zip(head, table[0]))
    expect([row[:2] for row in table] == [["SST-2", "<b>&\"x, quad+2quad, l=48 f=12"]] +
           [["MRPC", "<b>&\"x, quad+2quad"]] * 2, f"rows: {table}")
    agree = sum((r["private"][1] > r["private"][0]) == (r["float"][1] > r["float"][0]) for r in rows)
    for name, wanted in (("n", 90), ("private", right(rows, "private")), ("texts cut", 23),
                         ("float", right(rows, "float")), ("agree", agree / 90),
                         ("online ms", sum(r["online_ms"] / r["batch"] for r in rows) / 90),
                         ("MB", sum(r["bytes_online"] / r["batch"] for r in rows) / 90e6)):
        got = float(cells[name].split()[0])
        expect(abs(got - wanted) <= 10 ** -len(cells[name].split()[0].partition(".")[2]) / 2 + 1e-9,
               f"{name}: {cells[name]}, not {wanted}")
    expect([row[3] for row in table] == ["accuracy", "f1", "accuracy"], f"metrics: {table}")
    expect(table[1][4] == "-" and table[1][6] == "-", f"private figures of the float model: {table}")
    errors, times, sent = page.pieces
    expect(sum(int(text.rpartition(" ")[2]) for text, _, _ in errors) == 90, f"histogram: {errors}")
    ms = {text.partition(":")[0]: float(re.search(r": (\S+) ms", text)[1]) for text, _, _ in times}
    for kind in ("open", "lookup"):
        wanted = sum(r["ops"][kind][0] / r["batch"] for r in rows) / 90
        expect(math.isclose(ms[kind], wanted, rel_tol=1e-5), f"{kind}: {ms[kind]}, not {wanted}")
    expect(set(ms) == {"open", "lookup", "others"}, f"kinds: {ms}")
    for pieces in (times, sent):
        scale = [float(re.search(r": (\S+) ", text)[1]) / width for text, width, _ in pieces
                 if width > 1]
        expect(max(scale) < 1.01 * min(scale), f"widths: {pieces}")
    expect(len(Page(again).tables[0]) == 2, "a row that was cut off")
    return f"private {cells['private']}, agree {cells['agree']}"


def speed(options):
    """The table and the bars are those of `bench functions`, rows that failed included."""
    words = ("bench", "functions", "--layers", "1", "--hidden", "32", "--heads", "2", "--vocab", "40",
             "--repeat", "1", "--link", "mem", "--only", "gelu+softmax,quad+2quad", "--tokens",
             "8,16", "--json")
    p = subprocess.run([options.tool, *words], capture_output=True, text=True, timeout=120 * PATIENCE)
    expect(p.returncode == 0, f"bench functions: {p.returncode}: {p.stderr}")
    rows = [json.loads(line) for line in p.stdout.splitlines()]
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "speed.jsonl")
        with open(path, "w", encoding="utf-8") as f:
            f.write(p.stdout + json.dumps({"model": "large", "tokens": 512, "functions": "a+b",
                                           "error": "does < not fit"}) + "\n")
        page = Page(report(options, folder, "--speed", path))
        with open(path, "w", encoding="utf-8") as f:
            f.write('{"n": 1}\n')
        expect_text("speed.jsonl:1: no row", report(options, folder, "--speed", path, code=3),
                    "another file")
    head, *table = page.tables[0]
    expect(len(table) == 5 and table[4] == ["large", "512", "a+b", "does < not fit"], f"{table}")
    for row, line in zip(rows, table):
        cells = dict(zip(head, line))
        expect(cells["online ms"].startswith(f"{row['online_ms_median']:.1f} "), f"{line}: {row}")
        for name, wanted in (("tokens", str(row["tokens"])), ("rounds", str(row["rounds_online"])),
                             ("MB", f"{row['bytes_online'] / 1e6:.3f}"), ("correct", "yes"),
                             ("speed-up", f"{row['speedup_online']:.2f}"),
                             ("total ms", f"{row['total_ms_median']:.1f}")):
            expect(cells[name] == wanted, f"{name}: {cells[name]}, not {wanted}")
    expect(len(page.pieces) == 4, f"{len(page.pieces)} plots of two lengths")
    for at, unit, by in ((0, "ms", 1), (1, "MB", 1e-6)):
        got = sum(float(re.search(rf": (\S+) {unit}", text)[1]) for text, _, _ in page.pieces[at])
        wanted = sum(op["ms" if unit == "ms" else "bytes"] * by for r in rows[:2] for op in r["ops"])
        expect(math.isclose(got, wanted, rel_tol=1e-4), f"{unit}: {got}, not {wanted}")


LOG = """stage\tepoch\tstep\tof\tloss\toutside\tgradient\trate\ttokens_per_s\taccuracy
hidden\t1\t50\t100\t0.8\t0\t1\t0.001\t900\t
hidden\t1\t100\t100\t0.4\t0\t1\t0.002\t900\t
hidden\t1\tepoch\t100\t0.6\t\t\t\t900\t0.75
logits\t1\t50\t100\t0.2\t0\t1\t0.001\t900\t
logits\t1\tepoch\t100\t0.2\t\t\t\t900\t0.875
"""


def courses(options):
    """Of a training's log: three curves, each of a piece in each stage, in scale."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "log.tsv")
        with open(path, "w") as f:
            f.write(LOG)
        text = report(options, folder, "--course", path)
        Page(text)
        curves = [[tuple(map(float, p.split())) for p in re.split("[ML]", d)[1:]] for d in
                  re.findall(r'<path d="(M[^"V]*)" fill="none"', text)]
        expect([len(c) for c in curves] == [5, 2, 3], f"points: {curves}")
        loss = curves[0]
        expect(abs((loss[1][1] - loss[0][1]) - (loss[3][1] - loss[1][1]) * 2) < 0.1, f"heights: {loss}")
        expect(abs((loss[1][0] - loss[0][0]) * 3 - (loss[4][0] - loss[0][0])) < 0.1, f"places: {loss}")
        expect("0.875" in text and "hidden" in text and "2 epochs" in text, "the figures")
        with open(path, "a") as f:
            f.write("logits\t2\t50\n")
        messages = report(options, folder, "--course", path, code=3)
        expect_text("log.tsv:7: no line", messages, "a line that is none")


def load(options):
    """Of a cell under load: its rows, and curves on which twice the rate is twice as far."""
    rows = [{"offered_per_s": offered, "answered_per_s": answered, "of_peak": answered / 33,
             "refused": offered and int(offered) or 0, "failed": 0,
             "latency_ms": {"p50": p50, "p90": 2 * p50, "p99": 10 * p50, "p999": None}}
            for offered, answered, p50 in ((None, 32, 100), (10, 10, 1), (20, 20, 10), (40, 33, 1000))]
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "load.jsonl")
        with open(path, "w") as f:
            f.writelines(json.dumps(row) + "\n" for row in rows)
        text = report(options, folder, "--load", path)
        with open(path, "a") as f:
            f.write('{"online_ms_median": 1}\n')
        expect_text("load.jsonl:5: no row of `mpcformer bench load --json`",
                    report(options, folder, "--load", path, code=3), "another bench's row")
    head, *table = Page(text).tables[0]
    cells = dict(zip(head, table[3]))
    expect([row[0] for row in table] == ["as many as it can", "10.0", "20.0", "40.0"], f"{table}")
    expect((cells["of the peak"], cells["refused"], cells["p50"], cells["p99.9"]) ==
           ("100.0 %", "40", "1000.0", "-"), f"{cells}")
    p50, p99, answered = [[tuple(map(float, p.split())) for p in re.split("[ML]", d)[1:]] for d in
                          re.findall(r'<path d="(M[^"VH]*)" fill="none"', text)]
    for curve in (p50, p99, answered):
        x = [at for at, _ in curve]
        expect(math.isclose(x[2] - x[1], 2 * (x[1] - x[0]), rel_tol=1e-3), f"places: {curve}")
    y = [height for _, height in p50]
    expect(math.isclose(y[1] - y[2], 2 * (y[0] - y[1]), rel_tol=1e-2), f"decades: {p50}")
    y = [height for _, height in answered]
    expect(math.isclose((y[0] - y[1]) * 1.3, y[1] - y[2], rel_tol=1e-2), f"heights: {answered}")


def paper(options):
    """bench/paper makes all of it, and the second time only what is not there."""
    tool = os.path.join(os.path.dirname(__file__), "..", "..", "bench", "paper")
    build = os.path.dirname(os.path.dirname(options.tool))
    with tempfile.TemporaryDirectory() as folder:
        data, out = os.path.join(folder, "a.tsv"), os.path.join(folder, "out")
        with open(data, "w", encoding="utf-8") as f:
            f.write("sentence\tlabel\na fine film\t1\nbad line\na dull one\t0\n")
        words = [tool, "--build", build, "--out", out, "--formats", "48/12", "--eval",
                 f"SST-2={data}@{options.model}", "--speed",
                 "--layers 1 --hidden 32 --heads 2 --vocab 40 --repeat 1 --link mem --tokens 8"]
        for limit in ("1", "2"):
            p = subprocess.run([*words, "--limit", limit], capture_output=True, text=True,
                               timeout=120 * PATIENCE, env={**os.environ, "TMPDIR": folder})
            expect(p.returncode == 0, f"bench/paper: exit {p.returncode}: {p.stderr}")
            with open(os.path.join(out, "report.html"), encoding="utf-8") as f:
                page = Page(f.read())
            accuracy, functions = page.tables
            expect(accuracy[1][0] == "SST-2" and accuracy[1][2] == limit, f"accuracy: {accuracy}")
            expect([row[-1] for row in functions[1:]] == ["yes"] * 6, f"speed: {functions}")
            expect(limit == "1" or functions == before, "speed was measured again")
            before = functions
        expect_text("rows_kept +1\\n", p.stderr, "the second run")
        expect_text("a.tsv:3: the line has too few columns", p.stderr, "a bad line")
        left = set(os.listdir(folder)) - {"a.tsv", "out"}
        expect(not left, f"left behind: {left}")


def main():
    options = parse_arguments(__doc__)
    return 1 if run_cases((evaluations, speed, load, courses) + ((paper,) if options.long else ()), options, options) else 0


if __name__ == "__main__":
    sys.exit(main())
