#!/usr/bin/python3
"""Tokens a second of training: `mpcformer finetune` beside PyTorch, in turns, on the same cores.

    bench/training.py build/appliance/mpcformer --data DIR [--layers 2 --hidden 128 --heads 2]

DIR holds SST-2's train.tsv and dev.tsv. Both train the same shape from nothing, with dropout, AdamW
and clipping, on as many rows a step; PyTorch (Debian's python3-torch and libopenblas0-pthread) pads
each batch to its longest row, once with rows as they come and once with rows of like length together.
Only real tokens count.
OMP_NUM_THREADS (1) is for both. `_bf16` is --precision bf16, and PyTorch's autocast to bfloat16;
`ranks2` is mpirun with two processes, on a core each, of as many threads. --only takes some of the
columns.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import tempfile
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"]  # read when torch loads it

import torch
import torch.nn.functional as F


def rows_of(path, vocabulary, most):
    """Token ids by greedy longest match on words apart by spaces, as SST-2 has them."""
    ids = {piece: i for i, piece in enumerate(open(vocabulary).read().split("\n"))}
    rows = []
    for line in open(path).read().split("\n")[1:]:
        row = [2]
        for word in line.split("\t")[0].split():
            first = True
            while word:
                end = len(word)
                while end and (word[:end] if first else "##" + word[:end]) not in ids:
                    end -= 1
                if not end:
                    break
                row.append(ids[word[:end] if first else "##" + word[:end]])
                word, first = word[end:], False
        if len(row) > 1:
            rows.append(row[: most - 1] + [3])
    return rows


class Model(torch.nn.Module):
    def __init__(self, o, vocabulary):
        super().__init__()
        h, self.heads = o.hidden, o.heads
        self.word, self.position, self.kind = (torch.nn.Embedding(n, h) for n in (vocabulary, 512, 2))
        self.norm = torch.nn.LayerNorm(h, eps=1e-12)
        layer = lambda: torch.nn.ModuleDict(
            {"qkv": torch.nn.Linear(h, 3 * h), "o": torch.nn.Linear(h, h), "n1": torch.nn.LayerNorm(h, eps=1e-12),
             "up": torch.nn.Linear(h, 4 * h), "down": torch.nn.Linear(4 * h, h),
             "n2": torch.nn.LayerNorm(h, eps=1e-12)})
        self.layers = torch.nn.ModuleList(layer() for _ in range(o.layers))
        self.pooler, self.classifier = torch.nn.Linear(h, h), torch.nn.Linear(h, 2)

    def forward(self, ids, mask):
        b, n = ids.shape
        drop = lambda x: F.dropout(x, 0.1)
        split = lambda x: x.view(b, n, self.heads, -1).transpose(1, 2)
        x = self.word(ids) + self.position.weight[:n] + self.kind.weight[0]
        x = drop(self.norm(x))
        for l in self.layers:
            q, k, v = (split(y) for y in l["qkv"](x).chunk(3, -1))
            s = q @ k.transpose(2, 3) * q.shape[-1] ** -0.5 + mask
            a = (drop(F.softmax(s, -1)) @ v).transpose(1, 2).reshape(b, n, -1)
            x = l["n1"](x + drop(l["o"](a)))
            x = l["n2"](x + drop(l["down"](F.gelu(l["up"](x)))))
        return self.classifier(drop(torch.tanh(self.pooler(x[:, 0]))))


def run_torch(o, rows, by_length=False, narrow=False):
    torch.manual_seed(1)
    model = Model(o, 8192)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4)
    order = random.Random(1).sample(range(len(rows)), o.steps * o.batch)
    if by_length:
        order.sort(key=lambda i: len(rows[i]))
    batches = [order[i : i + o.batch] for i in range(0, len(order), o.batch)]
    random.Random(2).shuffle(batches)
    start, tokens = time.monotonic(), 0
    for batch in batches:
        lengths = [len(rows[i]) for i in batch]
        ids = torch.tensor([rows[i] + [0] * (max(lengths) - len(rows[i])) for i in batch])
        mask = (torch.arange(max(lengths))[None] >= torch.tensor(lengths)[:, None]) * -1e30
        with torch.autocast("cpu", torch.bfloat16, enabled=narrow):
            loss = F.cross_entropy(model(ids, mask[:, None, None, :]), ids[:, 1] % 2)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        tokens += sum(lengths)
    return tokens / (time.monotonic() - start)


MPIRUN = ["mpirun", "-n", "2", "--bind-to", "core", "--allow-run-as-root"]


def run_ours(o, *more, before=()):
    with tempfile.TemporaryDirectory() as out:
        line = subprocess.run(
            [*before, o.tool, "finetune", "--vocab", o.vocab, "--layers", str(o.layers), "--hidden", str(o.hidden),
             "--heads", str(o.heads), "--task", "SST-2", "--data", o.data, "--batch", str(o.batch), "--tokens",
             str(o.tokens), "--steps", str(o.steps), "--out", out, "--json", *more],
            check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
        return json.loads(line)["tokens_per_s"]


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("tool", type=os.path.abspath)
    p.add_argument("--data", required=True)
    p.add_argument("--vocab", default=os.path.join(os.path.dirname(__file__), "../models/sst2-tiny/vocab.txt"))
    for name, value in (("layers", 2), ("hidden", 128), ("heads", 2), ("batch", 32), ("tokens", 64),
                        ("steps", 100), ("repeat", 3)):
        p.add_argument("--" + name, type=int, default=value)
    p.add_argument("--only", default="", help="columns, with commas")
    o = p.parse_args()
    if "openblas" not in open("/proc/self/maps").read():
        p.error("PyTorch is here without OpenBLAS, which would not be fair: apt-get install libopenblas0-pthread")
    rows = rows_of(os.path.join(o.data, "train.tsv"), o.vocab, o.tokens)
    kinds = {"ours": lambda: run_ours(o), "torch": lambda: run_torch(o, rows),
             "torch_by_length": lambda: run_torch(o, rows, by_length=True),
             "ours_bf16": lambda: run_ours(o, "--precision", "bf16"),
             "torch_bf16": lambda: run_torch(o, rows, by_length=True, narrow=True),
             "ranks2": lambda: run_ours(o, before=MPIRUN)}
    kinds = {name: run for name, run in kinds.items() if name in o.only.split(",") or not o.only}
    seen = {name: [] for name in kinds}
    for _ in range(o.repeat):
        for name, run in kinds.items():
            seen[name].append(run())
    medians = {name: round(statistics.median(values)) for name, values in seen.items()}
    for name, top, under in (("ratio", "ours", ("torch", "torch_by_length")),
                             ("ratio_bf16", "ours_bf16", ("torch_bf16",)), ("ratio_ranks", "ranks2", ("ours",))):
        if top in medians and medians.keys() & set(under):
            medians[name] = round(medians[top] / max(medians[u] for u in under if u in medians), 2)
    print(json.dumps(medians))


main()
