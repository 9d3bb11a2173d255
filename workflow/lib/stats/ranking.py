"""How well do predicted scores rank checkpoints by what they reach? Coefficients, and what the choice they make is worth.

Scores and truths (n,) are finite and higher = better. A number that is not defined is None: any coefficient of constant scores
or truths. Ties share: of checkpoints with equal scores every one is as likely to be taken, so that relative best, hit and
regret are expected values over orders of the tied (coefficients have their own definitions, none by position).
"""

from math import comb

import numpy as np
from scipy.stats import kendalltau, weightedtau

from workflow.lib.stats.correlation import correlate

Array = np.ndarray


def coefficients(score: Array, truth: Array) -> dict[str, float | None]:
    """Coefficients of scores with truths (n,), -1..1, all None where either is constant.

    pearson; spearman: ties take their mean rank; kendall_tau_b: corrected for ties; weighted_tau: SciPy's `weightedtau`, each
    pair with the weight 1/rank + 1/rank, the mean of ranks by score and ranks by truth, ties ranked by the other;
    weighted_tau_by_truth: likewise, with ranks by truth alone, ties by score.
    """
    score, truth = _checked(score, truth)
    row = correlate(score[None], truth).iloc[0]
    values = {
        "pearson": row["pearson"],
        "spearman": row["spearman"],
        "kendall_tau_b": kendalltau(score, truth).statistic,
        "weighted_tau": row["kendall_weighted"],
        "weighted_tau_by_truth": weightedtau(truth, score, rank=None).statistic,
    }
    return {name: None if row["constant"] else float(value) for name, value in values.items()}


def relative_best(score: Array, truth: Array, k: int) -> float | None:
    """Rel@k: the best truth among the k checkpoints of highest score, divided by the best of all; at most 1. None where the
    best of all is not above 0, as for such truths the ratio does not rank."""
    score, truth = _checked(score, truth)
    sure, tied, places = _top(score, k)
    rest = np.sort(truth[tied])[::-1]
    # The best of a drawn set is the i-th best of the tied with this probability: the others are drawn below it.
    chances = [comb(len(rest) - 1 - i, places - 1) / comb(len(rest), places) for i in range(len(rest))]
    best = np.dot(chances, np.maximum(rest, truth[sure].max(initial=-np.inf)))
    return float(best / truth.max()) if truth.max() > 0 else None


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
