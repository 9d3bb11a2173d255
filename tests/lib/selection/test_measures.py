"""Measures of a ranking: closed forms, ties as expected values, and what is not defined."""

from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest

from workflow.lib.selection.measures import regret, top_hit

SCORE = np.array([3.0, 1.0, 2.0, 2.0, 2.0, 0.0])
TRUTH = np.array([0.5, 0.9, 0.8, 0.6, 0.7, 0.9])


def over_orders(measure: Callable[[np.ndarray], float]) -> float:
    """Mean of a measure of untied scores over all orders of the tied, by brute force."""
    values = []
    for order in permutations(range(3)):
        score = SCORE.copy()
        score[2:5] += 0.1 * np.array(order)
        values.append(measure(score))
    return float(np.mean(values))


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 6])
def test_ties_at_the_last_place_are_averaged(k: int) -> None:
    truth = np.where(np.arange(6) == 3, 1.0, TRUTH)
    assert top_hit(SCORE, truth, k) == pytest.approx(over_orders(lambda s: top_hit(s, truth, k)))


def test_closed_forms() -> None:
    assert top_hit(SCORE, TRUTH, 4) == 0 and top_hit(SCORE, TRUTH, 5) == 1  # either of the two best
    assert regret(SCORE, TRUTH) == pytest.approx(0.4)
    assert regret(np.zeros(6), TRUTH) == pytest.approx(0.9 - TRUTH.mean())


def test_what_is_not_defined_is_refused() -> None:
    for k in (0, 7):
        with pytest.raises(ValueError, match="of 6 checkpoints"):
            top_hit(SCORE, TRUTH, k)
    with pytest.raises(ValueError, match="not finite"):
        regret(np.full(6, np.nan), TRUTH)
    with pytest.raises(ValueError, match="shape"):
        regret(SCORE, TRUTH[1:])
