"""Moderated variances: the prior is found, equal groups are pooled, single values borrow."""

import numpy as np
import pytest

from workflow.lib.evidence.spread import moderated


def test_the_prior_that_made_the_variances_is_found() -> None:
    random, d0, s0, df = np.random.default_rng(0), 6, 0.02, 4
    truth = s0**2 * d0 / random.chisquare(d0, 5000)
    observed = truth * random.chisquare(df, 5000) / df
    found, freedom = moderated(observed, np.full(5000, df))
    assert freedom[0] == pytest.approx(d0 + df, rel=0.1)
    assert np.mean((found - truth) ** 2) < 0.7 * np.mean((observed - truth) ** 2)


def test_variances_no_more_unlike_than_by_chance_are_pooled() -> None:
    found, freedom = moderated(np.array([0.01, 0.02, 0.03]), np.array([2, 2, 4]))
    assert found == pytest.approx(3 * [(2 * 0.01 + 2 * 0.02 + 4 * 0.03) / 8]) and freedom.tolist() == [8, 8, 8]


def test_single_values_take_the_common_spread_and_without_any_there_is_none() -> None:
    found, freedom = moderated(np.array([1.0, 1e-4, np.nan]), np.array([4, 4, 0]))
    assert found[1] < found[2] < found[0] and 0 < freedom[2] < freedom[0] <= 8
    assert np.isnan(moderated(np.array([np.nan, 0.0]), np.array([0, 3]))[0]).all()
