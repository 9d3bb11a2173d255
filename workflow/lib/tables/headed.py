"""Tables of a run: CSV whose first lines, beginning with `#`, say what is estimated and what the intervals leave out."""

from itertools import takewhile
from pathlib import Path
from typing import Any

import pandas as pd

from workflow.lib.job.run import UserError, atomic_path


def write_table(frame: pd.DataFrame, path: str | Path, head: str) -> None:
    """Write a frame as CSV below `head`, atomically; full precision, missing values as empty fields."""
    with atomic_path(path) as temporary:
        temporary.write_text("".join(f"# {line}\n" for line in head.splitlines()) + frame.to_csv(index=False))


def read_table(path: str | Path, **options: Any) -> pd.DataFrame:
    """Read such a table; `options` of pandas.read_csv. Raises `UserError` when it is unreadable."""
    try:
        with open(path) as file:
            head = sum(1 for _ in takewhile(lambda line: line.startswith("#"), file))
        return pd.read_csv(path, skiprows=head, **options)
    except (ValueError, OSError) as error:
        raise UserError(
            "unreadable table of a run",
            found=error,
            expected="a table that this workflow wrote",
            where=path,
            next=f"rm {path}, then run the same command again: it will be made again",
        ) from error


def head_of(path: str | Path) -> str:
    """The lines above a table, without their marks."""
    lines = takewhile(lambda line: line.startswith("#"), Path(path).read_text().splitlines())
    return "\n".join(line.removeprefix("#").strip() for line in lines)
