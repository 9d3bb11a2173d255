"""Reading of the CSV tables that jobs hand to each other. Nothing here imports torch."""

import re
import zlib
from pathlib import Path
from typing import Any

import pandas as pd

from workflow.lib.job.run import UserError, reason

# Names that would tear the lines of a table (pandas does not quote all of these), or are no text (file names may be any bytes).
UNFIT = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def read_table(path: str | Path, **options: Any) -> pd.DataFrame:
    """Read a table that this pipeline wrote; `options` of pandas.read_csv.

    Raises `UserError` for a file that is absent, damaged, without rows, or cut off within a line (of gzip: anywhere).
    """
    try:
        if not str(path).endswith(".gz") and Path(path).read_bytes()[-1:] != b"\n":
            raise ValueError("the last line has no end: the file was cut off")
        table = pd.read_csv(path, **options)
        if table.empty:
            raise ValueError("no rows")
    except (OSError, EOFError, ValueError, zlib.error) as error:  # pandas raises kinds of ValueError
        raise UserError(
            "unreadable table",
            found=reason(error),
            expected="a complete CSV table that this workflow wrote",
            where=path,
            next=f"rm -f '{path}', then run the same command again: it will be made again",
        ) from error
    return table
