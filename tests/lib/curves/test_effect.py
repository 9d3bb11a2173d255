"""The best length against the last: p-values against closed forms, left-out gains against plain loops."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, optimize, stats

from tests.lib.curves.test_summary import results
from tests.lib.tables.synthetic_run import write_run
from workflow.lib.curves.effect import (
    COLUMNS,
    against_last,
    dunnett_tests,
    holm,
    honest_gains,
    leave_one_seed_out,
    length_effect,
    write_length_effect,
)
from workflow.lib.tables.headed import read_table
from workflow.lib.tables.read import read_downstream


def of_length(dice: dict[int, list[float]]) -> pd.DataFrame:
    """Tidy results of one curve from Dice per length."""
    return results({("simple", length): values for length, values in dice.items()})


def test_one_shorter_length_is_the_t_test() -> None:
    short, last = np.array([0.71, 0.74, 0.70]), np.array([0.69, 0.70, 0.72])
    test = against_last({5: short, 300: last}, seed=1)
    p = stats.ttest_ind(short, last, alternative="greater").pvalue
    assert test.note == "" and test.p_dunnett == pytest.approx(p, abs=3e-4)  # SciPy integrates at random points
    welch = stats.ttest_ind(short, last, alternative="greater", equal_var=False).pvalue
    assert test.p_unequal == pytest.approx(welch) and welch != pytest.approx(p, rel=1e-3)
    limit = stats.ttest_ind(short, last, alternative="less").confidence_interval(0.95).high
    assert test.gain_upper == pytest.approx(limit, rel=0.01)


def test_three_shorter_lengths_equal_the_integral() -> None:
    random = np.random.default_rng(3)
    samples = {length: random.normal(0.7 + 0.01 * (length == 20), 0.01, 5) for length in (1, 5, 20, 300)}
    pooled = np.sqrt(np.mean([np.var(values, ddof=1) for values in samples.values()]))
    gain = max(np.mean(samples[length]) for length in (1, 5, 20)) - np.mean(samples[300])
    scale, df = pooled * np.sqrt(2 / 5), 16
    z, s = np.linspace(-6, 6, 601)[:, None], np.linspace(0.2, 2.2, 401)
    weight = stats.norm.pdf(z) * stats.chi.pdf(s * np.sqrt(df), df) * np.sqrt(df)

    def above(t: float) -> float:
        inside = weight * stats.norm.cdf(z + np.sqrt(2) * t * s) ** 3
        return 1 - integrate.trapezoid(integrate.trapezoid(inside, s), z[:, 0])

    test = against_last(samples, seed=1)
    assert test.p_dunnett == pytest.approx(above(gain / scale), abs=2e-4)
    critical = optimize.brentq(lambda t: above(t) - 0.05, 1, 4, xtol=1e-3)
    assert test.gain_upper == pytest.approx(gain + critical * scale, abs=0.02 * scale)
    assert test == against_last(samples, seed=1)


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        ({300: [0.7, 0.8]}, "one length only"),
        ({5: [0.7], 300: [0.8]}, "one seed only"),
        ({5: [0.7, 0.7], 300: [0.8, 0.8]}, "no spread between seeds"),
    ],
)
def test_no_test_says_why(samples: dict[int, list[float]], reason: str) -> None:
    test = against_last({length: np.array(values) for length, values in samples.items()}, seed=1)
    assert np.isnan([test.p_dunnett, test.p_unequal, test.gain_upper]).all() and test.note == reason


def test_last_length_with_one_seed_has_no_test_for_unequal_spreads() -> None:
    test = against_last({5: np.array([0.70, 0.71, 0.72]), 300: np.array([0.6])}, seed=1)
    assert test.p_dunnett < 0.05 and np.isnan(test.p_unequal)


def test_holm_by_hand_leaves_missing_ones_missing() -> None:
    assert holm(pd.Series([0.02, np.nan, 0.01, 0.04])).tolist() == pytest.approx(
        [0.04, np.nan, 0.03, 0.04], nan_ok=True
    )
    assert holm(pd.Series([np.nan])).isna().all()


def test_left_out_seed_never_helps_to_choose() -> None:
    dice = np.array([[0.90, 0.70, 0.80], [0.70, 0.72, 0.71], [0.60, 0.72, 0.71]])  # seeds x lengths
    # means of the others: seed 0: .65, .72, .71 -> 1; seed 1: .75, .71, .755 -> 2; seed 2: .80, .71, .755 -> 0
    difference, chosen = leave_one_seed_out(dice)
    assert chosen.tolist() == [1, 2, 0]
    assert difference == pytest.approx([0.70 - 0.80, 0.0, 0.60 - 0.71])


def test_ties_go_to_the_shortest_and_seeds_without_the_length_have_no_difference() -> None:
    dice = np.array([[0.5, 0.5, 0.4], [0.5, 0.5, 0.4], [np.nan, 0.5, 0.4]])
    difference, chosen = leave_one_seed_out(dice)
    assert chosen.tolist() == [0, 0, 0]
    assert difference == pytest.approx([0.1, 0.1, np.nan], nan_ok=True)


def test_ties_are_seen_through_rounding_errors() -> None:
    dice = np.array([[0.5, 0.5, 0.4], [0.1, 0.7, 0.4], [0.7, 0.1, 0.4]])  # sums 1.2999999999999998 and 1.3
    assert leave_one_seed_out(dice)[1][0] == 0


@pytest.mark.parametrize("seed_of_noise", range(6))
def test_honest_gain_equals_a_plain_loop_and_its_interval_the_wider_t_test(seed_of_noise: int) -> None:
    random = np.random.default_rng(seed_of_noise)
    dice = {length: list(random.normal(0.7 + 0.05 * (length == 20), 0.01, 5)) for length in (1, 5, 20, 300)}
    row = honest_gains(of_length(dice)).iloc[0]
    expected = []
    for seed in range(5):
        others = {length: np.mean(values[:seed] + values[seed + 1 :]) for length, values in dice.items()}
        expected.append(dice[max(others, key=lambda length: others[length])][seed] - dice[300][seed])
    assert row["honest_gain"] == pytest.approx(np.mean(expected))
    assert row["honest_epochs"] == "20" and row["honest_seeds"] == 5 and row["note"] == ""
    welch = stats.ttest_ind(dice[20], dice[300], equal_var=False).confidence_interval(0.95)
    paired = stats.ttest_rel(dice[20], dice[300]).confidence_interval(0.95)
    limits = max(welch, paired, key=lambda interval: interval.high)
    assert (row["honest_ci_low"], row["honest_ci_high"]) == pytest.approx((limits.low, limits.high))


def test_interval_averages_the_variance_of_the_lengths_chosen() -> None:
    dice = {5: [0.70, 0.72, 0.73, 0.71], 20: [0.75, 0.71, 0.70, 0.705], 300: [0.60, 0.62, 0.61, 0.64]}
    row = honest_gains(of_length(dice)).iloc[0]
    assert row["honest_epochs"] == "5 20"  # without seed 0, 5 is best; without the others, 20
    v = (np.var(dice[5], ddof=1) + 3 * np.var(dice[20], ddof=1)) / 4
    w = np.var(dice[300], ddof=1)
    df = (v + w) ** 2 / (v**2 / 3 + w**2 / 3)
    half = stats.t.ppf(0.975, df) * np.sqrt((v + w) / 4)
    gains = [0.70 - 0.60, 0.71 - 0.62, 0.70 - 0.61, 0.705 - 0.64]
    assert half > stats.t.ppf(0.975, 3) * np.std(gains, ddof=1) / 2
    assert row["honest_ci_high"] - row["honest_gain"] == pytest.approx(half)


def test_last_length_always_chosen_is_marked_and_has_a_width() -> None:
    row = honest_gains(of_length({5: [0.5, 0.51, 0.52], 300: [0.7, 0.72, 0.71]})).iloc[0]
    assert row["honest_gain"] == 0 and row["honest_ci_low"] < 0 < row["honest_ci_high"]
    assert "last length chosen on every seed" in row["note"]


@pytest.mark.parametrize(
    ("dice", "reason"),
    [
        ({300: [0.7, 0.8]}, "one length only"),
        ({5: [0.7], 300: [0.8]}, "one seed only"),
        ({5: [0.8, np.nan], 300: [np.nan, 0.7]}, "no seed has both its chosen and the last length"),
    ],
)
def test_no_honest_gain_says_why(dice: dict[int, list[float]], reason: str) -> None:
    row = honest_gains(of_length(dice).dropna()).iloc[0]
    assert row["note"] == reason and np.isnan(row["honest_gain"]) and np.isnan(row["honest_ci_low"])


def test_no_spread_gives_a_gain_without_interval() -> None:
    row = honest_gains(of_length({5: [0.8, 0.8], 300: [0.7, 0.7]})).iloc[0]
    assert row["honest_gain"] == pytest.approx(0.1) and np.isnan(row["honest_ci_low"])
    assert row["note"] == "no honest interval: no spread between seeds"


@pytest.mark.slow
def test_row_names_best_last_and_random() -> None:
    dice = {("simple", 0): [0.40, 0.42], ("simple", 5): [0.8, 0.82], ("simple", 300): [0.7, 0.72]}
    row = length_effect(results(dice)).iloc[0]
    assert (row["best_epochs"], row["final_epochs"], row["epochs_saved"]) == (5, 300, 295)
    assert row["gain_over_final"] == pytest.approx(0.1) and row["gain_over_scratch"] == pytest.approx(0.4)
    assert row["scratch_dice"] == pytest.approx(0.41) and row["p_holm"] == row["p_dunnett"]
    assert row["honest_gain"] == pytest.approx(0.1) and row["note"] == ""


def test_scheme_that_holds_only_random_initialisation_has_no_row() -> None:
    dice = {("simple", 0): [0.4, 0.42], ("mine", 5): [0.8, 0.82], ("mine", 9): [0.7, 0.72]}
    table = length_effect(results(dice))
    assert table["scheme"].tolist() == ["mine"] and table["scratch_dice"].tolist() == pytest.approx([0.41])


def test_only_random_initialisation_gives_an_empty_table() -> None:
    table = length_effect(results({("simple", 0): [0.4, 0.42]}))
    assert list(table.columns) == COLUMNS and table.empty


@pytest.mark.parametrize(("seeds", "note"), [(1, "one seed only"), (2, "")])
def test_own_run_of_two_pretraining_seeds(tmp_path: Path, seeds: int, note: str) -> None:
    downstream, _ = write_run(tmp_path, pretrain_seeds=2, seeds=seeds, targets=("ACDC",))
    write_length_effect(downstream, tmp_path / "effect.csv")
    table = read_table(tmp_path / "effect.csv").fillna({"note": ""})
    assert len(table) == 2 * 2 * 2 and set(table["pretrain_seed"]) == {
        0,
        1,
    }  # encoders x fine-tuning modes x pretraining seeds
    assert table["honest_gain"].isna().all() == bool(note)
    assert set(table["note"]) == {note} if note else not table["p_dunnett"].isna().any()


@pytest.mark.slow
def test_published_table(published_tables: dict[str, Path]) -> None:
    table = read_table(published_tables["length_effect"])
    assert list(table.columns) == COLUMNS and len(table) == 36
    assert not table.drop(columns="note").isna().any().any()
    ordered = np.sort(table["p_dunnett"])  # Holm, by hand: step down, never falling
    expected = np.minimum(1, np.maximum.accumulate(ordered * np.arange(36, 0, -1)))
    np.testing.assert_allclose(np.sort(table["p_holm"]), expected)
    assert (table["p_holm"] < 0.05).sum() == 5 and (table["p_unequal_holm"] < 0.05).sum() == 4
    assert (table["gain_over_final"] > 0).sum() == 26 and (table["gain_upper"] < 0.005).sum() == 13
    assert (table["honest_gain"] == 0).sum() == table["note"].fillna("").str.contains("on every seed").sum() == 8
    assert table["honest_gain"].mean() == pytest.approx(0.003488, abs=1e-6)
    assert (table["honest_ci_low"] < table["honest_ci_high"]).all() and (table["honest_ci_low"] > 0).sum() == 7
    row = table.query("dataset == 'ACDC' & model == 'Swin U-Net' & freeze & scheme == 'advanced'").iloc[0]
    assert row["best_epochs"] == 150 and row["gain_over_final"] == pytest.approx(0.0220, abs=5e-5)


def test_published_honest_gains_equal_a_plain_loop(reference: Path) -> None:
    tidy = read_downstream(reference / "published/downstream_scores.csv")
    tidy = tidy[(tidy["epochs"] > 0) & (tidy["dataset"] == "IDRiD")]  # the data set with missing cells
    for _, row in honest_gains(tidy).iterrows():
        cell = tidy
        for key in ("model", "freeze", "scheme"):
            cell = cell[cell[key] == row[key]]
        gains = []
        for seed in cell["seed"].unique():
            here = cell[cell["seed"] == seed].set_index("epochs")["dice"]
            best = cell[cell["seed"] != seed].groupby("epochs")["dice"].mean().idxmax()
            if best in here and 300 in here:
                gains.append(here[best] - here[300])
        assert row["honest_gain"] == pytest.approx(np.mean(gains), abs=1e-12) and row["honest_seeds"] == len(gains)


def test_tests_have_one_row_per_curve_with_trained_lengths() -> None:
    dice = {("simple", 0): [0.4, 0.42], ("mine", 5): [0.8, 0.82], ("mine", 9): [0.7, 0.72]}
    table = dunnett_tests(results(dice))
    assert table["scheme"].tolist() == ["mine"] and table["p_holm"].tolist() == table["p_dunnett"].tolist()
