"""Spreads of many groups of a few values each, of which every one borrows strength from the others."""

import numpy as np
from scipy.special import digamma, polygamma


def moderated(variances: np.ndarray, df: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Variances (k,) of k groups, each drawn towards their common value, and their degrees of freedom (k,).

    Empirical Bayes as of Smyth (2004, doi 10.2202/1544-6115.1027): true variances are taken as s0^2 * d0 / chi2(d0), s0 and d0
    are fitted to mean and variance of log(variances), and the result is (d0 s0^2 + df v) / (d0 + df) with d0 + df degrees of
    freedom, at most the sum of all. variances: nan where df is 0, a group of a single value; nan for all where no group has a
    spread.
    """
    known = (df > 0) & np.isfinite(variances)
    if not known.any() or not (variances[known] > 0).any():
        return np.full(len(df), np.nan), np.zeros(len(df))
    v, d = variances[known], df[known]
    v = np.maximum(v, 1e-5 * np.median(v[v > 0]))  # a spread of 0 is an accident of few digits
    logs = np.log(v) - digamma(d / 2) + np.log(d / 2)
    excess = logs.var(ddof=1) - polygamma(1, d / 2).mean() if len(v) > 1 else 0.0
    if excess <= 0:  # no more unlike than chance makes them
        return np.full(len(df), np.sum(d * v) / d.sum()), np.full(len(df), float(d.sum()))
    half = _inverse_trigamma(excess)
    prior = np.exp(logs.mean() + digamma(half) - np.log(half))
    own = np.where(known, df, 0)
    found = (2 * half * prior + own * np.where(known, variances, 0)) / (2 * half + own)
    return found, np.minimum(2 * half + own, d.sum())


def _inverse_trigamma(x: float) -> float:
    """y > 0 with trigamma(y) = x, by Newton's method on 1 / trigamma, which converges from this start for all x."""
    y = 0.5 + 1 / x
    for _ in range(50):
        value = polygamma(1, y)
        y += value * (1 - value / x) / polygamma(2, y)
    return float(y)
