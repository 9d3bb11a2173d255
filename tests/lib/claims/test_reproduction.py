"""Our run against the released one: known differences, the verdict's rule, and cells that can't be compared."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from workflow.lib.claims.reproduction import COLUMNS, interval, reproduction, verdict, write_reproduction
from workflow.lib.tables.headed import head_of, read_table
from workflow.lib.tables.read import read_downstream

NOISE = [-0.002, 0.001, 0.0, 0.002, -0.001]  # mean 0, variance 2.5e-6


def results(dice: dict[int, list[float]], *, pretrain_seed: int = 0, model: str = "basic U-Net") -> pd.DataFrame:
    """Tidy results: Dice per fine-tuning seed for each length."""
    rows = [{"epochs": length, "seed": s, "dice": d} for length, ds in dice.items() for s, d in enumerate(ds)]
    cell = {"dataset": "IDRiD", "model": model, "encoder": "unet", "freeze": False, "scheme": "simple"}
    return pd.DataFrame(rows).assign(**cell, pretrain_seed=pretrain_seed, accuracy=0.5)


def around(mean: float, *, scale: float = 1.0, n: int = 5) -> list[float]:
    return [mean + scale * noise for noise in NOISE[:n]]


def test_known_differences_and_their_verdicts() -> None:
    theirs = results({length: around(0.7) for length in (1, 5, 20, 50)})
    ours = results({1: around(0.701), 5: around(0.72), 20: around(0.68), 50: around(0.701, scale=20)})
    table = reproduction(ours, theirs).set_index("epochs")
    assert table["difference"].tolist() == pytest.approx([0.001, 0.02, -0.02, 0.001])
    assert table["within_margin"].tolist() == ["yes", "no", "no", "undecided"]
    assert table["our_dice"].tolist() == pytest.approx([0.701, 0.72, 0.68, 0.701])
    assert table["their_dice"].tolist() == pytest.approx([0.7] * 4) and (table["note"] == "").all()
    # Welch with equal spreads, by hand: s^2 = 2.5e-6, se = sqrt(2 s^2 / 5) = 0.001, 8 degrees of freedom
    assert table.loc[1, ["ci_low", "ci_high"]].tolist() == pytest.approx([0.001 - 0.002306, 0.001 + 0.002306], abs=1e-7)
    assert table.loc[1, ["tost_low", "tost_high"]].tolist() == pytest.approx([0.001 - 0.0018595, 0.0028595], abs=1e-7)


def test_interval_is_welch_for_unequal_spreads() -> None:
    ours, theirs = np.array([0.70, 0.74, 0.81]), np.array(around(0.7))
    parts = ours.var(ddof=1) / 3, theirs.var(ddof=1) / 5
    df = sum(parts) ** 2 / (parts[0] ** 2 / 2 + parts[1] ** 2 / 4)
    assert df < 2.1  # pooled, it would be 6
    half = stats.t.ppf(0.975, df) * np.sqrt(sum(parts))
    assert interval(ours, theirs, 0.95) == pytest.approx((0.05 - half, 0.05 + half))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (-0.004, 0.004, "yes"),
        (0.001, 0.004, "yes"),  # a difference for sure, and none that matters
        (-0.006, 0.004, "undecided"),
        (0.004, 0.006, "undecided"),
        (-0.1, 0.1, "undecided"),
        (0.006, 0.01, "no"),
        (-0.01, -0.006, "no"),
    ],
)
def test_verdict(low: float, high: float, expected: str) -> None:
    assert verdict(low, high) == expected


def test_false_yes_at_the_margin_is_five_percent() -> None:
    random, runs = np.random.default_rng(1), 600
    yes = 0
    for _ in range(runs):
        theirs, ours = random.normal(0.7, 0.002, 5), random.normal(0.705, 0.001, 5)
        yes += verdict(*interval(ours, theirs, 0.90)) == "yes"
    assert 0.02 < yes / runs < 0.08


def test_single_seed_borrows_the_other_side_s_spread() -> None:
    table = reproduction(results({5: [0.71]}), results({5: around(0.7)})).iloc[0]
    # se = s sqrt(1 + 1/5) = 0.0017321, 4 degrees of freedom: t = 2.77645
    assert table["ci_high"] - table["difference"] == pytest.approx(2.77645 * 0.00173205, rel=1e-5)
    assert table["note"] == "one seed in our run: the other's spread is used for both"
    table = reproduction(results({5: around(0.7)}), results({5: [0.71]})).iloc[0]
    assert table["note"] == "one seed in the released run: the other's spread is used for both"


@pytest.mark.parametrize(
    ("ours", "theirs", "note"),
    [
        ([0.71], [0.7], "no interval: one seed on each side"),
        ([0.71, 0.71], [0.7, 0.7, 0.7], "no interval: no spread between seeds"),
    ],
)
def test_without_spread_there_is_a_difference_and_a_note(ours: list[float], theirs: list[float], note: str) -> None:
    table = reproduction(results({5: ours}), results({5: theirs})).iloc[0]
    assert table["difference"] == pytest.approx(0.01) and table["note"] == note
    assert table[["ci_low", "ci_high", "tost_low", "tost_high", "within_margin"]].isna().all()


def test_cells_of_one_run_alone_are_listed() -> None:
    table = reproduction(results({5: around(0.7), 10: around(0.8)}), results({5: around(0.7), 300: around(0.9)}))
    assert table["epochs"].tolist() == [5, 10, 300]
    assert table["note"].tolist() == ["", "only in our run", "only in the released run"]
    assert table[["our_n", "their_n"]].to_numpy().tolist() == [[5, 5], [5, 0], [0, 5]]
    alone = table[table["epochs"] > 5]
    assert alone[["difference", "ci_low", "within_margin"]].isna().all(axis=None)
    assert alone["our_dice"].tolist()[0] == pytest.approx(0.8) and np.isnan(alone["our_dice"].tolist()[1])


def test_each_pretraining_run_of_ours_is_compared() -> None:
    ours = pd.concat([results({5: around(0.7)}, pretrain_seed=1), results({5: around(0.72)}, pretrain_seed=2)])
    table = reproduction(ours, results({5: around(0.7)}))
    assert table["our_pretrain_seed"].tolist() == [1, 2] and table["within_margin"].tolist() == ["yes", "no"]


def test_names_that_depend_on_the_rest_of_a_run_still_meet() -> None:
    ours = results({0: around(0.5), 5: around(0.7)}, model="basic U-Net (unet)")
    ours.loc[ours["epochs"] == 0, "scheme"] = "advanced"  # our first scheme stands for random weights
    table = reproduction(ours, results({0: around(0.5), 5: around(0.7)}))
    assert len(table) == 2 and (table["note"] == "").all() and set(table["model"]) == {"basic U-Net"}


def test_made_up_run_against_the_release(reference: Path, tmp_path: Path) -> None:
    released = reference / "published/downstream_scores.csv"
    raw = pd.read_csv(released)
    for column in ("dice index", "mean dice index"):
        raw[column] += np.where(raw["dataset"] == "ACDC", 0.02, 0.0)
    raw[raw["dataset"] != "IDRiD"].to_csv(tmp_path / "ours.csv", index=False)
    write_reproduction(tmp_path / "ours.csv", released, tmp_path / "table.csv")
    table = read_table(tmp_path / "table.csv")
    assert list(table.columns) == COLUMNS and len(table) == 342 and "TOST" in head_of(tmp_path / "table.csv")
    by = table.groupby("dataset")
    assert by["difference"].mean()[["ACDC", "COVID-QU"]].tolist() == pytest.approx([0.02, 0.0])
    assert (table.loc[table["dataset"] == "IDRiD", "note"] == "only in the released run").all()
    assert "no" not in set(table.loc[table["dataset"] == "COVID-QU", "within_margin"])
    assert "yes" not in set(table.loc[table["dataset"] == "ACDC", "within_margin"])
    their = read_downstream(released).groupby(["dataset", "model", "freeze", "scheme", "epochs"])["dice"].mean()
    np.testing.assert_allclose(table["their_dice"], their.sort_index())


def test_release_against_itself_shows_what_five_seeds_can_decide(reference: Path) -> None:
    released = read_downstream(reference / "published/downstream_scores.csv")
    table = reproduction(released, released)
    assert (table["difference"] == 0).all()
    assert table["within_margin"].value_counts().to_dict() == {"yes": 270, "undecided": 72}


def test_nothing_in_common() -> None:
    table = reproduction(results({5: [0.7]}), results({300: [0.7]}))
    assert table["note"].tolist() == ["only in our run", "only in the released run"]
