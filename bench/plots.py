"""Curves of what bench/compare measured, as SVG."""

import os

from machine import Broken

# Kinds with less of the time than this are drawn as one.
LEAST_SHARE = 0.01


def check():
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise Broken("--plots needs matplotlib: apt-get install python3-matplotlib") from None


def start():
    import matplotlib
    matplotlib.use("svg")
    # Text stays text and ids stay the same: files are small, and change with their data alone.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "mpcformer",
                                "font.size": 9, "axes.spines.top": False,
                                "axes.spines.right": False})
    from matplotlib import pyplot
    return pyplot


def save(figure, folder, name):
    figure.savefig(os.path.join(folder, name + ".svg"), metadata={"Date": None},
                   bbox_inches="tight")


def draw_kinds(pyplot, part, folder):
    rows = part["rows"]
    total = sum(r["ms"] for r in rows)
    shown = [r for r in rows if r["ms"] >= LEAST_SHARE * total]
    pieces = [(r["kind"], r["ms"]) for r in shown]
    pieces.append(("others", total - sum(ms for _, ms in pieces)))
    figure, axes = pyplot.subplots(figsize=(7, 1.6))
    left = 0
    for kind, ms in pieces:
        axes.barh(0, ms, left=left, label=f"{kind} {ms:.0f} ms")
        left += ms
    axes.set_yticks([])
    axes.set_xlabel("online milliseconds at party 0, by kind of operation")
    axes.legend(ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False)
    save(figure, folder, "kinds")


def draw_curve(pyplot, rows, series, folder):
    rows = [r for r in rows if r["series"] == series]
    x = [r[series] for r in rows]
    middle = [r["online_ms_median"] for r in rows]
    figure, axes = pyplot.subplots(figsize=(4.5, 3))
    axes.errorbar(x, middle, [[m - r["online_ms_min"] for m, r in zip(middle, rows)],
                              [r["online_ms_max"] - m for m, r in zip(middle, rows)]],
                  marker="o", capsize=3, label="online, median, least to most")
    axes.plot(x, [r["cost_ms"] for r in rows], marker="s", linestyle="--",
              label="the plan's cost at this run's rates")
    if series != "workers":
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
    axes.set_xticks(x, map(str, x))
    axes.set_xlabel(series)
    axes.set_ylabel("milliseconds")
    axes.legend(frameon=False)
    save(figure, folder, series)


def draw(report, folder):
    pyplot = start()
    parts = report["parts"]
    os.makedirs(folder, exist_ok=True)
    if "roofline" in parts:
        draw_kinds(pyplot, parts["roofline"], folder)
    if "scaling" in parts:
        for series in ("tokens", "hidden", "workers"):
            draw_curve(pyplot, parts["scaling"]["rows"], series, folder)
