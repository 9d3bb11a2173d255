"""What selectors and stopping rules gain or lose, on average and against baselines, and whether they reach the goal."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import sparse

from workflow.lib.evidence.verdicts import (
    CONTRADICTED,
    FEWEST_RUNS,
    INCONCLUSIVE,
    MARGIN,
    SUPPORTED,
    UNTESTED,
    Found,
    non_inferiority,
    superiority,
    verdict,
)
from workflow.lib.selection.choice import Choices
from workflow.lib.selection.names import ALL
from workflow.lib.selection.selection import neighbours
from workflow.lib.selection.summary import summary
from workflow.lib.tables.patients import Patients
from workflow.lib.tables.read import CURVE

CELL = ["pool", *CURVE]
KEY = ["selector", "setting", "pool"]  # of a row of a summary
Key = tuple[str, str, str]
GOAL = f"""\
Goal: at most half of the pretraining epochs on average (epochs_trained), Dice no more than {MARGIN} below the last
checkpoint (supported if low > -{MARGIN}, contradicted if high < -{MARGIN}), AND above the fixed lengths of equal mean
epochs (supported if low > 0, contradicted if high < 0). goal: supported if all three are, contradicted if any is, else
inconclusive; fewer than {FEWEST_RUNS} runs: not testable. to_fixed: against stopping at one of the two neighbouring fixed
lengths, mixed so that the mean epochs TRAINED are equal; to_fixed_kept and goal_kept: likewise, counting only the epochs
of the checkpoint that is kept, as if it had been known beforehand that nothing better follows.
Verdicts are not corrected for the number of selectors: of 20 useless ones, one may pass a part by chance."""


def minus(chosen: Choices, other: Choices) -> Choices:
    """Paired differences: the rows of `chosen` that have a counterpart of the same cell in `other` (one at most), diff_to_last
    minus that of the counterpart, weights of the single results likewise. Both: as of `numbered`."""
    at = pd.Index(other.frame["cell"]).get_indexer(chosen.frame["cell"])
    rows = np.flatnonzero(at >= 0)
    both = chosen.take(rows)
    gap = both.frame["diff_to_last"].to_numpy() - other.frame["diff_to_last"].to_numpy()[at[rows]]
    return Choices(both.frame.assign(diff_to_last=gap), both.gain - other.gain[at[rows]], both.means)


def numbered(parts: Sequence[Choices]) -> list[Choices]:
    """The choices with the column cell: a number for each cell (`CELL`) that any of them has."""
    cells = pd.concat([part.frame[CELL] for part in parts]).groupby(CELL, dropna=False).ngroup().to_numpy()
    ends = np.cumsum([len(part.frame) for part in parts])[:-1]
    return [
        Choices(part.frame.assign(cell=numbers), part.gain, part.means)
        for part, numbers in zip(parts, np.split(cells, ends), strict=True)
    ]


def valued(chosen: Choices, column: str) -> Choices:
    """The same rows with another number in place of diff_to_last, which the fine-tuning results do not enter."""
    nothing = sparse.csr_array(chosen.gain.shape)
    return Choices(chosen.frame.assign(diff_to_last=chosen.frame[column].astype(float)), nothing, chosen.means)


def minus_mixture(chosen: Choices, fixed: Choices, epochs: Mapping[Key, float]) -> Choices:
    """Paired differences of choices to mixtures of rows `fixed L` (one per cell and length): for each selector, setting and pool
    of `epochs` the two lengths around this number, mixed in every cell alike so that it is their mean, of the lengths that all
    its cells have. None where these do not enclose it. Both: as of `numbered`."""
    lengths, column = np.unique(fixed.frame["chosen_epochs"], return_inverse=True)
    cells = 1 + max([-1, *chosen.frame["cell"], *fixed.frame["cell"]])
    at = np.full((cells, len(lengths)), -1)
    at[fixed.frame["cell"], column] = np.arange(len(fixed.frame))
    cell, groups = chosen.frame["cell"].to_numpy(), chosen.frame.groupby(KEY).indices
    found = []
    for key, mean in epochs.items():
        rows = groups[key][(at[cell[groups[key]]] >= 0).any(axis=1)]
        common = (at[cell[rows]] >= 0).all(axis=0)
        around = neighbours(lengths[common], round(mean, 9))
        if around is not None:
            low, high, weight = around
            ends = (at[cell[rows], np.searchsorted(lengths, length)] for length in (low, high))
            found.append(np.array([rows, *ends, np.full(len(rows), weight)]))
    mixed = np.concatenate(found, axis=1) if found else np.zeros((4, 0))
    (taken, below, above), share = mixed[:3].astype(int), mixed[3]
    part, dice = chosen.take(taken), fixed.frame["diff_to_last"].to_numpy()
    gap = part.frame["diff_to_last"] - (share * dice[below] + (1 - share) * dice[above])
    gain = sparse.diags_array(share) @ fixed.gain[below] + sparse.diags_array(1 - share) @ fixed.gain[above]
    return Choices(part.frame.assign(diff_to_last=gap), part.gain - gain, part.means)


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
    chosen, fixed, *others = numbered([chosen, fixed, *against.values()])
    against = dict(zip(against, others, strict=True))
    for target in [ALL, *chosen.frame["dataset"].unique()]:
        part, base = (_of(rows, target) for rows in (chosen, fixed))
        table = summary(part, ["epochs_trained", "share_trained", "share_kept", *also], patients or {})
        key = list(table[KEY].itertuples(index=False, name=None))
        within = table["pool"] == "within_run"
        for end in ("low", "high"):
            table[f"diff_{end}"] = table[f"diff_{end}"].where(within, table[f"seeds_{end}"])
        for name, rows in against.items():
            _add(table, key, f"to_{name}", minus(part, _of(rows, target)))
        for name in intervals:
            _add(table, key, name, valued(part, name))
        for name, epochs in (("to_fixed", "epochs_trained"), ("to_fixed_kept", "chosen_epochs")):
            known = table[within & table[epochs].notna()]
            means = dict(zip(known[KEY].itertuples(index=False, name=None), known[epochs], strict=True))
            _add(table, key, name, minus_mixture(part, base, means))
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


def _add(table: pd.DataFrame, key: list[Key], name: str, differences: Choices) -> None:
    """Add mean and interval of paired differences to the rows of a summary."""
    columns = [name, f"{name}_low", f"{name}_high"]
    found: dict[Key, list[float]] = {}
    if len(differences.frame):
        for row in summary(differences).itertuples():
            ends = (row.seeds_low, row.seeds_high) if row.pool == "all" else (row.diff_low, row.diff_high)
            found[row.selector, row.setting, row.pool] = [row.diff_to_last, *ends]
    table[columns] = np.array([found.get(one, [math.nan] * 3) for one in key], dtype=float).reshape(-1, 3)


def _goal(row: pd.Series, fixed: str, share: str) -> str:
    """Verdict on the goal (`GOAL`) of a row of `contest`."""
    if pd.isna(row["k"]) or row["k"] < FEWEST_RUNS or math.isnan(row[fixed]):
        return UNTESTED
    last = Found(row["diff_to_last"], row["diff_low"], row["diff_high"])
    better = Found(row[fixed], row[f"{fixed}_low"], row[f"{fixed}_high"])
    parts = [SUPPORTED if row[share] <= 0.5 + 1e-9 else CONTRADICTED]
    parts += [verdict(non_inferiority, last, MARGIN), verdict(superiority, better, 0.0)]
    return CONTRADICTED if CONTRADICTED in parts else INCONCLUSIVE if INCONCLUSIVE in parts else SUPPORTED
