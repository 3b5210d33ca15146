"""The parts of bench/compare. Each measures, prints its tables, and returns what the JSON holds."""

import os
import statistics

import targets
from tables import scaled, spread, table
from targets import target

ISAS = ("amx", "ifma", "avx512", "avx2", "c")
FRACS = {48: 12, 64: 16, 40: 11}
BASE = ("--layers", 12, "--hidden", 768, "--heads", 12, "--ffn", 3072)
LINE, LINE_GBIT, LINE_US = "10gbit,20us", 10, 20
LINES = tuple((gbit, us) for gbit in (1, 10, 25) for us in (10, 50))
SMALL = ("--layers", 2, "--hidden", 256, "--heads", 4, "--ffn", 1024, "--vocab", 1000, "--tokens",
         128, "--ring", 48, "--frac", 12)
SCALE_VOCAB = 2048


class Context:
    """What parts share: the programs, how thorough to be, and figures that several parts need."""

    def __init__(self, tools, quick, repeat):
        self.tools, self.quick = tools, quick
        self.base = BASE if not quick else ("--layers", 2, "--hidden", 128, "--heads", 2)
        self.shape = "BERT-base" if not quick else "2 layers of 128, not BERT-base"
        self.tokens = 128 if not quick else 32
        self.repeat = repeat
        self.kept = {}

    def once(self, name, measure):
        if name not in self.kept:
            self.kept[name] = measure()
        return self.kept[name]

    def bert(self, ring, tokens, repeat, *more):
        return self.tools.bench("bert", *self.base, "--tokens", tokens, "--ring", ring, "--frac",
                                FRACS[ring], "--repeat", repeat, *more)

    def bert_48(self):
        """The row that several parts are about."""
        return self.once("bert_48", lambda: self.bert(48, self.tokens, self.repeat))

    def product_rates(self, ring):
        """GMAC/s of the product in rings of so many bits, and of its limit."""
        def measure():
            got = self.tools.bench_product("--ring", ring, "--rows", 128, "--inner", 768, "--cols",
                                           768, "--repeat", 20)
            best, fraction = got["gmac_per_s_max"], got["peak_fraction"]
            # The limit is the multiplying instruction's where that is known, else the product's.
            return {"ring": ring, "isa": got["isa"], "gmac_per_s": best,
                    "limit_gmac_per_s": got["gmac_per_s_median"] / fraction if fraction else best}
        return self.once(f"product_{ring}", measure)

    def link_rates(self):
        def measure():
            got = self.tools.bench("link", "--link", "uring")
            return {"gbit_per_s": max(e["gbit_per_s_median"] for e in got["exchange"]),
                    "pingpong_us_p50": got["pingpong_us_p50"]}
        return self.once("link", measure)

    def product_ms(self, products, rate="gmac_per_s"):
        return sum(p["gmac"] / self.product_rates(p["ring"])[rate] for p in products) * 1e3

    def wire_ms(self, sent, rounds=0):
        link = self.link_rates()
        return sent * 8 / (link["gbit_per_s"] * 1e6) + rounds * link["pingpong_us_p50"] / 2e3

    def rates(self):
        """What was measured of the two, for the report."""
        return {"product": [v for k, v in self.kept.items() if k.startswith("product_")],
                "link": self.link_rates()}


# --- the ring product ---

def product_shapes(quick):
    """(name, kind, words for the bench)"""
    weights = ((128, 768, 3072), (128, 3072, 768)) if not quick else ((128, 768, 768),)
    shapes = [("x".join(map(str, s)), "weights",
               ("--rows", s[0], "--inner", s[1], "--cols", s[2])) for s in weights]
    return shapes + [("12 x (128x64x128)", "attention",
                      ("--rows", 128, "--inner", 64, "--cols", 128, "--count", 12, "--pack-right"))]


def product_row(c, isa, ring, shape):
    name, kind, words = shape
    repeat = 1 if isa == "c" else 5
    got = c.tools.bench_product("--isa", isa, "--ring", ring, "--repeat", repeat, *words)
    row = {"shape": name, "isa": isa, "ring": ring}
    if isinstance(got, str):
        return {**row, "absent": got}
    bound = None if c.quick else targets.PRODUCT.get((kind, isa), {}).get(ring)
    return {**row, **got, "ring": ring,
            **target(got["gmac_per_s_median"], bound, at_least=True)}


def product(c):
    rings = (64, 48, 40, 32, 24) if not c.quick else (64, 48)
    shapes, rows, blas = product_shapes(c.quick), [], []
    for shape in shapes:
        for isa in ISAS:
            for ring in rings:
                row = product_row(c, isa, ring, shape)
                if row.get("absent"):
                    rows.append({**row, "ring": None})
                    break
                rows.append(row)
        if c.tools.has_blas():
            blas.append({"shape": shape[0], "isa": "openblas", "ring": 64,
                         **c.tools.bench_blas(*shape[2], "--repeat", 5)})
    order = [shape[0] for shape in shapes]
    missing = None if blas else "not built: libopenblas-dev was not there"
    table("Ring product, one core", (
        ("shape", "shape"), ("by", lambda r: r["isa"]), ("l", "ring"),
        ("GMAC/s", lambda r: r.get("absent") or spread("gmac_per_s")(r)),
        ("of TDPBUUD", "peak_fraction"), ("naive loop", "naive_gmac_per_s"),
        ("correct", "correct"), ("target", "target"), ("hit", "hit")),
          sorted(rows + blas, key=lambda r: order.index(r["shape"])),
          note=missing and f"OpenBLAS: {missing}." or
          f"OpenBLAS: dgemm on three limbs of 22 bits, its kernels for {blas[0]['kernel']}.")
    return {"rows": rows, "openblas": blas, "openblas_absent": missing}


# --- what surrounds it ---

def kernels(c):
    got = c.tools.bench("kernels", "--repeat", 5 if c.quick else 15)
    keys = c.tools.bench("input", "--repeat", 5, "--tokens", 128)
    table(f"Passes over elements, one core, G elements/s ({got['passes']}; plain C beside)", (
        ("pass", "kernel"), ("1K", "g_per_s_1k"), ("C", "c_1k"), ("96K", "g_per_s_96k"),
        ("C", "c_96k"), ("4M", "g_per_s_4m"), ("C", "c_4m")), got["kernels"])
    table("PRG, one core, GB/s by the bytes of a draw", (
        ("AES-128-CTR by", "cipher"), ("64", "gb_per_s_64"), ("4K", "gb_per_s_4k"),
        ("256K", "gb_per_s_256k"), ("4M", "gb_per_s_4m")), got["prg"])
    table("A query's input as keys", tuple((k, k) for k, v in keys.items()
                                            if not isinstance(v, (list, dict))), [keys])
    return {"kernels": got, "input": keys}


def link(c):
    drivers = {name: c.tools.bench("link", "--link", name) for name in ("mem", "uring")}
    rows = [{"driver": name, **e, "raw": raw["gbit_per_s_median"]} for name, d in drivers.items()
            for e, raw in zip(d["exchange"], d["raw"]["exchange"])]
    table("Link, sealed, both directions at once, Gbit/s of one", (
        ("driver", "driver"), ("bytes", "bytes"), ("Gbit/s", "gbit_per_s_median"),
        ("unsealed", "raw")), rows)
    table("Link, 64 bytes there and back, us", (
        ("driver", "link"), ("p50", "pingpong_us_p50"), ("p99", "pingpong_us_p99")),
          drivers.values())
    table("AES-256-GCM, one core, GB/s", (
        ("engine", "engine"), ("record", "bytes"), ("seal", "seal"), ("open", "open")),
          drivers["uring"]["seal_gb_per_s"])
    return drivers


# --- whole queries ---

def judge_bert(row, tokens, peer):
    """@row with its targets, and with CrypTen's figures where the shape is the same."""
    at = tokens, row["ring"]
    row["targets"] = {} if not peer else {
        name: target(row[key], bounds.get(at)) for name, key, bounds in (
            ("online_ms", "online_ms_median", targets.ONLINE_MS),
            ("total_ms", "total_ms_median", targets.TOTAL_MS),
            ("bytes_online", "bytes_online", targets.BYTES_ONLINE))}
    for name in ("prepare", "deal"):
        ratio = row[f"{name}_cpu_ms_median"] / row["online_cpu_ms_median"]
        row[f"{name}_over_online_cpu"] = ratio
        row["targets"][f"{name}_over_online_cpu"] = target(ratio, targets.PREPARE_RATIO)
    if peer:
        row["crypten"] = {**peer._asdict(),
                          "online_over_online": peer.online_ms / row["online_ms_median"],
                          "total_over_total": peer.total_ms / row["total_ms_median"]}
    return {"tokens": tokens, **row}


def beside(name):
    """A target's bound and whether it was met."""
    def get(row):
        t = row["targets"].get(name)
        return None if not t or t["target"] is None else \
            f"{t['target']:.4g} {'hit' if t['hit'] else 'missed'} ({t['ratio']:.2f})"
    return get


def bert_tables(c, rows):
    head = (("tokens", "tokens"), ("l", "ring"), ("f", "frac"))
    table(f"{c.shape}, Quad and 2Quad, vocabulary 30,522, io_uring on loopback: milliseconds",
          (*head, ("online", spread("online_ms")), ("target", beside("online_ms")),
           ("total", spread("total_ms")), ("target", beside("total_ms")), ("correct", "correct")),
          rows)
    table("The same: what a party sends, and CPU milliseconds of one process", (
        *head, ("MB online", scaled("bytes_online", 1e-6)), ("target", beside("bytes_online")),
        ("rounds", "rounds_online"), ("MB tape", scaled("bytes_offline", 1e-6)),
        ("query", spread("online_cpu_ms")), ("party's prep.", spread("prepare_cpu_ms")),
        ("of the query", beside("prepare_over_online_cpu")), ("dealer", spread("deal_cpu_ms")),
        ("of the query", beside("deal_over_online_cpu"))), rows)
    if not c.quick:
        table("Beside CrypTen (its conditions in bench/targets.py), times as fast", (
            *head, ("online over its online", lambda r: r["crypten"]["online_over_online"]),
            ("total over its total", lambda r: r["crypten"]["total_over_total"]),
            ("CrypTen", lambda r: r["crypten"]["conditions"])), rows)
    return {"shape": c.shape, "rows": rows}


def bert(c):
    peer = None if c.quick else targets.CRYPTEN[c.tokens]
    rows = [c.bert_48() if ring == 48 else c.bert(ring, c.tokens, c.repeat) for ring in FRACS]
    return bert_tables(c, [judge_bert(dict(r), c.tokens, peer) for r in rows])


def bert512(c):
    if c.quick:
        return bert_tables(c, [judge_bert(c.bert(48, 2 * c.tokens, 1), 2 * c.tokens, None)])
    return bert_tables(c, [judge_bert(c.bert(48, 512, 1), 512, targets.CRYPTEN[512])])


def model(c):
    rows = []
    for ring in (64, 48):
        got = c.tools.infer(ring, FRACS[ring], 5 if c.quick else 21, 0.5)
        ms = sorted(r["online_ms"] for r in got)
        row = {"ring": ring, "frac": FRACS[ring], "n": len(ms), "label": got[0]["label"],
               "online_ms_median": statistics.median(ms), "online_ms_min": ms[0],
               "online_ms_max": ms[-1], "bytes_online": got[0]["bytes_online"],
               "rounds_online": got[0]["rounds_online"]}
        rows.append({**row, **target(row["online_ms_median"], targets.MODEL_P50_MS)})
    table("The shipped model, one sentence at a time", (
        ("l", "ring"), ("f", "frac"), ("online ms, p50", spread("online_ms")), ("n", "n"),
        ("MB", scaled("bytes_online", 1e-6)), ("rounds", "rounds_online"), ("target", "target"),
        ("hit", "hit")), rows)
    return rows


def line(c):
    compute = c.bert(48, c.tokens, c.repeat, "--link", "mem")
    shaped = c.bert(48, c.tokens, c.repeat, "--shape", LINE)
    wire_ms = shaped["bytes_online"] * 8 / (LINE_GBIT * 1e6) + \
        shaped["rounds_online"] * LINE_US / 1e3
    larger = max(compute["online_ms_median"], wire_ms)
    row = {"shape": LINE, "shaped": shaped, "compute": compute, "wire_ms": wire_ms,
           "correct": shaped["correct"] and compute["correct"],
           **target(shaped["online_ms_median"] / larger, targets.LINE_RATIO)}
    table(f"{c.shape}, l=48, over {LINE}: milliseconds online", (
        ("over the line", lambda r: spread("online_ms")(r["shaped"])),
        ("compute alone (in memory, sealed)", lambda r: spread("online_ms")(r["compute"])),
        ("wire alone (bytes / rate + rounds x delay)", "wire_ms"),
        ("over the larger", lambda r: r["shaped"]["online_ms_median"] / larger),
        ("target", "target"), ("hit", "hit"), ("correct", "correct")), [row])
    return row


def lines_row(c, gbit, us):
    """A small model over one line, or (0) none, on each link."""
    shape = f"{gbit}gbit,{us}us" if gbit else "none"
    row = {"line": shape}
    for link in ("uring", "dpdk") if c.tools.has_dpdk() else ("uring",):
        row[link] = c.tools.bench("bert", *SMALL, "--link", link, "--repeat", 2 * c.repeat,
                                  *(("--shape", shape) if gbit else ()))
    sent, rounds = row["uring"]["bytes_online"], row["uring"]["rounds_online"]
    return {**row, "wire_ms": sent * 8 / (gbit * 1e6) + rounds * us / 1e3 if gbit else 0}


def lines(c):
    rows = [lines_row(c, *line) for line in ((0, 0), *(LINES if not c.quick else LINES[2:4]))]

    def of(link):
        return lambda r: spread("online_ms")(r[link]) if link in r else None

    def ratio(r):
        return r["dpdk"]["online_ms_min"] / r["uring"]["online_ms_min"] if "dpdk" in r else None
    table("2 layers of 256, 128 tokens, vocabulary 1000, l=48: milliseconds online by line", (
        ("line", "line"), ("io_uring", of("uring")), ("DPDK, memif", of("dpdk")),
        ("DPDK / io_uring, leasts", ratio),
        ("wire alone (bytes / rate + rounds x delay)", "wire_ms")), rows,
          note="" if c.tools.has_dpdk() else "DPDK: not built, libdpdk-dev was not there.")
    return rows


def scale_row(c, series, tokens, hidden, workers):
    got = c.tools.bench("bert", "--layers", 2, "--hidden", hidden, "--heads", hidden // 64,
                        "--vocab", SCALE_VOCAB, "--tokens", tokens, "--ring", 48, "--frac", 12,
                        "--workers", workers, "--repeat", 3)
    cost = c.product_ms(got["products"]) + c.wire_ms(got["bytes_online"], got["rounds_online"])
    return {"series": series, "tokens": tokens, "hidden": hidden, **got, "cost_ms": cost}


def scaling(c):
    sizes = (32, 64, 128, 256, 512), (128, 256, 512, 1024)
    if c.quick:
        sizes = sizes[0][:3], sizes[1][:2]
    rows = [scale_row(c, "tokens", n, 128, 1) for n in sizes[0]]
    rows += [scale_row(c, "hidden", 32, n, 1) for n in sizes[1]]
    cores = len(os.sched_getaffinity(0))
    rows += [scale_row(c, "workers", 128, 256, n) for n in range(1, cores + 1)]
    table(f"Two layers, vocabulary {SCALE_VOCAB}, l=48: online ms beside the plan's cost", (
        ("curve", "series"), ("tokens", "tokens"), ("hidden", "hidden"), ("workers", "workers"),
        ("online", spread("online_ms")), ("GMAC", "gmac_online"),
        ("MB", scaled("bytes_online", 1e-6)), ("rounds", "rounds_online"), ("cost", "cost_ms"),
        ("online min / cost", lambda r: r["online_ms_min"] / r["cost_ms"]),
        ("correct", "correct")), rows,
          note="Cost: multiply-adds at the product's best rate, bytes at the link's, half a "
               "ping-pong a round, all of it in this run and nothing overlapped.")
    return {"rates": c.rates(), "rows": rows}


def roofline(c):
    got, rows = c.bert_48(), []
    # Every product counts as one kind.
    product_ms = c.product_ms(got["products"], "limit_gmac_per_s")
    for op in got["ops"]:
        floors = product_ms if op["gmac"] else 0, c.wire_ms(op["bytes"])
        rows.append({**op, "product_ms": floors[0], "wire_ms": floors[1],
                     "over_floor": op["ms"] / max(floors) if any(floors) else None})
    rows.sort(key=lambda r: -r["ms"])
    total, link = sum(r["ms"] for r in rows), c.link_rates()
    limits = [c.product_rates(p["ring"]) for p in got["products"]]
    table(f"{c.shape}, l=48, {c.tokens} tokens: time by kind of operation, party 0", (
        ("kind", "kind"), ("ms", "ms"), ("of all", lambda r: f"{r['ms'] / total:.1%}"),
        ("GMAC", "gmac"), ("MB", scaled("bytes", 1e-6)), ("rounds", "rounds"),
        ("product floor", "product_ms"), ("wire floor", "wire_ms"),
        ("over the larger", "over_floor")), rows,
          note="Floors of this run, in ms: " + ", ".join(
              f"{r['limit_gmac_per_s']:.3g} GMAC/s at l={r['ring']}" for r in limits) +
          f" ({limits[0]['isa']}; of the instruction alone for amx, else of the product itself); "
          f"{link['gbit_per_s']:.3g} Gbit/s (io_uring, sealed).")
    return {"rates": c.rates(), "rows": rows}


def memory(c):
    got = c.bert_48()
    bound = targets.MEMORY_BYTES + targets.MEMORY_TAPE_BYTES
    row = {"party_rss_bytes": got["party_rss_bytes"],
           "tape_bytes_memory": got["tape_bytes_memory"],
           **({} if c.quick else target(got["party_rss_bytes"], bound))}
    table(f"Memory of a party, {c.shape}, l=48, one tape in stock: GiB", (
        ("resident", scaled("party_rss_bytes", 2**-30)),
        ("of it the tape", scaled("tape_bytes_memory", 2**-30)),
        ("target", scaled("target", 2**-30)), ("hit", "hit")), [row])
    return row


PARTS = {f.__name__: f for f in (product, kernels, link, model, scaling, roofline, memory, bert,
                                 line, lines, bert512)}
