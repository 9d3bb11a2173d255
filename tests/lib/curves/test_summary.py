"""Means, pooled spread and intervals against plain loops."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tests.lib.tables.synthetic_run import write_run
from workflow.lib.curves.summary import (
    COLUMNS,
    downstream_table,
    share_scratch,
    summarise,
    with_interval,
    write_downstream,
)
from workflow.lib.tables.headed import head_of, read_table
from workflow.lib.tables.read import read_downstream

KEYS = {"dataset": "t", "model": "m", "encoder": "e", "freeze": False, "accuracy": 0.5}


def results(dice: dict[tuple[str, int], list[float]]) -> pd.DataFrame:
    """Tidy results from Dice per (scheme, epochs)."""
    rows = [
        KEYS | {"scheme": scheme, "pretrain_seed": 0, "epochs": epochs, "seed": seed, "dice": value}
        for (scheme, epochs), values in dice.items()
        for seed, value in enumerate(values)
    ]
    return pd.DataFrame(rows)


def test_interval_uses_the_spread_pooled_over_the_lengths_above_0() -> None:
    table = results({("simple", 0): [0.1, 0.9], ("simple", 1): [0.5, 0.7], ("simple", 2): [0.6, 0.6, 0.9]})
    row = with_interval(summarise(table)).set_index("epochs").loc[2]
    pooled = math.sqrt((0.02 + 0.06) / 3)  # sums of squares 0.02 (1 df) and 0.06 (2 df)
    half = stats.t.ppf(0.975, 3) * pooled / math.sqrt(3)
    assert row["dice_mean"] == pytest.approx(0.7) and row["dice_sd"] == pytest.approx(math.sqrt(0.03))
    assert row["dice_ci_low"] == pytest.approx(0.7 - half) and row["dice_ci_high"] == pytest.approx(0.7 + half)
    scratch = with_interval(summarise(table)).set_index("epochs").loc[0]
    assert scratch["pooled_sd"] == pytest.approx(math.sqrt(0.32)) and scratch["df"] == 1


def test_one_seed_has_a_mean_but_no_interval() -> None:
    row = with_interval(summarise(results({("simple", 1): [0.5], ("simple", 2): [0.6]}))).iloc[0]
    assert row["dice_mean"] == 0.5 and row["n_seeds"] == 1
    assert np.isnan(row["dice_ci_low"]) and np.isnan(row["dice_ci_high"])


def test_note_says_why_an_interval_is_missing_or_too_narrow() -> None:
    table = downstream_table(results({("simple", 0): [0.3, 0.4], ("simple", 1): [0.5], ("simple", 2): [0.6]}))
    assert table["note"].tolist() == ["", "one seed only: no interval", "one seed only: no interval"]
    calm = {("simple", length): [0.700, 0.701, 0.702] for length in range(1, 9)}
    table = downstream_table(results(calm | {("simple", 9): [0.69, 0.70, 0.71]}))  # SD .01, pooled .0035
    assert table["note"].tolist() == [""] * 8 + ["own spread over twice the pooled one: interval too narrow"]


def test_schemes_share_the_one_random_initialisation() -> None:
    dice = {("simple", 0): [0.4, 0.5], ("simple", 1): [0.5, 0.6], ("advanced", 1): [0.6, 0.7]}
    shared = share_scratch(summarise(results(dice)))
    assert sorted(zip(shared["scheme"], shared["epochs"], strict=True)) == [
        ("advanced", 0),
        ("advanced", 1),
        ("simple", 0),
        ("simple", 1),
    ]
    assert set(shared.loc[shared["epochs"] == 0, "dice_mean"]) == {0.45}


def test_published_summary_has_342_rows_and_equals_a_plain_loop(reference: Path, tmp_path: Path) -> None:
    path = reference / "published/downstream_scores.csv"
    write_downstream(path, tmp_path / "downstream.csv")
    table = read_table(tmp_path / "downstream.csv")
    assert list(table.columns) == COLUMNS and "pools the seeds' spread" in head_of(tmp_path / "downstream.csv")
    assert table["note"].notna().sum() == 4
    assert len(table) == 342 and (table["epochs"] == 0).sum() == 18
    assert not table.drop(columns="note").isna().any().any()
    tidy = read_downstream(path)
    for _, row in table.sample(12, random_state=0).iterrows():
        cell = tidy
        for key in ("dataset", "model", "freeze", "scheme"):
            cell = cell[cell[key] == row[key]]
        cell = cell[(cell["epochs"] > 0) == (row["epochs"] > 0)]
        squares = sum(((d - d.mean()) ** 2).sum() for _, d in cell.groupby("epochs")["dice"])
        df = len(cell) - cell["epochs"].nunique()
        here = cell.loc[cell["epochs"] == row["epochs"], "dice"]
        half = stats.t.ppf(0.975, df) * math.sqrt(squares / df / len(here))
        assert row["dice_mean"] == pytest.approx(here.mean())
        assert row["dice_ci_high"] - row["dice_mean"] == pytest.approx(half)


def test_pretraining_seeds_are_kept_apart(tmp_path: Path) -> None:
    downstream, _ = write_run(tmp_path, pretrain_seeds=2, lengths=(0, 4), targets=("ACDC",), encoders=("unet",))
    table = summarise(read_downstream(downstream))
    assert sorted(zip(table["epochs"], table["pretrain_seed"], table["freeze"], strict=True)) == [
        (0, 0, False),
        (0, 0, True),
        (4, 0, False),
        (4, 0, True),
        (4, 1, False),
        (4, 1, True),
    ]
