"""Verdicts: every rule at its margins, every piece against plain loops, plain truths recognised, odd runs survived."""

from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tests.lib.claims.all_tables import REGISTER, write_tables
from tests.lib.tables.synthetic_run import write_run
from workflow.lib.claims.claims import claims, gain_over_seeds, stable_settings
from workflow.lib.claims.ranks import order_test, orders, own_curves, spearman_over_seeds
from workflow.lib.claims.register import head, read_register
from workflow.lib.curves.correlation import correlations
from workflow.lib.curves.effect import length_effect
from workflow.lib.curves.summary import summarise
from workflow.lib.evidence.verdicts import (
    CONTRADICTED,
    INCONCLUSIVE,
    SUPPORTED,
    UNTESTED,
    Found,
    above_zero,
    fits_better,
    half_of_cells,
    non_inferiority,
    over_runs,
    poor_guide,
    ranks,
    stable,
    superiority,
    verdict,
    verdict_over_encoders,
)
from workflow.lib.selection.selection import selection
from workflow.lib.tables.headed import read_table
from workflow.lib.tables.read import read_downstream
from workflow.lib.tables.scores import read_scores, turned

LENGTHS = (1, 20, 100, 150, 200, 250, 300)
RUNS = [(encoder, scheme) for encoder in ("unet", "resnet50", "swin") for scheme in ("simple", "advanced")]


@pytest.mark.parametrize(
    ("rule", "found", "expected"),
    [
        (superiority, Found(0.006, 0.001, 0.011), SUPPORTED),
        (superiority, Found(0.005, 1e-9, 0.010), SUPPORTED),  # the margin itself is enough
        (superiority, Found(0.0049, 0.001, 0.0088), INCONCLUSIVE),  # better, but not by the margin
        (superiority, Found(0.006, 0.0, 0.012), INCONCLUSIVE),
        (superiority, Found(0.002, -0.001, 0.0049), CONTRADICTED),
        (superiority, Found(0.002, 0.001, 0.0049), CONTRADICTED),  # above 0, yet the margin is excluded
        (superiority, Found(0.002, -0.001, 0.005), INCONCLUSIVE),
        (non_inferiority, Found(0.0, -0.0049, 0.0049), SUPPORTED),
        (non_inferiority, Found(-0.01, -0.015, -0.0051), CONTRADICTED),
        (non_inferiority, Found(-0.005, -0.005, -0.005), INCONCLUSIVE),
        (poor_guide, Found(0.3, 0.1, 0.49), SUPPORTED),
        (poor_guide, Found(0.7, 0.51, 0.9), CONTRADICTED),
        (poor_guide, Found(0.4, 0.3, 0.5), INCONCLUSIVE),
        (ranks, Found(0.3, 0.01, 0.6), SUPPORTED),
        (ranks, Found(-0.1, -0.6, 0.49), CONTRADICTED),
        (ranks, Found(0.1, -0.2, 0.4), INCONCLUSIVE),  # excluded from being large, but above 0
        (ranks, Found(-0.1, -0.8, 0.6), INCONCLUSIVE),
        (above_zero, Found(0.1, 0.01, 0.2), SUPPORTED),
        (above_zero, Found(-0.1, -0.2, -0.01), CONTRADICTED),
        (above_zero, Found(0.1, 0.0, 0.2), INCONCLUSIVE),
        (fits_better, Found(0.1, p=0.05), SUPPORTED),
        (fits_better, Found(-0.9, p=1.0), INCONCLUSIVE),
        (half_of_cells, Found(4, p=0.05, parts=(0.1, 0.1, 0.1, 0.1)), SUPPORTED),
        (half_of_cells, Found(4, p=0.06, parts=(0.004, 0.0049, 0.005, 0.1)), CONTRADICTED),
        (half_of_cells, Found(4, p=0.06, parts=(0.004, 0.005, 0.005, 0.1)), INCONCLUSIVE),
        (stable, Found(0.6, parts=(0.51, 0.6, 0.9)), SUPPORTED),
        (stable, Found(0.2, parts=(0.49, -0.6, 0.1)), CONTRADICTED),
        (stable, Found(0.6, parts=(0.5, 0.6, 0.9)), INCONCLUSIVE),
        (superiority, Found(0.5, 0.4, 0.6, testable=False), UNTESTED),
    ],
)
def test_rule(rule: Callable[[Found, float], str], found: Found, expected: str) -> None:
    assert verdict(rule, found, 0.005) == expected


def test_rules_follow_the_margin() -> None:
    found = Found(0.004, 0.003, 0.005)
    assert [superiority(found, margin) for margin in (0.0025, 0.005, 0.01)] == [SUPPORTED, INCONCLUSIVE, CONTRADICTED]
    found = Found(-0.004, -0.006, -0.003)
    assert [non_inferiority(found, d) for d in (0.0025, 0.005, 0.01)] == [CONTRADICTED, INCONCLUSIVE, SUPPORTED]


def per_run(values: list[list[float]]) -> pd.DataFrame:
    """Column `gain`, one list per run of `RUNS`, its items on as many data sets."""
    rows = [
        {"encoder": encoder, "scheme": scheme, "pretrain_seed": 0, "dataset": f"t{i}", "gain": value}
        for (encoder, scheme), column in zip(RUNS, values, strict=False)
        for i, value in enumerate(column)
    ]
    return pd.DataFrame(rows)


def test_t_over_runs_by_hand() -> None:
    found = over_runs(per_run([[0.0, 0.2], [0.2], [0.4, 0.2, np.nan], [0.0, 0.4]]), "gain", null=0.1)
    runs = np.array([0.1, 0.2, 0.3, 0.2])  # a run's mean first, whatever the number of its targets
    low, high = stats.t.interval(0.95, 3, runs.mean(), stats.sem(runs))
    assert [found.estimate, found.low, found.high] == pytest.approx([0.2, low, high])
    assert found.p == pytest.approx(2 * stats.t.sf(0.1 / stats.sem(runs), 3))
    low, high = stats.t.interval(0.95, 1, 0.2, stats.sem([0.15, 0.25]))
    assert f"over the 2 encoders [{low:+.4f}, {high:+.4f}]" in found.note and found.note.startswith("k = 4 runs")
    assert found.encoders == pytest.approx((0.2, low, high)) and "t0 +0.1500, t1 +0.2667" in found.note


def test_a_claim_over_runs_that_does_not_hold_over_encoders_says_both() -> None:
    found = over_runs(per_run([[0.05], [0.06], [0.09], [0.1]]), "gain")
    assert found.encoders is not None and found.low > 0 > found.encoders[1]
    assert verdict(superiority, found, 0.005) == SUPPORTED
    assert verdict_over_encoders(superiority, found, 0.005) == INCONCLUSIVE
    assert verdict_over_encoders(superiority, Found(0.1, 0.05, 0.2), 0.005) == ""


def test_two_runs_give_an_estimate_without_a_verdict() -> None:
    found = over_runs(per_run([[0.1], [0.3]]), "gain")
    assert not found.testable and found.estimate == pytest.approx(0.2) and np.isnan(found.low) and "k = 2" in found.note


def test_runs_that_all_agree_are_marked() -> None:
    found = over_runs(per_run([[0.1], [0.1], [0.1]]), "gain")
    assert [found.low, found.high] == pytest.approx([0.1, 0.1]) and np.isnan(found.p) and "no width" in found.note


def test_orders_hold_the_present_one_first_and_are_exact_while_few() -> None:
    assert len(orders(6)) == len(set(map(tuple, orders(6)))) == 720
    for n, count in ((6, 720), (9, 5040)):
        assert len(orders(n)) == count and orders(n)[0].tolist() == list(range(n))
        assert (np.sort(orders(n), axis=1) == np.arange(n)).all()


def test_order_test_equals_brute_force() -> None:
    random = np.random.default_rng(5)
    x = random.random(5)
    cells = [(x, 0.3 * x + 0.2 * random.random(5)) for _ in range(3)]
    means = [np.mean([stats.spearmanr(x[list(order)], y)[0] for _, y in cells]) for order in permutations(range(5))]
    expected = np.mean(np.array(means) >= means[0] - 1e-12)
    assert 1 / 120 <= expected < 0.2 and order_test(cells) == pytest.approx(expected)


def cells_of_seeds(noise: float) -> list[pd.DataFrame]:
    accuracy, dice = np.arange(1, 7) / 10, np.array([0.1, 0.3, 0.2, 0.4, 0.6, 0.5])
    cell = pd.DataFrame({"accuracy": accuracy, "dice_mean": dice, "pooled_sd": noise, "n_seeds": 4, "df": 18})
    return [cell, cell.assign(dice_mean=dice[::-1])]


@pytest.mark.slow
def test_seeds_only_interval_of_a_rank_correlation() -> None:
    still = spearman_over_seeds(cells_of_seeds(1e-9), seed=1)
    assert still.estimate == pytest.approx(0) and still.high - still.low == pytest.approx(0)
    found, random, drawn = spearman_over_seeds(cells_of_seeds(0.2), seed=1), np.random.default_rng(2), []
    for _ in range(1000):
        cells = [cell["dice_mean"] + 0.1 * random.standard_t(18, 6) for cell in cells_of_seeds(0.2)]
        drawn.append(np.mean([stats.spearmanr(np.arange(6), values)[0] for values in cells]))
    assert found.high == pytest.approx(1.96 * np.std(drawn), rel=0.1) and found.low == pytest.approx(-found.high)


@pytest.mark.parametrize(
    ("cells", "why"),
    [
        ([], "no cell with three checkpoints"),
        (cells_of_seeds(float("nan")), "no spread"),
        ([cell.assign(accuracy=0.5) for cell in cells_of_seeds(0.1)], "does not vary"),
    ],
)
def test_no_seeds_only_verdict_says_why(cells: list[pd.DataFrame], why: str) -> None:
    found = spearman_over_seeds(cells, seed=1)
    assert not found.testable and why in found.note


def test_gain_over_random_by_hand() -> None:
    """Two targets; on the first two schemes, which share the one random initialisation."""
    rows = [  # dataset, scheme, epochs, mean, pooled SD, seeds, df
        ("a", "simple", 0, 0.50, 0.04, 4, 3),
        ("a", "simple", 5, 0.90, 0.99, 4, 6),  # not the last length
        ("a", "simple", 9, 0.60, 0.02, 4, 6),
        ("a", "advanced", 9, 0.70, 0.02, 4, 6),
        ("b", "simple", 0, 0.40, 0.02, 4, 3),
        ("b", "simple", 9, 0.44, 0.02, 4, 6),
    ]
    table = pd.DataFrame(rows, columns=["dataset", "scheme", "epochs", "dice_mean", "pooled_sd", "n_seeds", "df"])
    found = gain_over_seeds(table.assign(model="m", encoder="e", freeze=False, pretrain_seed=0))
    parts = np.array([0.04**2 / 4 / 4, 0.02**2 / 16 / 4, 0.02**2 / 16 / 4, 0.02**2 / 4 / 4, 0.02**2 / 4 / 4])
    df = parts.sum() ** 2 / sum(parts**2 / [3, 6, 6, 3, 6])
    half = stats.t.ppf(0.975, df) * np.sqrt(parts.sum())
    assert [found.estimate, found.low, found.high] == pytest.approx([0.095, 0.095 - half, 0.095 + half])
    assert "a +0.1500, b +0.0400" in found.note


def test_pairs_of_data_sets_by_hand() -> None:
    regret = {"x": [1, 2, 3, 4], "y": [1, 2, 4, 3], "z": [4, 3, 2, 1]}
    rows = pd.DataFrame(
        [
            {"encoder": e, "scheme": "s", "pretrain_seed": 0, "dataset": d, "regret": value + shift}
            | {"setting": f"c|m={i}|pooled|level={1 + (e == 'f')}"}
            for e, shift in (("e", 0), ("f", 0.5), ("g", -0.5))
            for d, values in regret.items()
            for i, value in enumerate(values)
        ]
    )
    extra = rows[(rows["encoder"] == "e")].assign(setting="only here|m=0|pooled|level=1", regret=-9.0)
    found = stable_settings(pd.concat([rows, extra]))
    assert found.parts == pytest.approx((0.8, -1.0, -0.8)) and found.estimate == pytest.approx(-1 / 3)


def study(
    dice: Callable[[int, int], float],
    score: Callable[[int, int, int], float],
    *,
    targets: tuple[str, ...] = ("a", "b"),
    seeds: int = 3,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tidy tables of the six runs of `RUNS`: Dice is dice(run, length index), the score score(run, length index,
    setting 0..3), both with a little noise. Random initialisation has Dice 0.3; accuracy rises with length."""
    random, results, scores = np.random.default_rng(4), [], []
    for run, (encoder, scheme) in enumerate(RUNS):
        origin = {"encoder": encoder, "scheme": scheme, "pretrain_seed": 0}
        for target in targets:
            for i, length in enumerate((0, *LENGTHS)):
                for freeze in (False, True):
                    for seed in range(seeds):
                        if length or scheme == "simple":
                            row: dict[str, Any] = {
                                "dataset": target,
                                "model": f"net {encoder}",
                                "freeze": freeze,
                                "epochs": length,
                            }
                            value = dice(run, i - 1) if length else 0.3
                            row |= {"seed": seed, "accuracy": i / 10 + run / 100}
                            results.append(origin | row | {"dice": value + random.normal(0, 1e-3)})
                for setting in range(4 if length else 0):
                    row = {"dataset": target, "epochs": length, "metric": "l2", "margin": setting / 4, "pooled": True}
                    value = score(run, i - 1, setting) + random.uniform(0, 1e-3)
                    scores.append(origin | row | {"level": 1, "score": value})
    return pd.DataFrame(results), pd.DataFrame(scores)


def verdicts(tables: tuple[pd.DataFrame, pd.DataFrame]) -> pd.Series:
    results, scores = tables[0], turned(tables[1])
    made = (length_effect(results), correlations(results, scores), selection(results, scores).frame)
    return claims(read_register(REGISTER), results, scores, *made).set_index("claim_id")["verdict"]


@pytest.mark.slow
def test_plainly_true_claims_are_supported() -> None:
    """Dice is best at 100 epochs (index 2) and falls, and so does the score that setting 0 gives."""

    def gap(run: int, i: int) -> float:
        return abs(i - 2.1) * (0.02 + 0.001 * run)

    found = verdicts(study(lambda run, i: 0.8 - gap(run, i), lambda run, i, s: [gap(run, i), i, -i, 5 - i % 2][s]))
    true = ["C1", "C2", "C2f", "C2t", "C4", "C4R", "C4S", "C4b", "C6", "C7", "C9", "C10a", "C11-100", "C11-150", "C13"]
    true += ["C12 trainable, Swin", "C12 trainable, ResNet50", "C12 trainable, basic U-Net", "C12 frozen, all"]
    assert found[true].eq(SUPPORTED).all(), found[true]
    assert found["C3"] == CONTRADICTED and found["C8"] == INCONCLUSIVE  # no curve is a run's own


@pytest.mark.slow
def test_plainly_false_claims_are_contradicted() -> None:
    """Dice rises with length by steps of 0.02 or more; accuracy ranks all; the score is lowest at the shortest length."""
    found = verdicts(study(lambda run, i: 0.25 + 0.02 * i + 0.001 * i * run, lambda run, i, s: i + 0.1 * s))
    false = ["C1", "C2", "C2f", "C2t", "C3", "C4", "C4R", "C4S", "C4b", "C5", "C6", "C7", "C9", "C10a", "C10b"]
    false += ["C11-100", "C11-150", "C11-200", "C11-250"]
    assert found[false].eq(CONTRADICTED).all(), found[false]
    assert found["C12 frozen, all"] == SUPPORTED and found["C8"] == INCONCLUSIVE


def test_a_score_that_knows_its_own_run_is_found() -> None:
    shapes = np.random.default_rng(8).permuted(np.tile(np.linspace(0, 0.1, 7), (6, 1)), axis=1)
    tables = study(lambda run, i: 0.7 + shapes[run, i], lambda run, i, s: 1 - shapes[run, i] if s < 2 else i)
    found = own_curves(summarise(tables[0][tables[0]["epochs"] > 0]), turned(tables[1]))
    assert fits_better(found, 0.005) == SUPPORTED and found.p == pytest.approx(1 / 720) and found.estimate > 0.5


def test_own_curves_equal_brute_force() -> None:
    """Four runs of two encoders, whose settings differ, against plain loops over all 24 orders."""
    random = np.random.default_rng(3)
    noise = random.normal(0, 1, (6, 7, 4))
    results, scores = study(
        lambda run, i: 0.5 + 0.02 * noise[run, i, 0], lambda run, i, s: 9 - noise[run, i].cumsum()[s]
    )
    kept = ["unet", "swin"]
    results, scores = results[results["encoder"].isin(kept)], scores[scores["encoder"].isin(kept)]
    scores = scores[(scores["encoder"] == "unet") | (scores["margin"] < 0.7)]  # Swin has three settings
    there = scores["dataset"] == "b"
    scores.loc[there, "score"] = random.permutation(scores.loc[there, "score"])  # other settings are best there
    table = summarise(results[results["epochs"] > 0])
    runs = [("swin", "advanced"), ("swin", "simple"), ("unet", "advanced"), ("unet", "simple")]

    def fit(own: tuple[str, str], other: tuple[str, str], target: str, margin: float) -> float:
        mine = scores[(scores["encoder"] == own[0]) & (scores["scheme"] == own[1]) & (scores["dataset"] == target)]
        mine = mine[mine["margin"] == margin].sort_values("epochs")["score"]
        theirs = table[(table["encoder"] == other[0]) & (table["scheme"] == other[1]) & (table["dataset"] == target)]
        return np.mean([stats.spearmanr(-mine, part["dice_mean"])[0] for _, part in theirs.groupby("freeze")])

    margins = {"unet": [0.25, 0.5, 0.75, 0], "swin": [0.25, 0.5, 0]}  # by their names, of which the first wins a tie
    known = {(a, b, t, m): fit(a, b, t, m) for a in runs for b in runs for t in "ab" for m in margins[a[0]]}
    values = []
    for order in permutations(range(4)):
        total = 0.0
        for encoder in ("swin", "unet"):
            pairs = [(run, runs[order[i]]) for i, run in enumerate(runs) if run[0] == encoder]
            for target in "ab":
                elsewhere = [
                    sum(known[a, b, t, m] for a, b in pairs for t in "ab" if t != target) for m in margins[encoder]
                ]
                best = margins[encoder][int(np.argmax(np.round(elsewhere, 12)))]
                total += sum(known[a, b, target, best] for a, b in pairs)
        values.append(total / 8)
    strange = [
        v for v, order in zip(values, permutations(range(4)), strict=True) if all(i != j for i, j in enumerate(order))
    ]
    found = own_curves(table, turned(scores))
    assert found.estimate == pytest.approx(values[0] - np.mean(strange))
    assert found.p == pytest.approx(np.mean(np.array(values) >= values[0] - 1e-9)) and f"{values[0]:+.3f}" in found.note


@pytest.mark.slow
@pytest.mark.parametrize(
    "grid",
    [
        {},
        {"encoders": ("my-vit",), "targets": ("ACDC",), "seeds": 1, "lengths": (0, 4)},
        {"encoders": ("my-vit",), "lengths": (4,)},
        {"lengths": (2, 8), "freezings": (True,)},
        {"targets": ("mine",), "seeds": 2},
    ],
)
def test_small_runs_are_not_judged(tmp_path: Path, grid: dict[str, Any]) -> None:
    table = read_table(write_tables(*write_run(tmp_path, **grid), tmp_path)["claims"]).set_index("claim_id")
    seeds = table["scope"].str.startswith("seeds only") & (table.index != "C1")
    assert table.loc[~seeds, "verdict"].eq(UNTESTED).all() and table["note"].notna().all()
    # Only what the tables hold a number of is listed.
    assert table["estimate"].notna().all() and not set(table.index) & {"C4R", "C12 trainable, ResNet50", "U1", "U6"}


def test_random_weights_alone_are_not_judged(tmp_path: Path) -> None:
    downstream, robustness = write_run(tmp_path, lengths=(0,))
    results, scores = read_downstream(downstream), read_scores(robustness)
    nothing = (pd.DataFrame(), pd.DataFrame(), pd.DataFrame())
    assert claims(read_register(REGISTER), results, scores, *nothing).empty
    released = claims(read_register(REGISTER), results, scores, *nothing, released=True).set_index("claim_id")
    assert released["verdict"].eq(UNTESTED).all() and len(released) == 38
    assert released.loc[["C1", "C4R", "C12 trainable, ResNet50"], "note"].eq("too few pretraining lengths").all()
    assert released.loc["U6", "note"].startswith("what it would take: Dice per case")
    assert "0 trained checkpoints of 0 pretraining runs" in head(results, released=False)


def test_the_head_tells_the_facts_of_the_run(tmp_path: Path) -> None:
    lengths: dict[str, Any] = {"lengths": (0, 1, 2, 8), "encoders": ("unet", "swin"), "pretrain_seeds": 2}
    results = read_downstream(write_run(tmp_path, **lengths)[0])
    own = head(results, released=False)
    assert "12 trained checkpoints of 4 pretraining runs (2 encoders: swin, unet;\n1 scheme: simple)" in own
    assert "2 targets: ACDC, my-xrays" in own and "The last length is 8 epochs." in own
    assert "54 checkpoints" not in own and "54 checkpoints" in head(results, released=True)


@pytest.mark.slow
def test_own_runs_of_several_pretraining_seeds_are_judged(tmp_path: Path) -> None:
    run = write_run(tmp_path, pretrain_seeds=2, lengths=(0, 1, 100, 400))
    table = read_table(write_tables(*run, tmp_path)["claims"]).set_index("claim_id")
    assert table.loc[["C9", "C11-100", "C12 frozen, all"], "note"].str.startswith("k = 4 runs").all()
    assert table.loc["C11-100", "verdict"] == CONTRADICTED and "C11-150" not in table.index
    assert table.loc["C12 frozen, all", "verdict"] == SUPPORTED
