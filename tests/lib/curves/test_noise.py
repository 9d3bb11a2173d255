"""Noise ceiling and shares of variance against plain loops and closed forms."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tests.lib.curves.test_summary import results
from tests.lib.tables.synthetic_run import write_run
from workflow.lib.curves.noise import (
    COLUMNS,
    VARIANCE_COLUMNS,
    lengths_against_seeds,
    noise_ceiling,
    variance,
    write_noise_ceiling,
    write_variance,
)
from workflow.lib.tables.headed import read_table
from workflow.lib.tables.read import read_downstream

GRID = [("n1", "s1"), ("n1", "s2"), ("n2", "s1"), ("n2", "s2")]


def test_equal_numbers_of_seeds_give_the_usual_f_and_its_reliability() -> None:
    samples = [np.array([0.70, 0.72, 0.74]), np.array([0.80, 0.81, 0.82]), np.array([0.60, 0.66, 0.63])]
    row = lengths_against_seeds(samples)
    f = stats.f_oneway(*samples).statistic
    assert row["f_statistic"] == pytest.approx(f) and row["reliability"] == pytest.approx(1 - 1 / f)
    v = np.array([np.var(values, ddof=1) for values in samples])  # Mehrotra 1997, by hand
    a, b = v.sum() ** 2, (v**2).sum()
    numerator = (2 / 3) ** 2 * a / (b + a / 9 - 2 / 3 * b)
    assert row["p_value"] == pytest.approx(stats.f.sf(f, numerator, a / (b / 2))) and row["note"] == ""


def test_f_of_unequal_numbers_divides_by_its_own_expectation() -> None:
    samples = [np.array([0.70, 0.74]), np.array([0.80, 0.81, 0.85, 0.82]), np.array([0.60, 0.66, 0.63])]
    whole = np.concatenate(samples)
    above = sum(len(values) * (values.mean() - whole.mean()) ** 2 for values in samples)
    below = sum((1 - len(values) / len(whole)) * np.var(values, ddof=1) for values in samples)
    assert lengths_against_seeds(samples)["f_statistic"] == pytest.approx(above / below)


def test_equal_means_have_reliability_0() -> None:
    row: dict[str, Any] = lengths_against_seeds([np.array([0.7, 0.8]), np.array([0.6, 0.9])])
    assert row["f_statistic"] == pytest.approx(0) and row["reliability"] == 0 and row["p_value"] > 0.9


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        ([[0.7, 0.8]], "fewer than two lengths"),
        ([], "fewer than two lengths"),
        ([[0.7], [0.8]], "one seed only"),
        ([[0.7, 0.8], [0.8]], "one seed only"),
        ([[0.7, 0.7], [0.8, 0.8]], "no spread between seeds"),
    ],
)
def test_no_test_says_why(samples: list[list[float]], reason: str) -> None:
    row = lengths_against_seeds([np.array(values) for values in samples])
    assert row["note"] == reason and pd.isna([row["f_statistic"], row["p_value"], row["reliability"]]).all()


def test_lengths_with_one_seed_are_left_out_and_told() -> None:
    two = [np.array([0.70, 0.72]), np.array([0.80, 0.81])]
    row = lengths_against_seeds([*two, np.array([0.1])])
    assert row["f_statistic"] == lengths_against_seeds(two)["f_statistic"]
    assert row["note"] == "lengths with one seed left out: 1"


def test_two_sets_of_lengths_have_rows_and_holm_of_their_own() -> None:
    dice = {(scheme, n): [0.5 + n / 1000, 0.51 + n / 1000] for scheme in "ab" for n in (0, 1, 50, 300)}
    table = noise_ceiling(results(dice))
    assert table["lengths"].tolist() == [">0", ">=50"] * 2 and table["n_lengths"].tolist() == [3, 2] * 2
    twice = table["p_value"] * 2
    assert table["p_holm"].tolist() == pytest.approx(twice.clip(upper=1).tolist())
    assert table["distinguishable"].tolist() == (twice < 0.05).tolist()
    short = noise_ceiling(results({("a", 1): [0.5, 0.6], ("a", 2): [0.5, 0.7]})).iloc[1]
    assert short["note"] == "fewer than two lengths" and short["n_lengths"] == 0 and pd.isna(short["distinguishable"])


def grid(effect: dict[str, float], seeds: tuple[float, ...]) -> pd.DataFrame:
    """Tidy results of 2 networks x 2 schemes x 3 lengths: Dice 0.5 with the effect of each level and of `seeds`."""
    rows = [
        {"dataset": "t", "freeze": False, "model": model, "encoder": model, "scheme": scheme, "pretrain_seed": 0}
        | {"epochs": epochs, "seed": i, "accuracy": 0.5}
        | {"dice": 0.5 + effect[model] + effect[scheme] * (1 if model == "n1" else -1) + effect[str(epochs)] + seed}
        for model, scheme in GRID
        for epochs in (1, 2, 3)
        for i, seed in enumerate(seeds)
    ]
    return pd.DataFrame(rows)


def test_sums_of_squares_of_a_known_table() -> None:
    effect = {"n1": 0.1, "n2": -0.1, "s1": 0.02, "s2": -0.02, "1": -0.03, "2": 0.0, "3": 0.03}
    table = variance(grid(effect, (-0.01, 0.01)))
    group = table[table["dataset"] == "t"].set_index("source")
    expected = {"network": 24 * 0.01, "scheme": 24 * 0.0004, "length": 16 * 0.0009, "seed": 24 * 0.0001}
    assert group["sum_squares"].to_dict() == pytest.approx(expected)
    assert group["df"].to_dict() == {"network": 1, "scheme": 2, "length": 8, "seed": 12}
    total, noise = sum(expected.values()), 0.0024 / 12
    assert group["share_raw"].to_dict() == pytest.approx({source: x / total for source, x in expected.items()})
    moved = {"network": 0.24 - noise, "scheme": 0.0096 - 2 * noise, "length": 0.0144 - 8 * noise, "seed": 23 * noise}
    assert group["share"].to_dict() == pytest.approx({source: x / total for source, x in moved.items()})
    everything = table[table["dataset"] == "all"].set_index("source")  # one group: the same
    assert everything["share"].tolist() == pytest.approx(group["share"].tolist()) and everything["freeze"].isna().all()


def test_pure_seed_noise_is_moved_to_the_seeds() -> None:
    random = np.random.default_rng(0)
    table = grid(dict.fromkeys(("n1", "n2", "s1", "s2", "1", "2", "3"), 0.0), (0.0,) * 5)
    draws = [variance(table.assign(dice=random.normal(0.5, 0.01, len(table)))).iloc[:4] for _ in range(30)]
    shares = pd.concat(draws).groupby("source")[["share", "share_raw"]].mean()
    assert shares.loc["seed", "share_raw"] == pytest.approx(48 / 59, abs=0.03)  # as the degrees of freedom
    assert shares.loc["seed", "share"] > 0.9  # not 1: what gets negative is set to 0
    assert all(draw["share"].sum() == pytest.approx(1) and (draw["share"] >= 0).all() for draw in draws)


def test_all_is_the_decomposition_of_centred_dice() -> None:
    effect = {"n1": 0.1, "n2": -0.1, "s1": 0.02, "s2": -0.02, "1": -0.03, "2": 0.0, "3": 0.03}
    first = grid(effect, (-0.01, 0.01))
    second = grid({key: -value / 2 for key, value in effect.items()}, (-0.02, 0.02)).assign(dataset="u")
    second["dice"] += 0.2
    table = variance(pd.concat([first, second], ignore_index=True))
    sums = table.pivot(index="source", columns="dataset", values="sum_squares")
    assert sums["all"].tolist() == pytest.approx((sums["t"] + sums["u"]).tolist())
    centred = pd.concat([first["dice"] - first["dice"].mean(), second["dice"] - second["dice"].mean()])
    assert sums["all"].sum() == pytest.approx((centred**2).sum())


def test_one_seed_leaves_the_noise_unknown() -> None:
    effect = {"n1": 0.1, "n2": -0.1, "s1": 0.02, "s2": -0.02, "1": -0.03, "2": 0.0, "3": 0.03}
    table = variance(grid(effect, (0.0,)))
    assert table["share"].isna().all() and set(table["note"]) == {"one seed only: noise unknown"}
    assert table.groupby("dataset")["share_raw"].sum().tolist() == pytest.approx([1, 1])
    still = variance(grid(dict.fromkeys(effect, 0.0), (0.0, 0.0)))
    assert set(still["note"]) == {"nothing varies"} and still["share"].isna().all()


@pytest.mark.parametrize("seeds", [1, 3])
def test_own_run_of_several_pretraining_seeds(tmp_path: Path, seeds: int) -> None:
    downstream, _ = write_run(tmp_path, pretrain_seeds=2, seeds=seeds, lengths=(0, 4, 60), targets=("ACDC",))
    write_noise_ceiling(downstream, tmp_path / "noise.csv")
    write_variance(downstream, tmp_path / "variance.csv")
    noise, parts = read_table(tmp_path / "noise.csv"), read_table(tmp_path / "variance.csv")
    assert len(noise) == 2 * 2 * 2 * 2 and noise["f_statistic"].notna().sum() == (8 if seeds > 1 else 0)
    assert parts["source"].tolist()[:5] == ["network", "scheme", "pretraining run", "length", "seed"]
    assert parts.query("source == 'pretraining run' & dataset == 'ACDC'")["df"].tolist() == [2, 2]
    assert parts.query("source == 'scheme'")["df"].tolist() == [0, 0, 0]


def test_only_random_initialisation_gives_empty_tables() -> None:
    table = results({("simple", 0): [0.4, 0.42]})
    assert noise_ceiling(table).empty and list(noise_ceiling(table).columns) == COLUMNS
    assert variance(table).empty and list(variance(table).columns) == VARIANCE_COLUMNS


def test_published_noise_ceiling(reference: Path, tmp_path: Path) -> None:
    path = reference / "published/downstream_scores.csv"
    write_noise_ceiling(path, tmp_path / "noise.csv")
    table = read_table(tmp_path / "noise.csv")
    assert list(table.columns) == COLUMNS and len(table) == 72 and not table.drop(columns="note").isna().any().any()
    assert table.groupby("lengths")["distinguishable"].sum().to_dict() == {">0": 35, ">=50": 22}
    assert table.groupby("lengths")["reliability"].median().to_dict() == pytest.approx(
        {">0": 0.9728, ">=50": 0.8735}, abs=1e-4
    )
    tidy = read_downstream(path)
    for _, row in table[table["dataset"] == "ACDC"].iterrows():
        cell = tidy[(tidy["epochs"] >= (1 if row["lengths"] == ">0" else 50))]
        for key in ("dataset", "model", "freeze", "scheme"):
            cell = cell[cell[key] == row[key]]
        f = stats.f_oneway(*[values for _, values in cell.groupby("epochs")["dice"]]).statistic
        assert row["f_statistic"] == pytest.approx(f) and row["reliability"] == pytest.approx(max(0, 1 - 1 / f))
    row = table.query(
        "dataset == 'ACDC' & model == 'basic U-Net' & not freeze & scheme == 'advanced' & lengths == '>0'"
    )
    assert row["distinguishable"].tolist() == [False] and row["reliability"].tolist() == [0]


def test_published_variance_equals_a_plain_loop(reference: Path, tmp_path: Path) -> None:
    path = reference / "published/downstream_scores.csv"
    write_variance(path, tmp_path / "variance.csv")
    table = read_table(tmp_path / "variance.csv")
    assert len(table) == 4 * 7
    assert table.groupby(["dataset", "freeze"], dropna=False)["share"].sum().tolist() == pytest.approx([1.0] * 7)
    tidy = read_downstream(path)
    part = tidy[(tidy["dataset"] == "IDRiD") & tidy["freeze"] & (tidy["epochs"] > 0)]  # not balanced
    squares = dict.fromkeys(["network", "scheme", "length", "seed"], 0.0)
    for _, network in part.groupby("model"):
        squares["network"] += len(network) * (network["dice"].mean() - part["dice"].mean()) ** 2
        for _, scheme in network.groupby("scheme"):
            squares["scheme"] += len(scheme) * (scheme["dice"].mean() - network["dice"].mean()) ** 2
            for _, length in scheme.groupby("epochs"):
                squares["length"] += len(length) * (length["dice"].mean() - scheme["dice"].mean()) ** 2
                squares["seed"] += ((length["dice"] - length["dice"].mean()) ** 2).sum()
    group = table[(table["dataset"] == "IDRiD") & (table["freeze"] == True)].set_index("source")  # noqa: E712
    assert group["sum_squares"].to_dict() == pytest.approx(squares)
    everything = table[table["dataset"] == "all"].set_index("source")["share"]
    expected = {"network": 0.5416, "scheme": 0.0344, "length": 0.4085, "seed": 0.0156}
    assert everything.to_dict() == pytest.approx(expected, abs=1e-4)
