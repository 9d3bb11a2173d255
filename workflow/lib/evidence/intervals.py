"""Student's t and Fisher's z: every interval and p-value of the results that rests on them."""

from typing import Any

import numpy as np
from scipy.special import ndtri, stdtr, stdtrit


def half_width(df: Any, spread: Any, n: Any = 1, tail: float = 0.025) -> Any:
    """Half the width of the t interval of a mean of n values: the quantile (upper `tail`, `df` degrees of freedom) times
    spread / sqrt(n). spread: the SD of the values, or with n = 1 the standard error. Numbers, arrays or series."""
    return stdtrit(df, 1 - tail) * spread / np.sqrt(n)


def t_interval(values: np.ndarray) -> tuple[float, float]:
    """95 % t interval of the mean of k values; (nan, nan) for k < 2."""
    if len(values) < 2:
        return float("nan"), float("nan")
    half = half_width(len(values) - 1, np.std(values, ddof=1), len(values))
    return float(np.mean(values) - half), float(np.mean(values) + half)


def correlation_interval(r: float, n: int) -> tuple[float, float]:
    """95 % interval of a Pearson correlation over n independent pairs, by Fisher's z; (nan, nan) for n < 4."""
    if n < 4:
        return float("nan"), float("nan")
    z, half = np.arctanh(np.clip(r, -1 + 1e-12, 1 - 1e-12)), ndtri(0.975) / np.sqrt(n - 3)
    return float(np.tanh(z - half)), float(np.tanh(z + half))


def two_sided(difference: float, error: float, df: float) -> float:
    """p of the two-sided t test that a difference with this standard error is 0."""
    return float(2 * stdtr(df, -abs(difference) / error))
