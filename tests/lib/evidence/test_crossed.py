"""Intervals over crossed factors cover what they say."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest

from workflow.lib.evidence.crossed import crossed_mean

FACTORS = ["run", "seed", "draw"]


@pytest.mark.parametrize(
    ("levels", "spreads"),
    [
        ((3, 2, 3), (1, 1, 1)),
        ((4, 3, 1), (1, 0.3, 0)),
        ((3, 3, 3), (0.2, 0.2, 1)),
        ((5, 2, 1), (2, 0, 0)),
        ((3, 2, 3), (0, 0, 0)),
    ],
)
def test_coverage(levels: tuple[int, ...], spreads: tuple[float, ...]) -> None:
    rng = np.random.default_rng(1)
    cells = pd.DataFrame(list(itertools.product(*map(range, levels))), columns=FACTORS)
    covered = []
    for _ in range(400):
        noise = rng.normal(0, 0.5, len(cells))
        for factor, count, spread in zip(FACTORS, levels, spreads, strict=True):
            noise += rng.normal(0, spread, count)[cells[factor]]
        found = crossed_mean(cells.assign(value=noise), FACTORS)
        covered.append(found.low <= 0 <= found.high)
    assert np.mean(covered) >= 0.925  # 95 % but for 2.5 standard errors of 400 simulations


def test_single_levels_have_no_interval() -> None:
    found = crossed_mean(pd.DataFrame({"run": [1], "seed": [1], "draw": [0], "value": [2.0]}), FACTORS)
    assert found.mean == 2 and math.isnan(found.low) and math.isnan(found.df)
