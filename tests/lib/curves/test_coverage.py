"""Intervals and tests at the study's own sizes: do they cover, and how often do they see what is not there?

Simulated: 36 cells of 9 lengths and 5 seeds, normal noise, and 6 pretraining runs. The seeds' spread is equal at all
lengths, made up (as unequal as released), or the released one taken as true, which overstates how unequal it is (each
is an estimate from 5 seeds). Each band is narrow enough for the method that the study must not use to fall out of it.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

from workflow.lib.curves.effect import against_last, holm, honest_interval, leave_one_seed_out
from workflow.lib.curves.noise import lengths_against_seeds
from workflow.lib.curves.summary import summarise, with_interval
from workflow.lib.evidence.intervals import half_width, t_interval
from workflow.lib.evidence.spread import moderated
from workflow.lib.tables.read import CURVE, read_downstream

CELLS, LENGTHS, SEEDS = 36, 9, 5
EPOCHS = [1, 5, 20, 50, 100, 150, 200, 250, 300]


@pytest.fixture(params=["equal", "made up", "released"])
def spread(request: pytest.FixtureRequest) -> tuple[str, np.ndarray]:
    """Name and SD of Dice between seeds, (cells, lengths)."""
    random = np.random.default_rng(1)
    size = random.uniform(0.001, 0.006, (CELLS, 1))
    if request.param == "equal":
        return request.param, size.repeat(LENGTHS, 1)
    if request.param == "made up":
        return request.param, size * np.exp(random.normal(0, 0.54, (CELLS, LENGTHS)))
    folder: Path = request.getfixturevalue("reference")
    table = summarise(read_downstream(folder / "published/downstream_scores.csv"))
    return request.param, table[table["epochs"] > 0].pivot(index=CURVE, columns="epochs", values="dice_sd").to_numpy()


def draw(random: np.random.Generator, studies: int, spread: np.ndarray, mean: np.ndarray | float = 0.0) -> np.ndarray:
    """Dice (studies, cells, seeds, lengths) around `mean` (cells, lengths)."""
    noise = random.normal(size=(studies, CELLS, SEEDS, LENGTHS))
    return np.broadcast_to(mean, spread.shape)[:, None] + noise * spread[:, None]


def covered(low: np.ndarray, high: np.ndarray, truth: np.ndarray | float) -> float:
    return float(np.mean((low <= truth) & (truth <= high)))


def bootstrap(values: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """95 % percentile bootstrap of the mean over the last axis: what the study must not use."""
    drawn = values[..., random.integers(0, SEEDS, (300, SEEDS))].mean(axis=-1)
    low, high = np.quantile(drawn, [0.025, 0.975], axis=-1)
    return low, high


def test_intervals_for_all_starts_at_once(spread: tuple[str, np.ndarray]) -> None:
    """Of a target's 12 cells. Measured: moderated 94 to 95 %; pooled over lengths 95 (equal), 47 (made up), 50 (released)."""
    name, sd = spread
    dice = draw(np.random.default_rng(7), 50, sd).reshape(50, 3, 12, SEEDS, LENGTHS)
    variance, means = dice.var(axis=3, ddof=1), dice.mean(axis=3)
    starts = 12 * LENGTHS
    tail, df = 0.025 / starts, np.full(starts, SEEDS - 1)
    pooled = half_width(LENGTHS * (SEEDS - 1), np.sqrt(variance.mean(axis=-1, keepdims=True)), SEEDS, tail)
    drawn = [moderated(v.ravel(), df) for v in variance.reshape(-1, starts)]
    moderate = np.array([half_width(freedom, np.sqrt(v), SEEDS, tail) for v, freedom in drawn]).reshape(means.shape)
    inside = {"pooled": np.abs(means) <= pooled, "moderated": np.abs(means) <= moderate}
    share = {method: found.all(axis=(2, 3)).mean() for method, found in inside.items()}
    assert share["moderated"] > 0.9
    assert share["pooled"] > 0.9 if name == "equal" else share["pooled"] < 0.7


def test_interval_of_mean_dice(spread: tuple[str, np.ndarray]) -> None:
    """Measured: 95 % (equal), 94 % (released; single checkpoints 50 to 100 %). Bootstrap over 5 seeds: 83 %."""
    name, sd = spread
    random = np.random.default_rng(2)
    dice = draw(random, 40, sd, 0.5)
    index = pd.MultiIndex.from_product([range(40), range(CELLS), range(SEEDS), EPOCHS])
    table = pd.DataFrame({"dice": dice.ravel()}, index=index.set_names(["dataset", "model", "seed", "epochs"]))
    labels = {"encoder": "e", "freeze": False, "scheme": "s", "pretrain_seed": 0, "accuracy": 0.5}
    table = with_interval(summarise(table.reset_index().assign(**labels)))
    level = covered(table["dice_ci_low"].to_numpy(), table["dice_ci_high"].to_numpy(), 0.5)
    band = (0.94, 0.96) if name == "equal" else (0.925, 0.96)
    assert band[0] < level < band[1]
    assert covered(*bootstrap(dice.swapaxes(2, 3), random), 0.5) < 0.86


@pytest.mark.parametrize("shape", ["all alike", "one good", "a peak", "rising"])
def test_interval_of_the_honest_gain(spread: tuple[str, np.ndarray], shape: str) -> None:
    """Measured: 97 % (all alike), 93 to 95 % (one good, a peak), 99 % (rising: the last length is mostly chosen).

    Bootstrap of the left-out differences: 55 to 75 %; with the spread pooled over all lengths 86 to 90 % where one
    length is just better than the others.
    """
    _, sd = spread
    random = np.random.default_rng(3)
    unit, at = np.sqrt((sd**2).mean(axis=1, keepdims=True)), np.arange(LENGTHS)
    mean = unit * {"all alike": 0 * at, "one good": at == 4, "a peak": -0.7 * abs(at - 4), "rising": 0.5 * at}[shape]
    dice = draw(random, 400, sd, mean)
    difference, chosen = leave_one_seed_out(dice)
    of_chosen = mean[np.arange(CELLS)[:, None], chosen] - mean[:, -1:]
    truth = of_chosen.mean(axis=(0, 2))  # what choosing on the other seeds gains on average
    gain, half = honest_interval(dice)
    assert 0.925 < covered(gain - half, gain + half, truth) < (1 if shape == "rising" else 0.98)
    each = np.mean(abs(gain - truth) <= half, axis=0)
    assert each.min() > 0.87  # of 36 cells, each from 400 studies
    assert abs(np.mean((gain - truth) / unit[:, 0])) < 0.02  # no bias
    assert covered(*bootstrap(difference[:100], random), truth) < 0.8
    if shape == "one good":
        pooled = np.sqrt(dice.var(axis=2, ddof=1).mean(axis=-1) * 2 / SEEDS)
        assert np.mean(abs(gain - truth) <= stats.t.ppf(0.975, LENGTHS * (SEEDS - 1)) * pooled) < 0.9


def any_by_holm(p: np.ndarray) -> float:
    """Share of studies (studies, cells) in which any cell is significant after Holm: the smallest p decides."""
    smallest = p.min(axis=1) * CELLS
    assert holm(pd.Series(p[0])).min() == pytest.approx(min(1, smallest[0]))
    return float(np.mean(smallest < 0.05))


def dunnett_p(t: np.ndarray) -> np.ndarray:
    """p of Dunnett's one-sided test for the largest of 8 t values, 5 seeds each: its integral, interpolated."""
    df = LENGTHS * (SEEDS - 1)

    def inside(z: np.ndarray, s: np.ndarray, at: float) -> np.ndarray:
        density = stats.norm.pdf(z) * stats.chi.pdf(s * np.sqrt(df), df) * np.sqrt(df)
        return density * stats.norm.cdf(z + np.sqrt(2) * at * s) ** (LENGTHS - 1)

    z, s = np.linspace(-7, 7, 141), np.linspace(0.3, 2.2, 120)
    grid = np.linspace(-6, 12, 181)
    values = [integrate.simpson(integrate.simpson(inside(z, s[:, None], at), z), s) for at in grid]
    return np.clip(1 - np.interp(t, grid, values), 0, 1)


@pytest.mark.slow
def test_dunnett_with_holm_without_any_effect(spread: tuple[str, np.ndarray]) -> None:
    """Measured chance of any significant cell of 36: 5 % (equal), 32 % (released); `p_unequal`: 3 to 4 %.

    Dunnett's test is the one declared; with unequal spreads it misses its level, which the table's head says.
    """
    name, sd = spread
    studies = 1000
    dice = draw(np.random.default_rng(4), studies, sd)
    mean, variance = dice.mean(axis=2), dice.var(axis=2, ddof=1)
    gain = mean[..., :-1] - mean[..., -1:]
    p = dunnett_p(gain.max(axis=-1) / np.sqrt(variance.mean(axis=-1) * 2 / SEEDS))
    error = (variance[..., :-1] + variance[..., -1:]) / SEEDS
    df = error**2 * (SEEDS - 1) / ((variance[..., :-1] ** 2 + variance[..., -1:] ** 2) / SEEDS**2)
    unequal = np.minimum(1, stats.t.sf(gain / np.sqrt(error), df).min(axis=-1) * (LENGTHS - 1))
    for cell in range(0, CELLS, 9):  # the same numbers as the project's function
        test = against_last(dict(zip(EPOCHS, dice[0, cell].T, strict=True)), seed=1)
        assert test.p_dunnett == pytest.approx(p[0, cell], abs=5e-4)
        assert test.p_unequal == pytest.approx(unequal[0, cell])
    any_dunnett, any_unequal = any_by_holm(p), any_by_holm(unequal)
    each = np.mean(p < 0.05)
    if name == "equal":
        assert 0.04 < each < 0.06 and 0.03 < any_dunnett < 0.075
        assert np.mean(p.min(axis=1) < 0.05) > 0.8  # without Holm
    else:
        assert 0.055 < each < 0.1 and 0.15 < any_dunnett < 0.4  # printed as it is
    assert 0.01 < any_unequal < 0.065


@pytest.mark.slow
def test_f_test_of_the_lengths_without_any_effect(spread: tuple[str, np.ndarray]) -> None:
    """Measured (each; any of 36): 4 %; 8 % (released), 3 %; 1 % (equal). The usual F: 9 %; 38 % (released). Welch: 8 %;
    22 % (released), 15 % (equal)."""
    name, sd = spread
    dice = draw(np.random.default_rng(5), 120, sd)
    p = np.array([[lengths_against_seeds(list(cell.T))["p_value"] for cell in study] for study in dice])
    usual = stats.f_oneway(*np.moveaxis(dice, -1, 0), axis=2).pvalue
    assert 0.02 < np.mean(p < 0.05) < 0.055 and any_by_holm(p) < 0.13
    if name != "equal":
        assert np.mean(usual < 0.05) > 0.07 and any_by_holm(usual) > 0.2


def test_reliability_is_the_share_of_variance_that_is_not_noise(spread: tuple[str, np.ndarray]) -> None:
    _, sd = spread
    random = np.random.default_rng(6)
    unit = np.sqrt((sd**2).mean(axis=1, keepdims=True))
    mean = unit * np.linspace(-1, 1, LENGTHS)
    dice = draw(random, 60, sd, mean)
    found = np.mean([[lengths_against_seeds(list(cell.T))["reliability"] for cell in study] for study in dice])
    true = mean[0].var(ddof=1) / (mean[0].var(ddof=1) + unit[0, 0] ** 2 / SEEDS)
    assert found == pytest.approx(true, abs=0.05)


@pytest.mark.parametrize(("alike", "band"), [(0.0, (0.94, 0.96)), (0.5, (0.87, 0.90)), (1.0, (0.73, 0.78))])
def test_interval_over_six_runs(alike: float, band: tuple[float, float]) -> None:
    """Two schemes of an encoder with correlation `alike`: 95 % needs six independent runs; 89 % at 0.5, 75 % at 1."""
    random = np.random.default_rng(7)
    encoder, run = random.normal(size=(6000, 3, 1)), random.normal(size=(6000, 3, 2))
    runs = (np.sqrt(alike) * encoder + np.sqrt(1 - alike) * run).reshape(-1, 6)
    limits = np.array([t_interval(row) for row in runs])
    assert band[0] < covered(limits[:, 0], limits[:, 1], 0.0) < band[1]
