"""Scores as selectors: nothing of a target decides what is chosen for it, and the numbers are those of other tables."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.lib.tables.synthetic_run import write_run
from workflow.lib.job.run import UserError
from workflow.lib.selection.measures import CEILINGS, ceilings, rank_measures
from workflow.lib.selection.names import ALL, MEAN_RANK, OTHERS, RIDGE
from workflow.lib.selection.score_selection import (
    choose_by_scores,
    score_selection,
    score_selection_summary,
    stability,
    write_score_selection,
)
from workflow.lib.selection.selection import selection
from workflow.lib.selection.selectors import mean_rank, ridge
from workflow.lib.tables.headed import head_of, read_table
from workflow.lib.tables.read import CURVE, read_downstream
from workflow.lib.tables.scores import from_deepest, read_scores

KEY = ["pool", "budget", "selector", *CURVE]


def write_transferability(folder: Path, robustness: Path, **change: object) -> Path:
    """Two scores of noise, in two levels, on the checkpoints of a run, the second lower = better; columns as gathered."""
    keys = ["dataset", "encoder", "pretraining_scheme", "pretraining_length", "pretraining_seed"]
    checkpoints, random = pd.read_csv(robustness)[keys].drop_duplicates(), np.random.default_rng(1)
    parts = []
    for score, better in (("logme", "higher"), ("cc_fv_code", "lower")):
        for level in (1, 2):
            value = random.normal(size=len(checkpoints))
            labels = {
                "score": score,
                "metric": None,
                "margin": None,
                "pooled": None,
                "sample": "balanced",
                "level": level,
            }
            labels |= {"better": better}
            part = checkpoints.assign(**labels, value=value, ci_low=value - 0.1, ci_high=value + 0.3)
            parts.append(part)
    table = pd.concat(parts, ignore_index=True).assign(**change)
    table.to_csv(folder / "transferability_scores.csv", index=False)
    return folder / "transferability_scores.csv"


def own_run(folder: Path, **grid: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    downstream, robustness = write_run(folder, **grid)
    return read_downstream(downstream), read_scores(robustness, write_transferability(folder, robustness))


def test_scores_are_read_higher_is_better(tmp_path: Path) -> None:
    downstream, robustness = write_run(tmp_path)
    path = write_transferability(tmp_path, robustness)
    raw, scores = pd.read_csv(path), read_scores(robustness, path)
    assert set(scores["score"]) == {"robustness", "logme", "cc_fv_code"} and (scores["epochs"] > 0).all()
    row = scores[scores["score"] == "cc_fv_code"].iloc[0]
    same = (raw["score"] == row["score"]) & (raw["level"] == row["level"]) & (raw["dataset"] == row["dataset"])
    same &= (raw["encoder"] == row["encoder"]) & (raw["pretraining_length"] == row["epochs"])
    found = raw[same & (raw["pretraining_scheme"] == row["scheme"])].iloc[0]
    assert row[["value", "low", "high"]].tolist() == (-found[["value", "ci_high", "ci_low"]]).tolist()
    alone = read_scores(robustness)
    assert (alone["value"] <= 0).all() and set(alone["score"]) == {"robustness"}


def test_unreadable_scores_are_named(tmp_path: Path) -> None:
    _, robustness = write_run(tmp_path)
    with pytest.raises(UserError) as error:
        read_scores(robustness, write_transferability(tmp_path, robustness, better="up"))
    for words in ("unknown direction", "found:    up (line ", "higher or lower", "transferability_scores.csv"):
        assert words in str(error.value)
    with pytest.raises(UserError, match="two rows of the same cell disagree"):
        read_scores(robustness, write_transferability(tmp_path, robustness, level=1))


def test_levels_are_counted_from_the_deepest_of_each_encoder() -> None:
    robust = {"metric": "c", "margin": 0.0, "pooled": True, "sample": None}
    label = {"metric": None, "margin": None, "pooled": None, "sample": "balanced"}
    rows: list[tuple[str, int | None, dict[str, Any]]]
    rows = [("a", 1, label), ("a", 3, label), ("b", 2, robust), ("b", 1, robust), ("b", None, label)]
    scores = pd.DataFrame([{"encoder": encoder, "level": level, **choices} for encoder, level, choices in rows])
    counted = from_deepest(scores.assign(score="q"))["setting"].tolist()
    assert counted[:2] == ["balanced|from_deepest=2", "balanced|from_deepest=0"]
    assert counted[2:] == ["c|m=0|pooled|from_deepest=0", "c|m=0|pooled|from_deepest=1", "balanced"]


@pytest.mark.slow
def test_nothing_of_a_target_decides_what_is_chosen_for_it(tmp_path: Path) -> None:
    """Dice of one target turned upside down: only what is reached there changes."""
    results, scores = own_run(tmp_path, targets=("a", "b", "c"), schemes=("simple", "mine"), lengths=(0, 1, 2, 8, 16))
    here = results["dataset"] == "a"
    before = choose_by_scores(results, scores, ranks=False).frame
    after = choose_by_scores(
        results.assign(dice=results["dice"].mask(here, 1 - results["dice"])), scores, ranks=False
    ).frame
    columns = [*KEY, "setting", "chosen_epochs", "epochs_trained", "chosen"]
    before, after = (
        part.loc[(part["dataset"] == "a") & (part["selector"] != "oracle"), columns].reset_index(drop=True)
        for part in (before, after)
    )
    pd.testing.assert_frame_equal(before, after)
    assert {MEAN_RANK, RIDGE, "logme", "robustness"} <= set(before["selector"])


def test_robustness_is_judged_as_in_the_selection(tmp_path: Path) -> None:
    paths = write_run(tmp_path, schemes=("simple", "mine"))
    results = read_downstream(paths[0])
    numbers = ["chosen_epochs", "dice", "regret", "diff_to_last", "epochs_saved", "setting"]
    keys = ["pool", "dataset", "model", "freeze", "scheme"]
    ours = choose_by_scores(results, read_scores(paths[1]), ranks=False).frame
    theirs = selection(results, read_scores(paths[1])).frame
    for here, there in (("robustness", OTHERS), ("imagenet_accuracy", "imagenet_accuracy"), ("random", "random")):
        one = ours[(ours["selector"] == here) & (ours["budget"] == "whole")].set_index(keys)[numbers].sort_index()
        other = theirs[theirs["selector"] == there].set_index(keys)[numbers].sort_index()
        pd.testing.assert_frame_equal(one, other, check_exact=False, check_dtype=False)


def test_half_of_the_budget(tmp_path: Path) -> None:
    results, scores = own_run(tmp_path, lengths=(0, 1, 2, 4, 8))
    table = score_selection(choose_by_scores(results, scores))
    half = table[table["budget"] == "half"]
    assert (half["chosen_epochs"] <= 4).all() and set(half["pool"]) == {"within_run"}
    trained = table.groupby(["budget", "pool", "selector"])["epochs_trained"].agg(set)
    assert trained["half", "within_run", "logme"] == {4.0} and trained["whole", "within_run", "logme"] == {8.0}
    assert trained["whole", "within_run", "fixed 2"] == {2.0}
    assert not half["note"].str.contains("score known").any()


def test_measures_of_ranking() -> None:
    dice = np.array([0.5, 0.6, 0.7, 0.8])
    assert rank_measures(np.arange(4.0), dice) == {"kendall": pytest.approx(1), "top1": 1, "top3": 1}
    assert rank_measures(-np.arange(4.0), dice) == {"kendall": pytest.approx(-1), "top1": 0, "top3": 0}
    assert rank_measures(np.zeros(4), dice) == {"kendall": 0, "top1": 0.25, "top3": 0.75}
    few = rank_measures(np.array([1.0, np.nan, np.nan, 2.0]), dice)
    assert np.isnan(few["kendall"]) and few["top1"] == 1 and np.isnan(few["top3"])


def test_ceiling_falls_with_seed_noise() -> None:
    cell = pd.DataFrame({"dice_mean": [0.5, 0.6, 0.7, 0.8], "n_seeds": 4, "df": 12})
    none, some, much = (ceilings(cell.assign(pooled_sd=sd), 0) for sd in (0.0, 0.1, 1.0))
    assert none == {"kendall_ceiling": pytest.approx(1), "top1_ceiling": 1, "top3_ceiling": 1, "regret_floor": 0}
    for name in CEILINGS[:3]:
        assert none[name] >= some[name] > much[name]
    assert none["regret_floor"] < some["regret_floor"] < much["regret_floor"]
    assert np.isnan(list(ceilings(cell.assign(pooled_sd=np.nan), 0).values())).all()


def test_combined_selectors() -> None:
    cell = np.array([0, 0, 0, 1, 1, 1])
    values = np.array([[1, 3, np.nan], [2, 2, np.nan], [9, 1, np.nan], [5, np.nan, np.nan], [6, np.nan, 1], [7, 1, 2]])
    assert mean_rank(values, cell)[:3].tolist() == pytest.approx([2 / 3] * 3)
    assert mean_rank(values, cell)[3:].tolist() == pytest.approx([1 / 3, (2 / 3 + 1 / 2) / 2, 1])
    random = np.random.default_rng(0)
    x, cell = random.normal(size=(90, 3)), np.repeat(np.arange(3), 30)
    dice = 0.7 + 0.1 * cell + 0.02 * x[:, 1] + random.normal(0, 0.001, 90)
    predicted = ridge(x, dice, cell, cell < 2)
    assert np.corrcoef(predicted[60:], dice[60:])[0, 1] > 0.99
    assert np.isnan(ridge(x, dice, cell, cell > 5)).all()


@pytest.mark.slow
def test_summary_with_its_differences_and_pools(tmp_path: Path) -> None:
    results, scores = own_run(tmp_path, schemes=("simple", "mine"), lengths=(0, 1, 2, 4, 8))
    chosen = choose_by_scores(results, scores)
    table = score_selection_summary(chosen, stability(results, scores))
    assert (
        set(table["dataset"]) == {ALL, "ACDC", "my-xrays"}
        and not table.duplicated(["selector", "budget", "pool", "dataset"]).any()
    )
    row = table.set_index(["selector", "budget", "pool", "dataset"]).loc[("logme", "whole", "within_run", ALL)]
    mean = chosen.frame[(chosen.frame["pool"] == "within_run") & (chosen.frame["budget"] == "whole")]
    mean = mean.groupby("selector")["dice"].mean()  # all runs have the same cells
    assert row["k"] == 4 and row["to_random"] == pytest.approx(mean["logme"] - mean["random"])
    assert row["to_accuracy"] == pytest.approx(mean["logme"] - mean["imagenet_accuracy"])
    assert row["to_fixed"] == pytest.approx(mean["logme"] - mean["fixed 8"])  # all 8 epochs must be trained to choose
    assert row["to_random_low"] < row["to_random"] < row["to_random_high"] and row["goal"] == "contradicted"
    assert row["lowest_dropped"] <= row["diff_to_last"] <= row["highest_dropped"]
    pooled = table[(table["pool"] == "all") & (table["selector"] == "logme") & (table["dataset"] == ALL)].iloc[0]
    assert pooled["diff_low"] < pooled["diff_to_last"] < pooled["diff_high"] and pooled["goal"] == ""


def test_tables_of_a_run_without_choice(tmp_path: Path) -> None:
    downstream, robustness = write_run(tmp_path, targets=("x",), encoders=("unet",), lengths=(4,), seeds=1)
    write_score_selection(downstream, robustness, None, None, tmp_path / "t.csv", tmp_path / "s.csv")
    assert {"last", "random"} <= set(read_table(tmp_path / "s.csv")["selector"])
    assert "is not a completed short one" in head_of(tmp_path / "s.csv")


@pytest.mark.slow
def test_published_numbers(reference: Path, published_tables: dict[str, Path]) -> None:
    """Computed once more with plain loops over the two files, without this library."""
    folder = reference / "published"
    results, scores = read_downstream(folder / "downstream_scores.csv"), read_scores(folder / "robustness_scores.csv")
    table = score_selection_summary(choose_by_scores(results, scores, ranks=True), stability(results.iloc[:0], scores))
    assert not table[["goal", "goal_kept"]].eq("supported").any(axis=None)
    rows = table[(table["pool"] == "within_run") & (table["dataset"] == ALL)].set_index(["selector", "budget"])
    expected = {
        ("robustness", "whole"): [-0.0049, -0.0087, -0.0012],
        ("robustness", "half"): [-0.0065, -0.0111, -0.0018],
        (MEAN_RANK, "half"): [-0.0041, -0.0107, 0.0024],
        (RIDGE, "whole"): [-0.0019, -0.0050, 0.0012],
        ("best on the other data sets", "half"): [-0.0063, -0.0133, 0.0006],
    }
    for key, numbers in expected.items():
        assert rows.loc[key, ["diff_to_last", "diff_low", "diff_high"]].astype(float).round(4).tolist() == numbers, key
    register = read_table(published_tables["claims"]).set_index("claim_id").loc["C10b"]
    ours = rows.loc[("robustness", "whole"), ["to_fixed_kept", "to_fixed_kept_low", "to_fixed_kept_high"]]
    assert ours.tolist() == pytest.approx(register[["estimate", "ci_low", "ci_high"]].tolist())
