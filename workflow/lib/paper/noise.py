"""Curves of Dice against length that are not distinguishable from seed noise: figures draw them muted and say so."""

from pathlib import Path

import pandas as pd

from workflow.lib.tables.headed import read_table
from workflow.lib.tables.read import CURVE

NOISE = "the ranking of the lengths is not distinguishable from seed noise"


def mark_muted(data: pd.DataFrame, noise_ceiling: str | Path) -> pd.DataFrame:
    """Add the column muted: True where tables/noise_ceiling.csv says that the lengths > 0 of the row's curve are not
    distinguishable. Curves without a test (one seed, one length) are not muted: nothing is known of them.
    """
    table = read_table(noise_ceiling)
    table = table[(table["lengths"] == ">0") & (table["distinguishable"] == False)]  # noqa: E712  empty is not False
    noisy = pd.MultiIndex.from_frame(table[CURVE])
    return data.assign(muted=pd.MultiIndex.from_frame(data[CURVE]).isin(noisy))


def note(data: pd.DataFrame) -> str:
    """The line of the legend on muted curves, if any is muted."""
    return f"Pale: {NOISE}" if data["muted"].any() else ""
