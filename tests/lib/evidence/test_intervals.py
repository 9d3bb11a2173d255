"""Intervals that hold what they say: coverage of known truths."""

import numpy as np
import pytest

from workflow.lib.evidence.intervals import correlation_interval


@pytest.mark.parametrize("n, truth", [(4, 0.5), (6, 0.0), (12, 0.8)])
def test_correlations_are_covered(n: int, truth: float) -> None:
    rng = np.random.default_rng(0)
    x, noise = rng.standard_normal((2, 2000, n))
    y = truth * x + np.sqrt(1 - truth**2) * noise
    found = [correlation_interval(float(np.corrcoef(a, b)[0, 1]), n) for a, b in zip(x, y, strict=True)]
    covered = np.mean([low <= truth <= high for low, high in found])
    assert 0.93 <= covered <= 0.985


def test_few_pairs_have_no_interval() -> None:
    assert np.isnan(correlation_interval(0.9, 3)).all() and np.isfinite(correlation_interval(1.0, 4)).all()
