"""How well selectors rank the checkpoints of a cell, beside what a perfect selector would reach given the seed noise."""

import numpy as np
import pandas as pd

from workflow.lib.run import derive_seed
from workflow.lib.stats.correlation import POOLS, correlate
from workflow.lib.stats.ranking import regret, top_hit

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
    kendall = float(correlate(score[None], dice)["kendall_weighted"].iloc[0]) if n > 2 else np.nan
    return {"kendall": kendall} | {f"top{k}": top_hit(score, dice, k) if n > k else np.nan for k in (1, 3)}


def ceilings(cell: pd.DataFrame, seed: int) -> dict[str, float]:
    """`CEILINGS` of the checkpoints of a cell (rows of `summarise`): what a selector that knows the true means reaches when it
    is judged by means over so few seeds; the observed means stand for the true ones, which flatters it a little.

    Means over `DRAWS` of Dice drawn anew from t(df) with SD pooled_sd / sqrt(n_seeds); nan without a known spread.
    """
    error = (cell["pooled_sd"] / np.sqrt(cell["n_seeds"])).to_numpy()
    if not np.isfinite(error).all():
        return dict.fromkeys(CEILINGS, np.nan)
    rng, truth = np.random.default_rng(seed), cell["dice_mean"].to_numpy()
    noise = error * rng.standard_t(np.maximum(cell["df"].to_numpy(), 1), (DRAWS, len(cell)))
    drawn, n = truth + noise, len(cell)
    kendall = correlate(drawn, truth)["kendall_weighted"].mean() if n > 2 else np.nan  # alike with both exchanged
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
