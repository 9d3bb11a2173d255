"""Dice of single patients, from the tables of cases."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from workflow.lib.data.table import read_table


def patients_of(items: str | Path) -> pd.Series:
    """The patient (group) of each case of a prepared target, from its items.csv."""
    text = {"case": str, "group": str}
    rows = read_table(items, dtype=text, keep_default_na=False)
    return rows.drop_duplicates("case").set_index("case")["group"]


def patients_dice(cases: Iterable[str | Path], patients: pd.Series) -> pd.Series:
    """Dice (0..1) of each patient in tables of cases: means over classes, then over the patient's cases; patients without any
    value are left out. patients: of each case."""
    rows = pd.concat([read_table(path, dtype={"case": str}, keep_default_na=True) for path in cases])
    per_case = rows.groupby("case")["dice"].mean()
    return per_case.groupby(per_case.index.map(patients)).mean().dropna()
