"""The setting of a score that is best on the other data sets: the one way in which free choices are made."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from workflow.lib.tables.settings import WORD


def best_elsewhere(table: pd.DataFrame, within: Sequence[str], cost: Callable[[pd.DataFrame], pd.Series]) -> np.ndarray:
    """Labels of the rows whose setting costs least on the other data sets, for every data set and value of the columns `within`:
    `cost` makes a number per setting of the rows there. Of equal ones the first in alphabetical order; none with one data set.

    Where a group holds several encoders, only settings that all of them have are candidates.
    """
    rows = []
    for key, here in table.groupby(["dataset", *within]):
        same = table["dataset"] != key[0]
        for column, value in zip(within, key[1:], strict=True):
            same &= table[column] == value
        others = table[same]
        encoders = here.groupby("setting")["encoder"].nunique()
        common = encoders.index[encoders == here["encoder"].nunique()]
        costs = cost(others[others["setting"].isin(common)])
        if len(costs):
            rows += list(here.index[here["setting"] == costs.idxmin()])
    return np.array(rows, dtype=int)


def mean_regret(others: pd.DataFrame) -> pd.Series:
    """Mean regret of every setting, in Dice."""
    return others.groupby("setting")["regret"].mean().round(12)


def misfit(others: pd.DataFrame) -> pd.Series:
    """How badly every setting ranks: minus its mean Spearman correlation (rows of `correlations`), -1..1."""
    return -others.groupby("setting")["spearman"].mean().round(12)


def shared_settings(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of single settings of the robustness score within runs (`selection`), levels counted from the deepest of each
    encoder: of the settings that all encoders have."""
    parts = rows["setting"].astype(str).str.extract(WORD)
    level = parts["level"].astype(float)
    depth = level.groupby(rows["encoder"]).transform("max") - level
    setting = parts["metric"] + "|" + parts["way"] + "|" + depth.map("{:.0f} from the deepest".format)
    shared = rows["encoder"].groupby(setting).transform("nunique") == rows["encoder"].nunique()
    return rows.assign(setting=setting)[shared]
