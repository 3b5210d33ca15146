"""Tables for people, as Markdown that also reads well in a terminal."""


def text(value):
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)


def table(title, columns, rows, note=""):
    """@columns: (heading, key of a row or a function of it)."""
    cells = [[heading for heading, _ in columns]]
    for row in rows:
        cells.append([text(get(row) if callable(get) else row.get(get)) for _, get in columns])
    widths = [max(3, *map(len, column)) for column in zip(*cells)]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(line, widths)) + " |" for line in cells]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    print(f"### {title}\n")
    if note:
        print(note + "\n")
    print("\n".join(lines) + "\n", flush=True)


def spread(name, digits=3):
    """Median (min-max) of `name`_median, _min and _max."""
    def get(row):
        if row.get(name + "_median") is None:
            return None
        median, least, most = (f"{row[f'{name}_{s}']:.{digits}g}" if row[f"{name}_{s}"] < 1000
                               else f"{row[f'{name}_{s}']:.0f}" for s in ("median", "min", "max"))
        return f"{median} ({least}-{most})"
    return get


def scaled(key, by):
    """A row's number times @by."""
    return lambda row: None if row.get(key) is None else row[key] * by
