#!/usr/bin/env python3
"""Makes training.tsv: two steps of training as PyTorch does them, in float64.

    /usr/bin/python3 tests/data/training.py > tests/data/training.tsv      (Debian's python3-torch)

The model is tiny.safetensors; the batch is padded and masked here, by multiplication after the
function of the scores. Rows: run, loss of each step; then for each tensor its name, the first
gradient's norm and its product with cos(0.7 i + 0.3), the same two of what both steps changed.
Optimiser: torch.optim.AdamW, rate 1e-3, decay 0.01 but for biases and LayerNorms, eps 1e-4 (with
1e-6 a gradient that is zero but for rounding would move its weight), norm clipped at 1.
"""
import json
import math
import pathlib
import struct

import torch
import torch.nn.functional as F

HIDDEN, HEADS, LAYERS, EPS = 21, 3, 2, 1e-12
BATCH = [  # ids, types, label
    ([1, 4, 17, 2, 6], [0, 0, 1, 1, 1], 2),
    ([3], [0], 0),
    ([1, 18, 7, 7, 9, 10, 11, 5, 2], [0, 0, 0, 0, 1, 1, 1, 1, 1], 1),
]


def load(path):
    raw = pathlib.Path(path).read_bytes()
    (size,) = struct.unpack("<Q", raw[:8])
    tensors = {}
    for name, entry in json.loads(raw[8 : 8 + size]).items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        kind = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}[entry["dtype"]]
        t = torch.frombuffer(bytearray(raw[8 + size + begin : 8 + size + end]), dtype=kind)
        name = name if name.startswith(("bert.", "classifier.")) else "bert." + name
        tensors[name] = t.to(torch.float64).reshape(entry["shape"])
    return tensors


def activation(name, x):
    return {
        "gelu": F.gelu,
        "gelu_new": lambda x: F.gelu(x, approximate="tanh"),
        "relu": F.relu,
        "quad": lambda x: 0.125 * x * x + 0.25 * x + 0.5,
        "tanh": torch.tanh,
    }[name](x)


def normalise(name, s, mask):
    n = mask.sum(-1, keepdim=True)
    if name == "softmax":
        return F.softmax(s + (mask - 1) * 1e30, dim=-1)
    top = F.relu(s) + 1e-12 / n if name == "2relu" else (s + 5) ** 2
    return top * mask / (top * mask).sum(-1, keepdim=True)


def forward(p, hidden_act, softmax_act):
    longest = max(len(ids) for ids, _, _ in BATCH)
    pad = lambda i: torch.tensor([row[i] + [0] * (longest - len(row[i])) for row in BATCH])
    mask = torch.tensor([[1.0] * len(r[0]) + [0.0] * (longest - len(r[0])) for r in BATCH], dtype=torch.float64)
    linear = lambda x, name: F.linear(x, p[name + ".weight"], p[name + ".bias"])
    norm = lambda x, name: F.layer_norm(x, (HIDDEN,), p[name + ".weight"], p[name + ".bias"], EPS)
    split = lambda x: x.view(len(BATCH), longest, HEADS, HIDDEN // HEADS).transpose(1, 2)
    e = "bert.embeddings."
    x = p[e + "word_embeddings.weight"][pad(0)] + p[e + "token_type_embeddings.weight"][pad(1)]
    x = norm(x + p[e + "position_embeddings.weight"][:longest], e + "LayerNorm")
    states, scores = [x], []
    for i in range(LAYERS):
        l = f"bert.encoder.layer.{i}."
        q, k, v = (split(linear(x, l + "attention.self." + n)) for n in ("query", "key", "value"))
        s = q @ k.transpose(2, 3) / math.sqrt(HIDDEN // HEADS)
        scores.append(s)
        a = normalise(softmax_act, s, mask[:, None, None, :]) @ v
        a = linear(a.transpose(1, 2).reshape(len(BATCH), longest, HIDDEN), l + "attention.output.dense")
        x = norm(x + a, l + "attention.output.LayerNorm")
        f = activation(hidden_act, linear(x, l + "intermediate.dense"))
        x = norm(x + linear(f, l + "output.dense"), l + "output.LayerNorm")
        states.append(x)
    pooled = torch.tanh(linear(x[:, 0], "bert.pooler.dense"))
    return linear(pooled, "classifier"), states, scores, mask


def masked_error(x, y, mask):
    return (((x - y) ** 2) * mask).sum() / mask.expand_as(x).sum()


def hidden_loss(student, teacher):
    _, states, scores, mask = student
    rows = mask[:, :, None]
    squares = mask[:, None, :, None] * mask[:, None, None, :]
    return sum(masked_error(a, b, rows) for a, b in zip(states, teacher[1])) + sum(
        masked_error(a, b, squares) for a, b in zip(scores, teacher[2])
    )


def run(name, hidden_act, softmax_act, start):
    p = {k: v.clone().requires_grad_() for k, v in start.items()}
    plain = [v for k, v in p.items() if "LayerNorm" in k or k.endswith(".bias")]
    rest = [v for k, v in p.items() if not ("LayerNorm" in k or k.endswith(".bias"))]
    optimiser = torch.optim.AdamW(
        [{"params": rest, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}], lr=1e-3, eps=1e-4
    )
    with torch.no_grad():
        teacher = forward(start, "gelu", "softmax")
    losses, first = [], {}
    for step in range(2):
        out = forward(p, hidden_act, softmax_act)
        if name == "labels":
            loss = F.cross_entropy(out[0], torch.tensor([row[2] for row in BATCH]))
        elif name == "logits":
            soft = F.softmax(teacher[0], dim=-1)
            loss = -(soft * F.log_softmax(out[0], dim=-1)).sum(-1).mean()
        else:
            loss = hidden_loss(out, teacher)
        optimiser.zero_grad()
        loss.backward()
        if step == 0:
            first = {k: torch.zeros_like(v) if v.grad is None else v.grad.clone() for k, v in p.items()}
        for v in p.values():
            v.grad = torch.zeros_like(v) if v.grad is None else v.grad
        torch.nn.utils.clip_grad_norm_(p.values(), 1.0)
        optimiser.step()
        losses.append(loss.item())
    print("run", name, hidden_act, softmax_act, *(f"{l:.12g}" for l in losses), sep="\t")
    for key in sorted(p):
        change = (p[key].detach() - start[key]).flatten()
        gradient = first[key].flatten()
        along = torch.cos(0.7 * torch.arange(len(change), dtype=torch.float64) + 0.3)
        figures = (gradient.norm(), gradient @ along, change.norm(), change @ along)
        print("tensor", key, *(f"{f.item():.9g}" for f in figures), sep="\t")


start = load(pathlib.Path(__file__).parent / "tiny.safetensors")
run("labels", "gelu", "softmax", start)
run("labels", "gelu_new", "2relu", start)
run("labels", "relu", "2quad", start)
run("labels", "quad", "2quad", start)
run("hidden", "quad", "2quad", start)
run("logits", "quad", "2quad", start)
