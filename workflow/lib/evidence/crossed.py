"""Means over several crossed sources of chance: pretraining runs, fine-tuning seeds, draws of patients."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from workflow.lib.evidence.intervals import half_width


class CrossedMean(NamedTuple):
    """A mean with its 95 % interval (nan without a factor of two levels or more) and degrees of freedom."""

    mean: float
    low: float
    high: float
    df: float


def crossed_mean(values: pd.DataFrame, factors: Sequence[str], column: str = "value") -> CrossedMean:
    """The mean of a column over all combinations of the levels of `factors`, as if each factor's levels were drawn by chance.

    The variances of the means of every factor's levels are added up; degrees of freedom by Satterthwaite. What belongs to
    single combinations is counted once for each factor, so that the interval is rather too wide than too narrow. Factors of one
    level add nothing: the interval then speaks of this level alone.
    """
    mean, variances, weights = float(values[column].mean()), [], 0.0
    for factor in factors:
        means = values.groupby(factor)[column].mean()
        if len(means) > 1:
            variance = float(means.var(ddof=1)) / len(means)
            variances.append(variance)
            weights += variance**2 / (len(means) - 1)
    if not variances:
        return CrossedMean(mean, math.nan, math.nan, math.nan)
    df = sum(variances) ** 2 / weights if weights else math.inf
    half = float(half_width(df, math.sqrt(sum(variances)))) if weights else 0.0
    return CrossedMean(mean, mean - half, mean + half, df)
