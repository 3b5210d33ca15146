"""Training as its users see it: a vocabulary of their text, a teacher, a student, kills in between,
and what is said of wrong input.
"""

import array
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from cell import Failed, expect, expect_text, parse_arguments, run_cases

GOOD = "warm funny tender bright lively gentle".split()
BAD = "dull tired stale clumsy grey hollow".split()
OTHER = ("the a film story plot cast song scene actor picture evening summer director minute and of "
         "with in it is was on for about through").split()
SMALL = "--layers 2 --hidden 32 --heads 2".split()


class Desk:
    """A folder, and mpcformer run in it on one thread."""

    def __init__(self, options):
        self.tool, self.folder = options.tool, tempfile.mkdtemp(prefix="mpcformer-train-")
        self.environment = dict(os.environ, OMP_NUM_THREADS="1")
        rng = random.Random(options.seed)
        for name, rows in (("train", 300), ("dev", 80)):
            with open(self.path(f"data/{name}.tsv", make=True), "w") as f:
                f.write("sentence\tlabel\n")
                for i in range(rows):
                    words = rng.choices(OTHER, k=rng.randint(2, 9)) + [rng.choice((BAD, GOOD)[i % 2])]
                    rng.shuffle(words)
                    f.write(f"{' '.join(words)}\t{i % 2}\n")

    def path(self, name, make=False):
        path = os.path.join(self.folder, name)
        if make:
            os.makedirs(os.path.dirname(path), exist_ok=True)
        return path

    def start(self, *words):
        return subprocess.Popen([self.tool, *map(str, words)], cwd=self.folder, text=True,
                                env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def run(self, *words, code=0):
        """What the command says on standard output, and its messages."""
        p = self.start(*words)
        out, messages = p.communicate(timeout=120)
        expect(p.returncode == code, f"{' '.join(map(str, words))}: exit {p.returncode}: {messages}")
        return out, messages

    def train(self, *words):
        """The last line of a training."""
        out, _ = self.run(*words, "--task", "SST-2", "--data", "data", "--json")
        return json.loads(out.splitlines()[-1])

    def model(self, folder):
        with open(self.path(f"{folder}/model.safetensors"), "rb") as f:
            return f.read()


def vocabulary(desk, _):
    """Pieces of one's own text: what it has often is a word of its own."""
    desk.run("vocab", "--task", "SST-2", "--size", "200", "--out", "vocab.txt", "data/train.tsv")
    with open(desk.path("vocab.txt")) as f:
        lines = f.read().split("\n")[:-1]
    expect(lines[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], f"begins {lines[:5]}")
    expect(len(lines) == len(set(lines)) <= 200, f"{len(lines)} lines")
    expect(set(GOOD + BAD) <= set(lines), "a frequent word is missing")
    _, messages = desk.run("vocab", "--out", "vocab.txt", "data/train.tsv", code=3)
    expect_text("not overwritten", messages, "a vocabulary that is there")


def teacher(desk, _):
    """From nothing to all right, in the layout that `share` and `distill` read."""
    line = desk.train("finetune", "--vocab", "vocab.txt", *SMALL, "--epochs", 8, "--rate", "3e-3",
                      "--out", "teacher")
    expect(line["metric"] == "accuracy" and line["dev_metric"] >= 0.98, f"{line}")
    expect(line["finished"] and not line["resumed"] and line["epochs"] == 8, f"{line}")
    with open(desk.path("teacher/log.tsv")) as f:
        epochs = [row for row in (line.split("\t") for line in f) if row[2] == "epoch"]
    expect(len(epochs) == 8 and float(epochs[-1][-1]) >= 0.98, f"log.tsv: {epochs}")
    _, messages = desk.run("finetune", "--task", "SST-2", "--data", "data", "--vocab", "vocab.txt",
                           *SMALL, "--out", "teacher", code=3)
    expect_text("finished model is not overwritten", messages, "a model that is there")
    desk.run("share", "--model", "teacher", "--tokens", "16", "--out", "teacher-shares")
    narrow = desk.train("finetune", "--vocab", "vocab.txt", *SMALL, "--epochs", 8, "--rate", "3e-3",
                        "--precision", "bf16", "--out", "narrow")
    expect(narrow["dev_metric"] >= 0.97 and desk.model("narrow") != desk.model("teacher"), f"{narrow}")
    return f"accuracy {line['dev_metric']}"


def student(desk, _):
    """Quad and 2Quad from the teacher, and the tables' other columns."""
    recipe = ("--batch", 16, "--hidden-rate", "1e-3", "--logits-rate", "1e-3", "--hidden-epochs", 6,
              "--logits-epochs", 3)
    line = desk.train("distill", "--teacher", "teacher", *recipe, "--out", "student")
    expect(line["teacher_dev_metric"] >= 0.98 and line["dev_metric"] >= 0.97, f"{line}")
    expect(line["epochs"] == 9, f"{line}")
    with open(desk.path("student/config.json")) as f:
        config = json.load(f)
    expect((config["hidden_act"], config["softmax_act"]) == ("quad", "2quad"), f"{config}")
    desk.run("share", "--model", "student", "--tokens", "16", "--out", "student-shares")
    for flag in ("--no-teacher-init", "--no-distillation", "--scratch"):
        other = desk.train("distill", "--teacher", "teacher", *recipe, flag, "--out", "s" + flag)
        expect(other["finished"] and other["epochs"] == 9, f"{flag}: {other}")
        expect(desk.model("s" + flag) != desk.model("student"), f"{flag} makes no difference")
    half = desk.train("distill", "--teacher", "teacher", *recipe, "--fraction", "0.5", "--layers", 1,
                      "--softmax-act", "2relu", "--teacher-dropout", "0.1", "--out", "half")
    expect(half["epochs"] == 18, f"half the rows, not twice the epochs: {half}")
    mixed = desk.train("distill", "--teacher", "teacher", *recipe[:-4], "--hidden-epochs", 1,
                       "--logits-epochs", 1, "--hidden-act", "gelu,quad", "--softmax-act", "2quad,softmax",
                       "--out", "mixed")
    with open(desk.path("mixed/config.json")) as f:
        config = json.load(f)
    expect((config["hidden_act"], config["softmax_act"]) == (["gelu", "quad"], ["2quad", "softmax"]),
           f"{mixed}: {config}")
    desk.run("share", "--model", "mixed", "--tokens", "16", "--out", "mixed-shares")
    return f"accuracy {line['dev_metric']}"


def columns(desk, _):
    """bench/columns makes the table of all of them by one command, which goes on after what ended it."""
    tool = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "bench", "columns")
    words = (tool, "--build", os.path.dirname(os.path.dirname(desk.tool)), "--out", "columns", "--data",
             "data", "--quoted", "data/dev.tsv", "--private", "8", "--pairs",
             f"--finetune=--vocab vocab.txt {' '.join(SMALL)} --epochs 8 --rate 3e-3",
             "--distill=--hidden-rate 1e-3 --logits-rate 1e-3 --hidden-epochs 6 --logits-epochs 3")

    def make(*more, code=0):
        p = subprocess.run([*words, *more], cwd=desk.folder, text=True, env=desk.environment, timeout=240,
                           capture_output=True)
        expect(p.returncode == code, f"bench/columns: exit {p.returncode}: {p.stderr}")
        return p.stdout, p.stderr

    _, messages = make("--both=--batch 16 --steps 20", code=3)
    expect_text("teacher is not done: the same command goes on", messages, "--steps")
    out, _ = make("--both=--batch 16")
    with open(desk.path("columns/columns.json")) as f:
        report = json.load(f)
    names = ["teacher", "student", "without distillation", "from made-up weights", "student, gelu and 2relu",
             "student, gelu and 2quad", "student, quad and softmax", "student, quad and 2relu"]
    expect([c["column"] for c in report["columns"]] == names, f"{report}")
    expect(all(c["dev"] == c["quoted"] and c["rows"] == 80 for c in report["columns"]), f"{report}")
    expect(report["columns"][1]["dev"] >= 0.97, f"{report}")
    expect(report["private"]["n"] == 8 and report["private"]["agree"] == 1, f"{report}")
    expect(re.findall(r"^\| ([a-z][a-z0-9, -]+) \|", out, re.M) == names, out)
    models = [desk.model(f"columns/{name.replace(',', '').replace(' ', '-')}") for name in names]
    expect(len(set(models)) == len(names), "two columns are one model")
    again, messages = make("--both=--batch 16")
    expect(again == out and "to train on" not in messages, f"the second time: {messages}")


def budget(desk, _):
    """Exact functions where a latency allows and they matter most; a student that `share` takes."""
    words = ("distill", "--teacher", "teacher", "--tokens", 16, "--batch", 16, "--hidden-rate", "1e-3",
             "--hidden-epochs", 1, "--logits-epochs", 1, "--budget-steps", 4, "--budget-rows", 64)
    data = ("--task", "SST-2", "--data", "data", "--json")

    def choose(*more):
        out, messages = desk.run(*words, *more, *data)
        lines = [json.loads(line) for line in out.splitlines()]
        return lines[0]["budget"], lines[-1], messages

    _, messages = desk.run(*words, *data, "--budget", "0.01", "--out", "poor", code=3)
    expect_text("the budget must be at least", messages, "a budget that nothing fits")
    all_exact, least = (float(re.search(text, messages)[1])
                        for text in (r"([0-9.]+) ms with every exact one", r"at least ([0-9.]+) ms"))
    middle = (least + all_exact) / 2
    first, line, _ = choose("--budget", middle, "--steps", 5, "--out", "thrifty")
    expect(not line["finished"], f"{line}")
    expect(0 < first["places_kept"] < first["places_in_all"] == 4, f"{first}")
    expect(least <= first["ms"] <= middle < first["ms_all_exact"], f"{first}")
    expect([p["kept"] for p in first["places"]].count(True) == first["places_kept"], f"{first}")
    written = os.stat(desk.path("thrifty/budget.json")).st_mtime_ns
    again, line, _ = choose("--budget", middle, "--out", "thrifty")
    expect(again == first and line["resumed"] and line["finished"], f"{again} beside {first}, {line}")
    expect(os.stat(desk.path("thrifty/budget.json")).st_mtime_ns == written, "searched again")
    with open(desk.path("thrifty/config.json")) as f:
        config = json.load(f)
    for key in ("hidden_act", "softmax_act"):
        given = config[key] if isinstance(config[key], list) else [config[key]] * 2
        expect(given == first[key], f"{key}: {given} beside {first[key]}")
    desk.run("share", "--model", "thrifty", "--tokens", "16", "--out", "thrifty-shares")
    _, messages = desk.run(*words, *data, "--budget", middle + 1, "--out", "thrifty", code=3)
    expect_text("choice of another command", messages, "another budget in the same folder")

    rich, _, messages = choose("--budget", 2 * all_exact, "--steps", 1, "--out", "rich")
    expect(rich["places_kept"] == 4 and rich["hidden_act"] == ["gelu"] * 2, f"{rich}")
    expect_text("every exact function fits", messages, "a budget for all of it")
    out, _ = desk.run("bench", "rates", "--json")
    with open(desk.path("rates.json"), "w") as f:
        f.write(out)
    far, _, _ = choose("--budget", 1e6, "--rates", "rates.json", "--line", "10mbit,5ms", "--layers", 1,
                       "--steps", 1, "--out", "far")
    expect(far["ms"] > 2 * rich["ms"] and far["places_in_all"] == 2, f"{far}")
    return f"{first['places_kept']} of 4 within {middle:.1f} ms"


def ranges(desk, _):
    """--clip-range brings in what reached out, and says how far each stage reaches."""
    words = ("finetune", "--model", "teacher", "--epochs", 4, "--rate", "3e-3", "--clip-range", "1.5")
    line = desk.train(*words, "--clip-weight", 30, "--out", "clipped")
    reach = line["reach"]
    expect(len(reach) == 2 * 9 and {row["layer"] for row in reach} == {0, 1}, f"{reach}")
    before, after = (max(row[key] for row in reach) for key in ("before", "after"))
    expect(before > 1.5 * after, f"from {before} to {after}")
    expect(line["dev_metric"] >= 0.95, f"{line}")
    with open(desk.path("clipped/log.tsv")) as f:
        expect("outside" in f.readline().split("\t"), "log.tsv has no penalty")
    return f"from {before:.2f} to {after:.2f}"


def kinds(desk, options):
    """RoBERTa and DistilBERT are trained and taught; a pretrained body without a head gets one."""
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data")
    for kind in ("roberta", "distilbert"):
        tuned = desk.train("finetune", "--model", os.path.join(root, kind), "--tokens", 8,
                           "--epochs", 2, "--rate", "3e-3", "--out", kind)
        taught = desk.train("distill", "--teacher", kind, "--tokens", 8, "--hidden-epochs", 1,
                            "--logits-epochs", 1, "--out", kind + "-student")
        expect(tuned["finished"] and taught["finished"], f"{kind}: {tuned}, {taught}")
        with open(desk.path(f"{kind}-student/config.json")) as f:
            config = json.load(f)
        expect(config["model_type"] == kind and config["softmax_act"] == "2quad", f"{config}")
    with open(desk.path("teacher/config.json")) as f:
        config = json.load(f)
    config["architectures"] = ["BertModel"]
    for key in ("id2label", "label2id", "num_labels", "problem_type"):
        del config[key]
    raw = desk.model("teacher")
    size = int.from_bytes(raw[:8], "little")
    header, body = json.loads(raw[8:8 + size]), raw[8 + size:]
    kept, out = {}, b""
    for name, entry in header.items():
        if name == "__metadata__" or name.startswith("classifier"):
            continue
        begin, end = entry["data_offsets"]
        kept[name.removeprefix("bert.")] = dict(entry, data_offsets=[len(out), len(out) + end - begin])
        out += body[begin:end]
    text = json.dumps(kept).encode()
    text += b" " * (-len(text) % 8)
    with open(desk.path("body/model.safetensors", make=True), "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text + out)
    with open(desk.path("body/config.json"), "w") as f:
        json.dump(config, f)
    shutil.copy(desk.path("teacher/vocab.txt"), desk.path("body/vocab.txt"))
    words = ("finetune", "--model", "body", "--task", "SST-2", "--data", "data", "--epochs", 2)
    out, messages = desk.run(*words, "--json", "--out", "headed")
    expect_text("has no classifier: it gets one, made up by seed 1", messages, "a body without a head")
    expect(json.loads(out)["dev_metric"] >= 0.95, f"the body's training is lost: {out}")
    _, messages = desk.run("distill", "--teacher", "body", "--task", "SST-2", "--data", "data", "--out",
                           "none", code=3)
    expect_text("has no classifier: `mpcformer finetune`", messages, "a teacher without a head")


def kills(desk, _):
    """Killed at any moment and started again, a training ends at the same bytes."""
    words = ("finetune", "--vocab", "vocab.txt", "--layers", 2, "--hidden", 64, "--epochs", 12,
             "--rate", "2e-3", "--batch", 8, "--save", 1)
    start = time.monotonic()
    whole = desk.train(*words, "--out", "whole")
    took = time.monotonic() - start
    killed = 0
    while True:
        p = desk.start(*words, "--task", "SST-2", "--data", "data", "--out", "parts", "--json")
        try:
            # within the run at first; longer each time, so that a slow machine gets on as well
            out, messages = p.communicate(timeout=took * random.uniform(0.2, 0.5) * 1.3**killed)
            break
        except subprocess.TimeoutExpired:
            p.send_signal(signal.SIGKILL)
            p.communicate()
            killed += 1
            expect(killed < 25, "no progress")
    expect(p.returncode == 0, f"exit {p.returncode}: {messages}")
    line = json.loads(out)
    expect(killed and line["resumed"], f"{killed} kills, {line}")
    expect(line["dev_metric"] == whole["dev_metric"], f"{line} beside {whole}")
    expect(desk.model("parts") == desk.model("whole"), "other bytes")
    left = sorted(os.listdir(desk.path("parts")))
    expect(left == ["config.json", "log.tsv", "model.safetensors", "vocab.txt"], f"left: {left}")
    return f"{killed} kills"


def pauses(desk, _):
    """--steps stops where it says, and the same command goes on."""
    words = ("finetune", "--model", "teacher", "--epochs", 2, "--steps", 15, "--out", "paused")
    lines = [desk.train(*words) for _ in range(2)]
    expect([line["finished"] for line in lines] == [False, True], f"{lines}")
    whole = desk.train("finetune", "--model", "teacher", "--epochs", 2, "--out", "unpaused")
    expect(desk.model("paused") == desk.model("unpaused"), "other bytes")
    expect(whole["dev_metric"] >= 0.97, f"{whole}")


def weights(desk, folder):
    """The numbers of a model, all float32."""
    raw = desk.model(folder)
    return array.array("f", raw[8 + int.from_bytes(raw[:8], "little"):])


def ranks(desk, _):
    """Two processes compute what one does, go on to the same bits, overlap sums with the backward
    pass, and end together."""
    mpirun = ["mpirun", "-n", "2", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none",
              "--mca", "btl", "self,vader", "--mca", "mpi_yield_when_idle", "1"]
    env = dict(desk.environment, ASAN_OPTIONS="detect_leaks=0")  # Open MPI's own
    words = ("finetune", "--vocab", "vocab.txt", *SMALL, "--task", "SST-2", "--batch", 8, "--epochs", 1,
             "--rate", "1e-3", "--json")
    distil = ("distill", "--teacher", "two", "--task", "SST-2", "--batch", 8, "--hidden-epochs", 1,
              "--hidden-rate", "1e-3", "--logits-epochs", 1, "--logits-rate", "1e-3", "--json")

    def run(*more, words=words, code=0, data="data"):
        p = subprocess.run([*mpirun, desk.tool, *map(str, words + more), "--data", data], cwd=desk.folder,
                           env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)
        without = "built without MPI" in p.stderr
        expect(without or (p.returncode == 0) == (code == 0), f"exit {p.returncode}: {p.stderr}")
        return p

    if not shutil.which("mpirun"):
        return "no mpirun here"
    p = run("--out", "two", "--trace", "trace")
    if "built without MPI" in p.stderr:
        return "built without MPI"
    two = json.loads(p.stdout)  # of rank 0 alone
    one = desk.train(*words[:-1], "--out", "one")
    run("--out", "two-student", words=distil)
    desk.train(*distil[:-1], "--out", "one-student")
    expect(abs(one["dev_metric"] - two["dev_metric"]) < 0.03, f"{one} beside {two}")
    off = [max(abs(a - b) for a, b in zip(weights(desk, "one" + kind), weights(desk, "two" + kind), strict=True))
           for kind in ("", "-student")]
    expect(max(off) < 2e-4, f"weights differ by {off[0]}, the student's by {off[1]}")
    for steps in (11, 400):
        run("--out", "cut", "--steps", steps)
    expect(desk.model("cut") == desk.model("two"), "two ranks go on to other bits")
    overlaps = 0
    for rank in range(2):
        with open(desk.path(f"trace.{rank}")) as f:
            spans = [e for e in json.load(f) if e["ph"] == "X"]
        work = [e for e in spans if e["cat"] == "backward"]
        sums = [e for e in spans if e["cat"] == "sum"]
        expect(len(work) == len(sums) == 38 * 4, f"{len(work)} parts, {len(sums)} sums of 38 steps")
        overlaps += sum(s["ts"] < w["ts"] + w["dur"] and w["ts"] < s["ts"] + s["dur"]
                        for s, w in zip(sums, work[1:]))
    expect(overlaps > 38, f"only {overlaps} sums overlap the next part")
    messages = run("--out", "none", data="nowhere", code=3).stderr
    expect_text("mpcformer: nowhere/train.tsv", messages, "data that is not there")
    expect(messages.count("nowhere/train.tsv") == 1, f"said more than once: {messages}")
    return f"weights within {off[0]:.1e}, the student's {off[1]:.1e}; {overlaps} sums overlap"


def wrong_input(desk, _):
    """Bad lines are named and counted; what cannot be is refused, and why."""
    shutil.copytree(desk.path("data"), desk.path("odd"))
    with open(desk.path("odd/train.tsv"), "a") as f:
        f.write("no label here\nwarm\t7\n")
    words = ("finetune", "--model", "teacher", "--epochs", 1, "--task", "SST-2", "--out", "odd-out")
    _, messages = desk.run(*words, "--data", "odd")
    expect_text(r"odd/train.tsv:302: .*left out", messages, "a line without a label")
    expect_text(r"odd/train.tsv:303: .*left out", messages, "a label that is none")
    for words, code, says in (
            (("finetune", "--task", "SST-3", "--out", "x"), 2, "CoLA, SST-2"),
            (("finetune", "--task", "SST-2", "--data", "data", "--out", "x"), 2, "--model DIR or"),
            (("finetune", "--task", "SST-2", "--data", "none", "--model", "teacher", "--out", "x"), 3,
             "none/train.tsv"),
            (("finetune", "--task", "SST-2", "--data", "data", "--model", "teacher", "--hidden-act",
              "cube", "--out", "x"), 3, "--hidden-act cube: .*gelu_new"),
            (("finetune", "--task", "SST-2", "--data", "data", "--model", "teacher", "--layers", 3,
              "--out", "x"), 2, "shape of its own"),
            (("distill", "--task", "SST-2", "--data", "data", "--out", "x"), 2, "--teacher DIR"),
            (("distill", "--task", "SST-2", "--data", "data", "--teacher", "teacher", "--layers", 3,
              "--out", "x"), 3, "shared out evenly"),
            (("distill", "--task", "SST-2", "--data", "data", "--teacher", "teacher", "--layers", 1,
              "--hidden-act", "gelu,quad", "--out", "x"), 3, "2 functions for 1 layer"),
            (("distill", "--task", "SST-2", "--data", "data", "--teacher", "teacher", "--rates", "x",
              "--out", "x"), 2, "go with --budget MS"),
            (("distill", "--task", "SST-2", "--data", "data", "--teacher", "teacher", "--budget", "10",
              "--rates", "data/dev.tsv", "--out", "y"), 3, "byte 0: no JSON object"),
            (("distill", "--task", "MNLI", "--data", "data", "--teacher", "teacher", "--out", "x"), 3,
             "MNLI's columns"),
            (("vocab", "--size", "8", "--out", "x.txt", "data/dev.tsv"), 2, "from 32"),
            (("vocab", "--out", "x.txt", "nowhere"), 3, "nowhere")):
        _, messages = desk.run(*words, code=code)
        expect_text(says, messages, " ".join(map(str, words)))


def main():
    options = parse_arguments(__doc__)
    desk = Desk(options)
    try:
        failed = run_cases((vocabulary, teacher, student, columns, budget, ranges, kinds, kills, pauses, ranks, wrong_input),
                           options, desk, options)
        expect(not failed, f"{failed} cases")
    except Failed as e:
        print(f"FAILED: {e}")
        return 1
    finally:
        shutil.rmtree(desk.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
