"""Selectors of checkpoints whose every free choice is made on the other data sets: single scores and combined ones."""

from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd

from workflow.lib.curves.correlation import POOLS, ranks
from workflow.lib.curves.summary import summarise
from workflow.lib.evidence.verdicts import MARGIN
from workflow.lib.selection.choice import choose_highest
from workflow.lib.selection.names import (
    ACCURACY,
    COMBINED,
    ELSEWHERE,
    LONGEST,
    MEAN_RANK,
    NULLS,
    RANDOM,
    RIDGE,
    SHORTEST,
)
from workflow.lib.selection.selection import by_other_data_sets
from workflow.lib.tables.read import CURVE
from workflow.lib.tables.scores import columns_of, from_deepest

Array = np.ndarray
WITHIN = {"within_run": ["encoder"], "all": []}  # a setting is chosen per data set, and per value of these columns
PENALTY = 0.1  # of the ridge regression, per checkpoint, on standardised predictors; declared, not tuned


@dataclass
class Selectors:
    """Frozen selectors: names, their values (checkpoints in the order of `means`, selectors; higher = better, nan: not a
    candidate), and the settings that were chosen, by selector, data set and encoder (pool all: `all`)."""

    names: list[str]
    values: Array
    settings: dict[tuple[str, str, str], str]


def frozen(results: pd.DataFrame, scores: pd.DataFrame, pool: str, candidates: Array) -> Selectors:
    """Every selector of a pool among the checkpoints `candidates` (truths, in the order of `summarise`).

    For each data set: of every score the setting of lowest mean regret on the others (`by_other_data_sets`); the mean of the
    ranks by all scores and ImageNet accuracy; a ridge regression on these and the root of the epochs, fitted to Dice of the
    others; the mean Dice that the same checkpoint, fine-tuned the same way, reached on the others, and (within runs) the
    shortest length that lost no more than `MARGIN` there. What only the network decides (`NULLS`) is in no combination.
    """
    means = summarise(results)
    names, values = columns_of(from_deepest(scores) if pool == "all" else scores, means)
    values = np.where(candidates[:, None], values, np.nan)
    cell = np.where(candidates, means.groupby(POOLS[pool]).ngroup().to_numpy(), -1)
    dice, epochs, accuracy = (
        np.where(candidates, means[column], np.nan) for column in ("dice_mean", "epochs", "accuracy")
    )
    columns = {LONGEST: epochs, ACCURACY: accuracy, RANDOM: np.where(candidates, 0.0, np.nan)}
    columns[ELSEWHERE] = _elsewhere(means, centred(dice, cell))
    if pool == "within_run":
        columns[SHORTEST] = np.where(candidates, _shortest(means), np.nan)
    chosen = _settings(results, means, names, values, pool)
    kinds = list(dict.fromkeys(score for score, _ in names))
    columns |= {name: np.full(len(means), np.nan) for name in [*kinds, *COMBINED]}
    group = means["encoder"].to_numpy() if WITHIN[pool] else np.full(len(means), "all")
    groups = {one: group == one for one in np.unique(group)}
    useful = [i for i, kind in enumerate(kinds) if kind not in NULLS]
    for target in means["dataset"].unique():
        here = (means["dataset"] == target).to_numpy()
        seen = np.full((len(means), len(kinds)), np.nan)  # every data set, in the settings that are chosen for this one
        for (i, kind), (one, taken) in product(enumerate(kinds), groups.items()):
            if (kind, target, one) in chosen:
                seen[taken, i] = values[taken, names.index((kind, chosen[kind, target, one]))]
        for i, kind in enumerate(kinds):
            columns[kind][here] = seen[here, i]
        predictors = np.column_stack([seen[:, useful], accuracy])
        columns[MEAN_RANK][here] = mean_rank(predictors[here], cell[here])
        predictors = np.column_stack([predictors, np.sqrt(epochs)])
        for taken in groups.values():
            rows = np.flatnonzero(taken & candidates)
            fitted = ridge(predictors[rows], dice[rows], cell[rows], ~here[rows])
            columns[RIDGE][rows[here[rows]]] = fitted[here[rows]]
    known = {name: column for name, column in columns.items() if np.isfinite(column).any()}
    return Selectors(list(known), np.column_stack(list(known.values())), chosen)


def _settings(
    results: pd.DataFrame, means: pd.DataFrame, names: list[tuple[str, str]], values: Array, pool: str
) -> dict[tuple[str, str, str], str]:
    """The setting of each score that is chosen for a data set and encoder."""
    every = choose_highest(results, means, values, names, pool)
    chosen = {}
    for score in dict.fromkeys(score for score, _ in names):
        picked = by_other_data_sets(every, WITHIN[pool], score, score).frame
        for row in picked.itertuples():
            chosen[score, row.dataset, row.encoder] = row.setting
    return chosen


def _shortest(means: pd.DataFrame) -> Array:
    """Higher for shorter lengths among those that lose no more than `MARGIN` against the last on the other data sets; lower
    than all of these, by its loss, for any other."""
    trained = means[means["epochs"] > 0]
    last = trained.loc[trained.groupby(CURVE)["epochs"].idxmax(), [*CURVE, "dice_mean"]]
    last = means[CURVE].merge(last, on=CURVE, how="left")["dice_mean"]
    loss = _elsewhere(means, (means["dice_mean"] - last).to_numpy()).round(12)
    epochs = means["epochs"].to_numpy(float)
    return np.where(loss >= -MARGIN, -epochs, loss - epochs.max() - 1)


def _elsewhere(means: pd.DataFrame, dice: Array) -> Array:
    """Mean of a number (one per checkpoint and way of fine-tuning) over the other data sets, for the same checkpoint, fine-tuned
    the same way."""
    table = means.assign(dice=dice)
    same = [column for column in [*CURVE, "epochs"] if column != "dataset"]
    known = table["dice"].notna()
    group = table[known].groupby(same)["dice"]
    total, count = group.transform("sum") - table["dice"], group.transform("size") - 1
    return (total / count.where(count > 0)).to_numpy()


def centred(values: Array, cell: Array) -> Array:
    """Values (n,) minus the mean of their cell; nan stays."""
    return values - pd.Series(values).groupby(cell).transform("mean").to_numpy()


def standardised(values: Array, cell: Array) -> Array:
    """Columns of values (n, k) centred in each cell, with SD 1 there; 0 where a value is unknown or does not vary."""
    frame = pd.DataFrame(values).groupby(cell)
    centre, spread = frame.transform("mean").to_numpy(), frame.transform("std", ddof=0).to_numpy()
    varies = spread > 1e-12 * np.abs(centre)
    return np.divide(values - centre, spread, out=np.zeros(values.shape), where=varies & np.isfinite(values))


def mean_rank(values: Array, cell: Array) -> Array:
    """Mean over columns of the rank (0..1, 1 = best) within each cell, higher = better; (n, k) -> (n,). Of each checkpoint the
    columns count that are known for it; nan where fewer than two columns are known in the cell, and outside (cell -1)."""
    means = np.full(len(values), np.nan)
    for one in np.unique(cell[cell >= 0]):
        part = values[cell == one]
        part = part[:, np.isfinite(part).any(axis=0)]
        if part.shape[1] > 1:
            share = ranks(part.T).T / np.isfinite(part).sum(axis=0)
            known = np.isfinite(share).any(axis=1)
            means[np.flatnonzero(cell == one)[known]] = np.nanmean(share[known], axis=1).round(12)
    return means


def ridge(predictors: Array, dice: Array, cell: Array, train: Array) -> Array:
    """Dice as predicted by a ridge regression on predictors (n, k), both centred in their cell and the predictors with SD 1
    there, fitted on the rows `train`; (n,), all nan without such rows. Penalty: `PENALTY` times their number."""
    if not train.any():
        return np.full(len(dice), np.nan)
    x, y = standardised(predictors, cell), centred(dice, cell)
    inner = x[train].T @ x[train] + PENALTY * train.sum() * np.eye(x.shape[1])
    return x @ np.linalg.solve(inner, x[train].T @ y[train])
