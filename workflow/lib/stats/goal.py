"""What selectors and stopping rules gain or lose, on average and against baselines, and whether they reach the goal."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import sparse

from workflow.lib.stats.choice import Choices, join
from workflow.lib.stats.claims_register import MARGIN
from workflow.lib.stats.claims_rules import (
    CONTRADICTED,
    FEWEST_RUNS,
    INCONCLUSIVE,
    SUPPORTED,
    UNTESTED,
    Found,
    non_inferiority,
    superiority,
    verdict,
)
from workflow.lib.stats.patients import Patients
from workflow.lib.stats.selection import neighbours
from workflow.lib.stats.selection_summary import summary
from workflow.lib.stats.tidy import CURVE

CELL = ["pool", *CURVE]
ALL = "all"
GOAL = f"""\
Goal: at most half of the pretraining epochs on average (epochs_trained), Dice no more than {MARGIN} below the last
checkpoint (supported if low > -{MARGIN}, contradicted if high < -{MARGIN}), AND above the fixed lengths of equal mean
epochs (supported if low > 0, contradicted if high < 0). goal: supported if all three are, contradicted if any is, else
inconclusive; fewer than {FEWEST_RUNS} runs: not testable. to_fixed: against stopping at one of the two neighbouring fixed
lengths, mixed so that the mean epochs TRAINED are equal; to_fixed_kept and goal_kept: likewise, counting only the epochs
of the checkpoint that is kept, as if it had been known beforehand that nothing better follows.
Verdicts are not corrected for the number of selectors: of 20 that are worth nothing, one may pass a part by chance."""


def minus(chosen: Choices, other: Choices) -> Choices:
    """Paired differences: the rows of `chosen` that have a counterpart of the same cell in `other` (one at most), diff_to_last
    minus that of the counterpart, weights of the single results likewise."""
    at = _cells(other).get_indexer(_cells(chosen))
    rows = np.flatnonzero(at >= 0)
    both = chosen.take(rows)
    gap = both.frame["diff_to_last"].to_numpy() - other.frame["diff_to_last"].to_numpy()[at[rows]]
    return Choices(both.frame.assign(diff_to_last=gap), both.gain - other.gain[at[rows]], both.means)


def _cells(chosen: Choices) -> pd.MultiIndex:
    return pd.MultiIndex.from_frame(chosen.frame[CELL].fillna({"pretrain_seed": -1}))


def valued(chosen: Choices, column: str) -> Choices:
    """The same rows with another number in place of diff_to_last, which the fine-tuning results do not enter."""
    nothing = sparse.csr_array(chosen.gain.shape)
    return Choices(chosen.frame.assign(diff_to_last=chosen.frame[column].astype(float)), nothing, chosen.means)


def mixture(fixed: Choices, epochs: float) -> Choices | None:
    """Rows `fixed L` (one per cell and length) mixed, in every cell alike, so that their mean length is `epochs`; of the
    lengths that all cells have. None where these do not enclose it."""
    frame = fixed.frame
    cells = frame.groupby(CELL, dropna=False).ngroup()
    count = frame.groupby("chosen_epochs")["chosen_epochs"].transform("size")
    around = neighbours(frame.loc[count == cells.nunique(), "chosen_epochs"].unique(), round(epochs, 9))
    if around is None:
        return None
    low, high, weight = around
    ends = [np.flatnonzero(frame["chosen_epochs"] == length) for length in (low, high)]
    below, above = (fixed.take(rows[np.argsort(cells.to_numpy()[rows])]) for rows in ends)
    dice = weight * below.frame["diff_to_last"] + (1 - weight) * above.frame["diff_to_last"]
    return Choices(below.frame.assign(diff_to_last=dice), weight * below.gain + (1 - weight) * above.gain, fixed.means)


def contest(
    chosen: Choices,
    fixed: Choices,
    against: Mapping[str, Choices],
    also: Sequence[str] = (),
    intervals: Sequence[str] = (),
    patients: Patients | None = None,
) -> pd.DataFrame:
    """A row per selector, setting (here: the budget), pool and data set (`ALL` first: all of them).

    Columns of `summary`, the means `also`; for each name in `against` the mean paired difference to these rows and its
    interval (`to_NAME`, `_low`, `_high`); in pool within_run likewise to_fixed and to_fixed_kept (`GOAL`), for each column in
    `intervals` `_low` and `_high`, and the verdicts goal and goal_kept. Intervals: within runs t over runs, in pool all over
    seeds; patients_low and patients_high over `patients`, where Dice of them is known. Rows of `chosen` need epochs_trained,
    share_trained and share_kept (of the last length).
    """
    parts = []
    for target in [ALL, *chosen.frame["dataset"].unique()]:
        part, base = (_of(rows, target) for rows in (chosen, fixed))
        table = summary(part, ["epochs_trained", "share_trained", "share_kept", *also], patients or {})
        key = list(table[["selector", "setting", "pool"]].itertuples(index=False, name=None))
        within = table["pool"] == "within_run"
        for end in ("low", "high"):
            table[f"diff_{end}"] = table[f"diff_{end}"].where(within, table[f"seeds_{end}"])
        for name, rows in against.items():
            _add(table, key, f"to_{name}", [minus(part, _of(rows, target))])
        for name in intervals:
            _add(table, key, name, [valued(part, name)])
        for name, epochs in (("to_fixed", "epochs_trained"), ("to_fixed_kept", "chosen_epochs")):
            known = table[within & table[epochs].notna()]
            differences = [_to_fixed(part, base, row, row[epochs]) for _, row in known.iterrows()]
            _add(table, key, name, [rows for rows in differences if rows is not None])
        table["goal"], table["goal_kept"] = (
            [_goal(row, name, share) if row["pool"] == "within_run" else "" for _, row in table.iterrows()]
            for name, share in (("to_fixed", "share_trained"), ("to_fixed_kept", "share_kept"))
        )
        parts.append(table.assign(dataset=target))
    return pd.concat(parts, ignore_index=True)


def _of(chosen: Choices, target: str) -> Choices:
    if target == ALL:
        return chosen
    return chosen.take(np.flatnonzero(chosen.frame["dataset"] == target))


def _add(table: pd.DataFrame, key: list[tuple], name: str, differences: Sequence[Choices]) -> None:
    """Add mean and interval of paired differences to the rows of a summary."""
    columns = [name, f"{name}_low", f"{name}_high"]
    found: dict[tuple, list[float]] = {}
    parts = [rows for rows in differences if len(rows.frame)]
    if parts:
        for row in summary(join(parts)).itertuples():
            ends = (row.seeds_low, row.seeds_high) if row.pool == "all" else (row.diff_low, row.diff_high)
            found[row.selector, row.setting, row.pool] = [row.diff_to_last, *ends]
    table[columns] = np.array([found.get(one, [math.nan] * 3) for one in key], dtype=float).reshape(-1, 3)


def _to_fixed(part: Choices, fixed: Choices, row: pd.Series, epochs: float) -> Choices | None:
    same = (part.frame[["selector", "setting", "pool"]] == row[["selector", "setting", "pool"]].to_numpy()).all(axis=1)
    chosen = part.take(np.flatnonzero(same))
    base = mixture(fixed.take(np.flatnonzero(_cells(fixed).isin(_cells(chosen)))), epochs)
    return None if base is None else minus(chosen, base)


def _goal(row: pd.Series, fixed: str, share: str) -> str:
    """Verdict on the goal (`GOAL`) of a row of `contest`."""
    if pd.isna(row["k"]) or row["k"] < FEWEST_RUNS or math.isnan(row[fixed]):
        return UNTESTED
    last = Found(row["diff_to_last"], row["diff_low"], row["diff_high"])
    better = Found(row[fixed], row[f"{fixed}_low"], row[f"{fixed}_high"])
    parts = [SUPPORTED if row[share] <= 0.5 + 1e-9 else CONTRADICTED]
    parts += [verdict(non_inferiority, last, MARGIN), verdict(superiority, better, 0.0)]
    return CONTRADICTED if CONTRADICTED in parts else INCONCLUSIVE if INCONCLUSIVE in parts else SUPPORTED
