"""What bench/compare holds figures against: targets, and other people's systems as measured."""

from collections import namedtuple

# CrypTen 0.4.0 with MPCFormer's own benchmark: PyTorch 1.13, 64-bit ring, 16 fraction bits, trusted
# first party, two processes on two cores of one machine (a Xeon with AVX-512), loopback, 2026-11,
# medians, while other work ran there (CPU time was 88-98 % of wall time). BERT-base shapes, random
# weights, weights and input secret, Quad and 2Quad, no head. "online" is without the making of its
# triples, "total" with it; an interpreter's start is in neither.
Peer = namedtuple("Peer", "conditions online_ms total_ms")
CRYPTEN = {
    128: Peer("true LayerNorm, one-hot embedding of 28,996 words, no head", 17700, 25000),
    512: Peer("BatchNorm in LayerNorm's place, no embedding, no head", 61400, 89000),
}

# GMAC/s of one core, the left side packed within the time: {(shape, isa): {ring: at least}}
PRODUCT = {
    ("weights", "amx"): {64: 60, 48: 100, 40: 130},
    ("attention", "amx"): {48: 65},
    ("weights", "ifma"): {48: 40},
    ("weights", "avx512"): {64: 15},
    ("weights", "avx2"): {64: 5},
}

# Milliseconds at most, by (tokens, ring).
ONLINE_MS = {(128, 48): 320, (128, 64): 500, (128, 40): 270, (512, 48): 1700}
TOTAL_MS = {(128, 48): 1000}
BYTES_ONLINE = {(128, 48): 150e6}
PREPARE_RATIO = 1.5  # CPU seconds of a query's preparation over those of the query
MODEL_P50_MS = 5     # the shipped model, one sentence
LINE_RATIO = 1.25    # shaped time over the larger of compute alone and wire alone
MEMORY_BYTES, MEMORY_TAPE_BYTES = 2 << 30, 0.4 * (1 << 30)


def target(value, bound, at_least=False):
    """A figure beside its target: the bound, how many times the bound it is, whether it is met."""
    if bound is None or value is None:
        return {"target": bound, "ratio": None, "hit": None}
    return {"target": bound, "ratio": value / bound,
            "hit": value >= bound if at_least else value <= bound}
