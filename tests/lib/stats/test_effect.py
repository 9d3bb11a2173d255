"""The best length against the last: p-values against closed forms."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

from tests.lib.stats.test_summary import results
from workflow.lib.stats.effect import dunnett, length_effect, write_length_effect


def test_dunnett_of_one_shorter_length_is_the_t_test():
    short, last = np.array([0.71, 0.74, 0.70]), np.array([0.69, 0.70, 0.72])
    p, note = dunnett({5: short, 300: last}, seed=1)
    assert note == ""
    assert p == pytest.approx(
        stats.ttest_ind(short, last, alternative="greater").pvalue, abs=3e-4
    )  # SciPy integrates at random points


def test_dunnett_of_three_shorter_lengths_equals_the_integral():
    random = np.random.default_rng(3)
    samples = {length: random.normal(0.7 + 0.01 * (length == 20), 0.01, 5) for length in (1, 5, 20, 300)}
    pooled = np.sqrt(np.mean([np.var(values, ddof=1) for values in samples.values()]))
    best = max(np.mean(samples[length]) for length in (1, 5, 20))
    t, df = (best - np.mean(samples[300])) / (pooled * np.sqrt(2 / 5)), 16

    def inside(z: float, s: float) -> float:
        weight = stats.norm.pdf(z) * stats.chi.pdf(s * np.sqrt(df), df) * np.sqrt(df)
        return weight * stats.norm.cdf(z + np.sqrt(2) * t * s) ** 3

    expected = 1 - integrate.dblquad(inside, 0.2, 2.2, -6, 6, epsabs=1e-7)[0]
    assert dunnett(samples, seed=1)[0] == pytest.approx(expected, abs=2e-4)
    assert dunnett(samples, seed=1) == dunnett(samples, seed=1)


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        ({300: [0.7, 0.8]}, "one length only"),
        ({5: [0.7], 300: [0.8]}, "one seed only"),
        ({5: [0.7, 0.7], 300: [0.8, 0.8]}, "no spread between seeds"),
    ],
)
def test_no_test_says_why(samples: dict[int, list[float]], reason: str):
    p, note = dunnett({length: np.array(values) for length, values in samples.items()}, seed=1)
    assert np.isnan(p) and note == reason


def test_row_names_best_last_and_random():
    dice = {("simple", 0): [0.40, 0.42], ("simple", 5): [0.8, 0.82], ("simple", 300): [0.7, 0.72]}
    row = length_effect(results(dice)).iloc[0]
    assert (row["best_epochs"], row["final_epochs"], row["epochs_saved"]) == (5, 300, 295)
    assert row["gain_over_final"] == pytest.approx(0.1) and row["gain_over_scratch"] == pytest.approx(0.4)
    assert row["scratch_dice"] == pytest.approx(0.41) and row["p_holm"] == row["p_dunnett"]


def test_scheme_that_holds_only_random_initialisation_has_no_row():
    dice = {("simple", 0): [0.4, 0.42], ("mine", 5): [0.8, 0.82], ("mine", 9): [0.7, 0.72]}
    table = length_effect(results(dice))
    assert table["scheme"].tolist() == ["mine"] and table["scratch_dice"].tolist() == pytest.approx([0.41])


def test_published_table(reference: Path, tmp_path: Path):
    write_length_effect(reference / "published/downstream_scores.csv", tmp_path / "effect.csv")
    table = pd.read_csv(tmp_path / "effect.csv")
    assert len(table) == 36 and table["note"].isna().all() and not table["p_dunnett"].isna().any()
    ordered = np.sort(table["p_dunnett"])  # Holm, by hand: step down, never falling
    holm = np.minimum(1, np.maximum.accumulate(ordered * np.arange(36, 0, -1)))
    np.testing.assert_allclose(np.sort(table["p_holm"]), holm)
    assert (table["p_holm"] < 0.05).sum() == 5
    row = table.query("dataset == 'ACDC' & model == 'Swin U-Net' & freeze & scheme == 'advanced'").iloc[0]
    assert row["best_epochs"] == 150 and row["gain_over_final"] == pytest.approx(0.0220, abs=5e-5)
