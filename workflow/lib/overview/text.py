"""Plain text of at most 100 columns: aligned tables, durations and sizes."""

from collections.abc import Sequence

WIDTH = 100


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table with its first column to the left and the others to the right; all rows have the cells of `head`."""
    full = [head, *rows]
    widths = [max(len(row[i]) for row in full) for i in range(len(head))]
    lines = []
    for row in full:
        cells = [
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return [lines[0], "-" * len(max(lines, key=len)), *lines[1:]]


def duration(seconds: float) -> str:
    """Like `40 s`, `12 min`, `3.4 h` or `1,234 h`."""
    if seconds < 1:
        return "<1 s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 100 else f"{hours:,.0f} h"


def size(number: float) -> str:
    """Bytes like `0.3 GB`; less than 50 MB in MB."""
    return f"{number / 1e6:.0f} MB" if number < 5e7 else f"{number / 1e9:,.1f} GB"


def shortened(line: str) -> str:
    """The line, cut to 100 columns."""
    return line if len(line) <= WIDTH else line[: WIDTH - 3] + "..."
