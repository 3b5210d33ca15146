"""Number ranges: `share` recommends a format; a text that leaves a plan's range at run time has no
answer, and its owner is told where; ordinary texts never raise the alarm.
"""

import array
import json
import math
import os
import random
import shutil
import struct
import sys

from cell import expect, expect_text, run_cell

SAMPLE = ("a film to remember", "tired and far too long", "the jokes are old",
          "warm, funny and never cruel", "two hours of people talking in a kitchen", "no")
ORDINARY = ("not bad at all", "I want my evening back")


class Model:
    """A checkpoint whose tensors can be changed."""

    def __init__(self, folder):
        with open(os.path.join(folder, "model.safetensors"), "rb") as f:
            size = struct.unpack("<Q", f.read(8))[0]
            self.head = f.read(size)
            self.values = array.array("f", f.read())
        self.where = json.loads(self.head)
        with open(os.path.join(folder, "vocab.txt")) as f:
            self.words = f.read().split("\n")
        self.folder = folder
        self.hidden = self.shape("embeddings.word_embeddings")[1]
        self.word, self.token = next((w, i) for i, w in enumerate(self.words)
                                     if len(w) > 6 and w.isalpha())

    def shape(self, name, part="weight"):
        return self.where[f"bert.{name}.{part}"]["shape"]

    def start(self, name, part="weight"):
        return self.where[f"bert.{name}.{part}"]["data_offsets"][0] // 4

    def row(self, name, number):
        at = self.start(name) + number * self.hidden
        return self.values[at:at + self.hidden]

    def set_word(self, row):
        at = self.start("embeddings.word_embeddings") + self.token * self.hidden
        self.values[at:at + self.hidden] = array.array("f", row)

    def direction(self):
        """What the word is from now on, and only it: of length 1, without a mean. Its embedding
        is longer than others, but not much."""
        v = [random.gauss(0, 1) for _ in range(self.hidden)]
        mean = sum(v) / len(v)
        length = math.hypot(*(x - mean for x in v))
        v = [(x - mean) / length for x in v]
        other = math.hypot(*self.row("embeddings.word_embeddings", self.token))
        self.set_word([3 * other * x for x in v])
        return v

    def see(self, name, of, by, gain="embeddings.LayerNorm"):
        """Every output of a layer answers by @by, up or down, to direction @of before the gain."""
        at, gains = self.start(name), self.start(gain)
        for o in range(self.shape(name)[0]):
            sign = random.choice((-by, by))
            for i in range(self.hidden):
                self.values[at + o * self.hidden + i] += sign * of[i] / self.values[gains + i]

    def save(self, folder):
        os.mkdir(folder)
        for name in ("config.json", "vocab.txt"):
            shutil.copy(os.path.join(self.folder, name), folder)
        with open(os.path.join(folder, "model.safetensors"), "wb") as f:
            f.write(struct.pack("<Q", len(self.head)) + self.head + self.values.tobytes())


def long_word(m):
    """An embedding a thousand times as long as any other."""
    m.set_word([1000 * x for x in m.row("embeddings.word_embeddings", m.token)])
    return "embedding", 1


def no_word(m):
    """An embedding that leaves nothing: minus its place and its type."""
    m.set_word([-x - y for x, y in zip(m.row("embeddings.position_embeddings", 1),
                                       m.row("embeddings.token_type_embeddings", 0))])
    return "embedding", 1


def high_scores(m):
    """A word that attends to itself far more than any does to another."""
    of = m.direction()
    layer = "encoder.layer.0.attention.self."
    state = random.getstate()
    for name in ("query", "key"):
        random.setstate(state)
        m.see(layer + name, of, 0.3)
    return "layer 0, attention", 8


def loud_value(m):
    of = m.direction()
    m.see("encoder.layer.0.attention.self.value", of, 8)
    return "layer 0, LayerNorm after attention", 8


def loud_unit(m):
    """What its activation makes of a word, summed."""
    of = m.direction()
    m.see("encoder.layer.0.intermediate.dense", of, 6, "encoder.layer.0.attention.output.LayerNorm")
    return "layer 0, (feed-forward|LayerNorm after feed-forward)", 8


SEED = 1
KINDS = (long_word, no_word, high_scores, loud_value, loud_unit)


def share(cell, model, out, *words):
    with open(cell.path("sample.txt"), "w") as f:
        f.write("\n".join(SAMPLE))
    shown = cell.run("share", "--model", model, "--out", out, "--sample", "sample.txt", "--tokens",
                     "16", "--batch", "2", "--json", *words, timeout=120)
    return json.loads(shown)


def owner_of(cell, folder):
    cell.write_config(f"owner-{folder}", [(key, f"{folder}/client" if key == "model" else value)
                                          for key, value in cell.config("owner")])
    return f"owner-{folder}"


def leave(cell, kind, ring, frac):
    """Share a model that a word of its own drives out of its ranges, and ask of it. It is the same
    model in every run: of some directions the word does not leave the range, and is answered."""
    name = f"{kind.__name__}-{ring}"
    random.seed(SEED)
    model = Model(cell.model)
    place, times = kind(model)
    model.save(cell.path(f"{name}-model"))
    share(cell, f"{name}-model", name, "--ring", ring, "--frac", frac)
    cell.load_all(name)
    config = owner_of(cell, name)
    a = cell.infer(*ORDINARY, config=config, timeout=60)
    expect(a.code == 0, f"{name}: an ordinary text: exit {a.code}: {a.text}")
    expect(all(row["outside"] is None and row["label"] for row in a.rows), f"{name}: {a.rows}")
    bad = " ".join([model.word] * times)
    a = cell.infer("--batch", "2", ORDINARY[0], bad, config=config, timeout=60)
    expect(a.code == 4, f"{name}: {bad}: exit {a.code}, not 4: {a.text} {a.rows}")
    expect_text(f"text 2: a value left the range that the plan was made for, at {place}", a.text,
                name)
    expect(a.rows[0]["outside"] is None and a.rows[0]["label"], f"{name}: {a.rows[0]}")
    expect(a.rows[1]["label"] is None and a.rows[1]["logits"] == [None, None],
           f"{name}: {a.rows[1]}")
    for who in ("party0", "party1", "dealer"):
        expect("outside" not in cell.log(who), f"{name}: {who} knows of it")


def texts_that_leave(cell, options):
    """Every kind of place, from the embedding on."""
    for i, kind in enumerate(KINDS):
        if options.long or i % 2 == 0:
            leave(cell, kind, 64, 16)
        if i and (options.long or i % 2):
            leave(cell, kind, 48, 12)
    return f"{len(KINDS)} kinds of place"


def recommends(cell, _):
    """The narrowest ring of which nothing rests on samples, with what speaks for it."""
    said = share(cell, cell.model, "auto")
    tried = said["candidates"]
    taken = [c for c in tried if c["taken"]]
    expect(len(taken) == 1 and taken[0]["ring"] == said["ring"] < 64, f"taken: {taken}")
    expect(all(not c["fits"] and c["why"] for c in tried if c["ring"] < said["ring"]), f"{tried}")
    expect(taken[0]["sampled"] == 0 and said["headroom_bits"] >= 3 and said["headroom_at"],
           f"{taken}")
    kinds = {p["promise"] for p in said["promises"]}
    expect(kinds == {"proven", "guarded"}, f"promises: {kinds}")
    expect(all(len(v["squares_bits"]) == 2 for v in said["variants"]), f"{said['variants']}")
    report = json.loads(cell.run("share", "--model", cell.model, "--report", "--sample",
                                 "sample.txt", "--tokens", "16", "--json", timeout=120))
    expect([c["ring"] for c in report["candidates"]] == [32, 40, 48, 56, 64], "every ring is tried")
    expect(report["ring"] == said["ring"] and report["model_id"] is None, f"{report}")
    cell.run("share", "--model", cell.model, "--report", "--out", "x", code=2)
    cell.run("share", "--model", cell.model, "--out", "x", "--ring", "auto", "--frac", "12", code=2)
    return f"{said['ring']}/{said['frac']}"


def job_files(cell, _):
    """A query as files: reveal says it, too."""
    model = Model(cell.model)
    cell.run("job", "split", "--model", "long_word-64/client", "--output", "files", model.word)
    for party in ("party0", "party1")[::-1]:
        cell.ask(party, "job", "submit", "--input", cell.path(f"files/{party}.job"), "--output",
                 cell.path(f"files/{party}.answer"))
    for party in ("party0", "party1"):
        job = json.loads(cell.ask(party, "job", "list", "--json"))["jobs"][-1]["job"]
        cell.ask(party, "job", "wait", job)
    said = cell.run("job", "reveal", "--model", "long_word-64/client", "files/party0.answer",
                    "files/party1.answer", code=4)
    expect_text("at embedding: the answer is not to be trusted", said, "reveal")


if __name__ == "__main__":
    sys.exit(run_cell(__doc__, (recommends, texts_that_leave, job_files), tokens="16"))
