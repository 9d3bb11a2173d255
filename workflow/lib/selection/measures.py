"""How well selectors rank the checkpoints of a cell, beside what a perfect selector would reach given the seed noise."""

from math import comb

import numpy as np
import pandas as pd

from workflow.lib.curves.correlation import POOLS, weighted_kendall
from workflow.lib.job.run import derive_seed

Array = np.ndarray
DRAWS = 100
MEASURES = ["kendall", "top1", "top3"]
CEILINGS = ["kendall_ceiling", "top1_ceiling", "top3_ceiling", "regret_floor"]


def rank_measures(score: Array, dice: Array) -> dict[str, float]:
    """`MEASURES` of scores (n,), higher = better, with Dice (n,), over the checkpoints where the score is known.

    kendall: SciPy's weighted tau, 0 where either is constant, nan for fewer than 3 checkpoints; top1, top3: the probability
    that a best checkpoint is among the 1 or 3 of highest score (ties share), nan where that leaves none out.
    """
    known = np.isfinite(score) & np.isfinite(dice)
    score, dice = score[known], dice[known]
    n = len(score)
    kendall = float(weighted_kendall(score[None], dice)[0]) if n > 2 else np.nan
    return {"kendall": kendall} | {f"top{k}": top_hit(score, dice, k) if n > k else np.nan for k in (1, 3)}


def ceilings(cell: pd.DataFrame, seed: int) -> dict[str, float]:
    """`CEILINGS` of the checkpoints of a cell (rows of `summarise`): what a selector that knows the true means reaches when it
    is evaluated by means over so few seeds; the observed means replace the true ones, which favours it slightly.

    Means over `DRAWS` of Dice drawn from t(df) with SD pooled_sd / sqrt(n_seeds); nan without a known spread.
    """
    error = (cell["pooled_sd"] / np.sqrt(cell["n_seeds"])).to_numpy()
    if not np.isfinite(error).all():
        return dict.fromkeys(CEILINGS, np.nan)
    rng, truth = np.random.default_rng(seed), cell["dice_mean"].to_numpy()
    noise = error * rng.standard_t(np.maximum(cell["df"].to_numpy(), 1), (DRAWS, len(cell)))
    drawn, n = truth + noise, len(cell)
    kendall = weighted_kendall(drawn, truth).mean() if n > 2 else np.nan  # alike with both exchanged
    hits = [np.mean([top_hit(truth, dice, k) for dice in drawn]) if n > k else np.nan for k in (1, 3)]
    found = [kendall, *hits, np.mean([regret(truth, dice) for dice in drawn])]
    return dict(zip(CEILINGS, map(float, found), strict=True))


def rank_table(means: pd.DataFrame, names: list[str], values: Array, candidates: Array, pool: str) -> pd.DataFrame:
    """`MEASURES` of every selector in every cell of a pool (columns of the cell, selector), with the `CEILINGS` of the cell.

    values (checkpoints in the order of `means`, selectors), higher = better; candidates: which checkpoints count.
    """
    rows = []
    for key, part in means[candidates].groupby(POOLS[pool]):
        positions, labels = means.index.get_indexer(part.index), dict(zip(POOLS[pool], key, strict=True))
        best = ceilings(part, derive_seed("ceiling", pool, *map(str, key)))
        for name, column in zip(names, values[positions].T, strict=True):
            if np.isfinite(column).any():
                rows.append(labels | {"selector": name} | rank_measures(column, part["dice_mean"].to_numpy()) | best)
    return pd.DataFrame(rows, columns=[*POOLS[pool], "selector", *MEASURES, *CEILINGS])


def top_hit(score: Array, truth: Array, k: int) -> float:
    """Whether the k checkpoints of highest score hold a best one: 0 or 1, or its probability where ties leave it open."""
    score, truth = _checked(score, truth)
    sure, tied, places = _top(score, k)
    best = truth == truth.max()
    missed = comb(int((~best[tied]).sum()), places) / comb(len(tied), places)
    return 1.0 if best[sure].any() else 1 - missed


def regret(score: Array, truth: Array) -> float:
    """The best truth minus that of the checkpoint of highest score, in units of the truth; 0 = the best is chosen."""
    score, truth = _checked(score, truth)
    return float(truth.max() - truth[score == score.max()].mean())


def _top(score: Array, k: int) -> tuple[Array, Array, int]:
    """Positions that are among the k highest for sure, those tied for the last places, and how many places these have."""
    if not 1 <= k <= len(score):
        raise ValueError(f"k is {k}, of {len(score)} checkpoints")
    last = np.sort(score)[::-1][k - 1]
    sure = np.flatnonzero(score > last)
    return sure, np.flatnonzero(score == last), k - len(sure)


def _checked(score: Array, truth: Array) -> tuple[Array, Array]:
    score, truth = np.asarray(score, dtype=float), np.asarray(truth, dtype=float)
    if score.shape != truth.shape or score.ndim != 1 or not len(score):
        raise ValueError(f"scores of shape {score.shape} and truths of shape {truth.shape}, expected one pair or more")
    if not (np.isfinite(score).all() and np.isfinite(truth).all()):
        raise ValueError("scores or truths that are not finite: leave these checkpoints out")
    return score, truth
