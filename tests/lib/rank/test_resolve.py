"""Comparisons over patients: closed forms, and that the promised confidence holds for values of shared probes."""

import numpy as np
import pytest
from scipy import stats

from workflow.lib.rank.resolve import compare, groups_needed, stretch
from workflow.lib.score.probe import probe, probe_by_group


def test_intervals_are_paired_and_joint() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(3, 9)) + rng.normal(scale=10, size=9)
    found = compare(values, 2)
    t = stats.ttest_rel(values[0], values[2])
    interval = t.confidence_interval(1 - 0.05 / 2)  # two differences
    assert found.gain[0] - found.gain_half[0] == pytest.approx(interval.low)
    assert found.gain[0] + found.gain_half[0] == pytest.approx(interval.high)
    wider = compare(values, 2, folds=5)
    assert wider.gain_half == pytest.approx(1.5 * found.gain_half)
    assert stretch(2) == pytest.approx(3**0.5)


def test_best_is_in_the_undecided_set_as_often_as_promised() -> None:
    rng = np.random.default_rng(1)
    truth = np.array([0.0, 0.0, -0.1, -0.3])
    missed = sum(not compare(truth[:, None] + rng.normal(size=(4, 15)), 0).undecided[0] for _ in range(2000))
    assert missed / 2000 < 0.05


def test_a_resolvable_difference_is_found_in_four_of_five_cases() -> None:
    rng, found, said = np.random.default_rng(3), 0, []
    for _ in range(500):
        noise = rng.normal(size=(2, 15))
        said.append(compare(noise + [[3.0], [0.0]], 1).resolvable)
    for _ in range(2000):
        values = rng.normal(size=(2, 15)) + [[np.mean(said)], [0.0]]
        found += not compare(values, 1).undecided[1]
    assert found / 2000 == pytest.approx(0.8, abs=0.05)


def test_groups_needed_grows_with_the_square() -> None:
    assert groups_needed(0.1, 0.2, 10) == 40
    assert groups_needed(0.0, 0.2, 10) is None and groups_needed(0.1, float("nan"), 10) is None


def test_probe_by_group_is_the_probe_of_all_levels() -> None:
    rng = np.random.default_rng(2)
    labels, groups = rng.integers(0, 2, 120), np.repeat([f"p{i}" for i in range(12)], 10)
    levels = [rng.normal(size=(120, 3)) + labels[:, None] * shift for shift in (0.5, 1.0)]
    found = probe_by_group(levels, labels, groups, seed=0)
    assert list(found) == sorted(set(groups))
    assert np.mean(list(found.values())) == pytest.approx(probe(np.hstack(levels), labels, groups, seed=0))
    worse = probe_by_group(levels[:1], labels, groups, seed=0)
    assert np.mean(list(found.values())) > np.mean(list(worse.values()))
