"""Text for people: tables, numbers with their units, percentiles."""

import statistics


def count(number):
    return f"{number:,}"


def size(number):
    """Bytes, in the unit that leaves three digits."""
    value = float(number)
    for unit in ("B", "KiB", "MiB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


def duration(seconds):
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} us"
    if seconds < 1:
        return f"{seconds * 1e3:.2f} ms" if seconds < 0.1 else f"{seconds * 1e3:.0f} ms"
    return f"{seconds:.2f} s"


def percentile(values, percent):
    """The smallest value that so many percent of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def spread(seconds):
    """p50, p99 and the longest, on one line."""
    return (f"p50 {duration(statistics.median(seconds))}, p99 {duration(percentile(seconds, 99))}, "
            f"longest {duration(max(seconds))}")


def _texts_and_widths(head, rows):
    """All cells as text, and how wide each column is; rules stay None."""
    texts = [row if row is None else [str(cell) for cell in row] for row in rows]
    widths = [max(len(line[i]) for line in [head, *filter(None, texts)]) for i in range(len(head))]
    return texts, widths


def _justified(cells, widths):
    """The first column to the left, the others to the right."""
    return [cells[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(cells[1:], widths[1:]))]


def table(head, rows, indent="   "):
    """Columns as wide as they need. A row of None is a rule."""
    texts, widths = _texts_and_widths(head, rows)
    rule = "  ".join("-" * width for width in widths)
    lines = ["  ".join(_justified(head, widths)), rule]
    lines += [rule if row is None else "  ".join(_justified(row, widths)) for row in texts]
    return "\n".join(indent + line.rstrip() for line in lines)


def markdown_table(head, rows):
    texts, widths = _texts_and_widths(head, rows)
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join("| " + " | ".join(_justified(row, widths)) + " |" for row in [head, rule, *texts])
