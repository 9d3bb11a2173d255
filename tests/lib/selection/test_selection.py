"""Selectors on tables whose answers are known, and on the published run against plain loops."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tests.lib.tables.synthetic_run import write_run
from workflow.lib.curves.effect import honest_gains
from workflow.lib.evidence.intervals import t_interval
from workflow.lib.selection.choice import COLUMNS
from workflow.lib.selection.names import ANALYST, OTHERS, RANGE
from workflow.lib.selection.selection import selection
from workflow.lib.selection.summary import SUMMARY, sensitivity, summary, write_selection
from workflow.lib.tables.headed import head_of, read_table
from workflow.lib.tables.read import read_downstream, read_robustness
from workflow.lib.tables.scores import read_scores, turned

KEYS = {"model": "m", "encoder": "e", "freeze": False, "scheme": "s", "pretrain_seed": 0}
LENGTHS = (0, 1, 5, 20)
NUMBERS = ["chosen_epochs", "dice", "regret", "diff_to_last", "epochs_saved"]


def scored(scores: dict[str, dict[int, list[float]]], **run: Any) -> pd.DataFrame:
    """scores[target][level] at the lengths 1, 5, 20, of one setting."""
    setting = {"encoder": "e", "scheme": "s", "pretrain_seed": 0, "metric": "c", "margin": 0.5, "pooled": True} | run
    rows = [
        setting | {"dataset": target, "level": level, "epochs": length, "score": score}
        for target, levels in scores.items()
        for level, row in levels.items()
        for length, score in zip(LENGTHS[1:], row, strict=True)
    ]
    return turned(pd.DataFrame(rows))


def measured(
    targets: Iterable[str], dice: Sequence[Sequence[float]] = ((0.9,), (0.6,), (0.8,), (0.7,)), **run: Any
) -> pd.DataFrame:
    """Dice per length and seed on every target, accuracy 0.2, 0.5, 0.4 at the lengths 1, 5, 20; nan: missing."""
    rows = [
        KEYS | {"dataset": target, "epochs": length, "seed": seed, "accuracy": accuracy, "dice": value} | run
        for target in targets
        for length, accuracy, values in zip(LENGTHS, (0.001, 0.2, 0.5, 0.4), dice, strict=True)
        for seed, value in enumerate(values)
    ]
    return pd.DataFrame(rows).dropna(subset="dice")


def tables(scores: dict[str, dict[int, list[float]]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    return measured(scores), scored(scores)


def test_every_selector_on_a_known_curve() -> None:
    chosen = selection(*tables({"a": {1: [0.5, 0.1, 0.1], 2: [0.2, 0.3, 0.4]}})).frame
    chosen = chosen[chosen["pool"] == "within_run"].set_index(["selector", "setting"])
    expected = {
        ("last", ""): [20, 0.7, 0.1, 0.0, 0],
        ("random", ""): [26 / 3, 0.7, 0.1, 0.0, 34 / 3],
        ("imagenet_accuracy", ""): [5, 0.8, 0.0, 0.1, 15],
        ("scratch", ""): [0, 0.9, -0.1, 0.2, 20],
        ("oracle", ""): [np.nan] * 5,
        ("fixed 1", ""): [1, 0.6, 0.2, -0.1, 19],
        ("fixed 5", ""): [5, 0.8, 0.0, 0.1, 15],
        ("fixed 20", ""): [20, 0.7, 0.1, 0.0, 0],
        ("robustness", "c|m=0.5|pooled|level=1"): [12.5, 0.75, 0.05, 0.05, 7.5],  # a tie of 5 and 20
        ("robustness", "c|m=0.5|pooled|level=2"): [1, 0.6, 0.2, -0.1, 19],
    }
    assert set(chosen.index) == set(expected)
    for key, row in expected.items():
        assert chosen.loc[key, NUMBERS].tolist() == pytest.approx(row, nan_ok=True), key
    notes = chosen["note"][chosen["note"] != ""].to_dict()
    assert notes == {
        ("oracle", ""): "no second fine-tuning seed to choose on",
        ("robustness", "c|m=0.5|pooled|level=1"): "2 tied, averaged",
    }


def test_oracle_chooses_on_the_other_seeds() -> None:
    """Seed 0 left out: length 1 (0.70 against 0.65); 1: length 20 (0.85); 2: length 1 (0.75). Length 5 never wins."""
    dice = ([0.5] * 3, [0.8, 0.7, 0.7], [0.6, 0.6, 0.6], [0.9, 0.5, 0.8])
    chosen = selection(measured(["a"], dice), scored({"a": {1: [1, 2, 3]}})).frame
    oracle = chosen[(chosen["selector"] == "oracle") & (chosen["pool"] == "within_run")].iloc[0]
    gains = [0.8 - 0.9, 0.0, 0.7 - 0.8]
    assert oracle["diff_to_last"] == pytest.approx(np.mean(gains))
    assert oracle["dice"] == pytest.approx(np.mean([0.9, 0.5, 0.8]) + np.mean(gains))
    assert oracle["chosen_epochs"] == pytest.approx((1 + 20 + 1) / 3)
    missing = ([0.5] * 3, [0.8, 0.7, 0.7], [0.6, 0.6, 0.6], [0.9, np.nan, 0.8])
    part = selection(measured(["a"], missing), scored({"a": {1: [1, 2, 3]}})).frame
    part = part[(part["selector"] == "oracle") & (part["pool"] == "within_run")].iloc[0]
    assert part["note"] == "evaluated on 2 of 3 seeds" and part["diff_to_last"] == pytest.approx(0.0)  # 20 wins on both


def test_choice_among_all_checkpoints() -> None:
    """Two runs of unlike depth: their deepest levels are compared, whatever their number."""
    other = {"encoder": "f", "scheme": "t"}
    results = [measured(["a"]), measured(["a"], [[0.1], [0.5], [0.55], [0.9]], model="n", **other)]
    scores = [scored({"a": {1: [0, 9, 9], 2: [4, 3, 2]}}), scored({"a": {1: [1, 5, 5]}}, **other)]
    chosen = selection(pd.concat(results), pd.concat(scores)).frame
    chosen = chosen[chosen["pool"] == "all"].set_index(["selector", "setting"])
    assert set(chosen["model"]) == {"all"} and chosen["pretrain_seed"].isna().all()
    expected = {
        ("last", ""): ([20, 0.8, 0.1, 0.0, 0], "expected value over 2"),
        ("imagenet_accuracy", ""): ([5, 0.675, 0.225, -0.125, 15], "m, s, 5; n, t, 5"),
        ("scratch", ""): ([0, 0.5, 0.4, -0.3, 20], "expected value over 2"),
        ("fixed 1", ""): ([1, 0.55, 0.35, -0.25, 19], "expected value over 2"),
        ("robustness", "c|m=0.5|pooled|from_deepest=0"): ([1, 0.5, 0.4, -0.3, 19], "n, t, 1"),
        ("robustness", "c|m=0.5|pooled|from_deepest=1"): ([1, 0.6, 0.3, -0.2, 19], "m, s, 1"),
    }
    for key, (numbers, name) in expected.items():
        assert chosen.loc[key, NUMBERS].tolist() == pytest.approx(numbers), key
        assert chosen.loc[key, "chosen"] == name
    assert chosen.loc[("robustness", "c|m=0.5|pooled|from_deepest=1"), "note"] == "score known for 3 of 6 checkpoints"


def test_setting_comes_from_the_other_data_sets() -> None:
    scores: dict[str, dict[int, list[float]]] = {
        "a": {1: [3, 1, 2], 2: [1, 2, 3]},  # level 1 is right on a, level 2 on b
        "b": {1: [1, 2, 3], 2: [3, 1, 2]},
    }
    chosen = selection(*tables(scores)).frame
    picked = chosen[(chosen["selector"] == OTHERS) & (chosen["pool"] == "within_run")].set_index("dataset")
    assert picked.loc["a", "setting"].endswith("level=2") and picked.loc["b", "setting"].endswith("level=1")
    assert picked["dice"].tolist() == pytest.approx([0.6, 0.6])
    picked = chosen[(chosen["selector"] == OTHERS) & (chosen["pool"] == "all")].set_index("dataset")
    assert picked["setting"].tolist() == ["c|m=0.5|pooled|from_deepest=0", "c|m=0.5|pooled|from_deepest=1"]


def test_summary_averages_within_a_run_before_it_counts_runs(tmp_path: Path) -> None:
    downstream, robustness = write_run(tmp_path, schemes=("simple", "advanced"))
    choices = selection(read_downstream(downstream), read_scores(robustness))
    table, chosen = summary(choices), choices.frame[choices.frame["pool"] == "within_run"]
    within = table[table["pool"] == "within_run"].set_index(["selector", "setting"])
    row, part = within.loc[("fixed 1", "")], chosen[chosen["selector"] == "fixed 1"]
    means = []
    for encoder, scheme in [("unet", "simple"), ("unet", "advanced"), ("swin", "simple"), ("swin", "advanced")]:
        means.append(part.loc[(part["encoder"] == encoder) & (part["scheme"] == scheme), "diff_to_last"].mean())
    low, high = stats.t.interval(0.95, 3, np.mean(means), stats.sem(means))
    assert row["k"] == 4 and row["diff_to_last"] == pytest.approx(np.mean(means))
    assert [row["diff_low"], row["diff_high"]] == pytest.approx([low, high])
    assert row["worst"] == part["diff_to_last"].min() and row["chosen_epochs"] == 1
    assert (OTHERS, "") in within.index
    pooled = table[table["pool"] == "all"]
    assert pooled[["k", "diff_low", "diff_high"]].isna().all().all() and pooled["seeds_low"].notna().all()
    assert (pooled["note"] == "no t interval: one set of checkpoints").all()


def test_seeds_only_interval_by_hand() -> None:
    """Two schemes share one random initialisation; SD pooled over the lengths, Satterthwaite over the cells."""
    first = ([0.1, 0.3], [0.60, 0.62], [0.80, 0.80], [0.70, 0.74])
    second = ([np.nan] * 2, [0.50, 0.51], [0.60, 0.62], [0.80, 0.80])
    results = pd.concat([measured(["a"], first), measured(["a"], second, scheme="t")])
    scores = pd.concat([scored({"a": {1: [1, 2, 3]}}, scheme=scheme) for scheme in "st"])
    table = summary(selection(results, scores)).set_index(["selector", "pool"])
    s, t, random = (0.0002 + 0 + 0.0008) / 3, (0.00005 + 0.0002 + 0) / 3, 0.02
    cells = [(s / 2 + s / 2) / 4, (t / 2 + t / 2) / 4]  # length 1 minus 20, two seeds each; mean of two runs
    half = stats.t.ppf(0.975, sum(cells) ** 2 / sum(v**2 / 3 for v in cells)) * np.sqrt(sum(cells))
    row = table.loc[("fixed 1", "within_run")]
    assert [row["seeds_low"], row["seeds_high"]] == pytest.approx(
        [row["diff_to_last"] - half, row["diff_to_last"] + half]
    )
    cells = [s / 2 / 4, t / 2 / 4, random / 2]  # the same random networks stand against both last lengths
    df = sum(cells) ** 2 / (cells[0] ** 2 / 3 + cells[1] ** 2 / 3 + cells[2] ** 2)
    half = stats.t.ppf(0.975, df) * np.sqrt(sum(cells))
    for pool in ("within_run", "all"):
        row = table.loc[("scratch", pool)]
        assert row["diff_to_last"] == pytest.approx(0.2 - (0.72 + 0.8) / 2)
        assert row["seeds_high"] - row["diff_to_last"] == pytest.approx(half)
    two = summary(selection(measured(["a", "b"], first), scored({"a": {1: [1, 2, 3]}, "b": {1: [1, 2, 3]}})))
    row = two.set_index(["selector", "pool"]).loc[("fixed 1", "within_run")]
    half = stats.t.ppf(0.975, 3 + 3) * np.sqrt(s / 2)  # mean of two like cells of one run, s / 2 + s / 2 each
    assert row["seeds_high"] - row["diff_to_last"] == pytest.approx(half)


def test_other_analyst_choices_on_a_known_table() -> None:
    """The lowest score is tied between 5 (0.8) and 20 (0.7) in the one setting that e has."""
    table = sensitivity(*tables({"a": {1: [2, 1, 1]}, "b": {1: [2, 1, 1]}}))
    assert table.groupby("ties")["diff_to_last"].agg(["min", "max"]).to_numpy().tolist() == [
        pytest.approx([0.05, 0.05]),
        pytest.approx([0.0, 0.0]),
        pytest.approx([0.1, 0.1]),
    ]
    assert len(table) == 3 * 5
    assert table.iloc[0][["ties", "scope"]].tolist() == ["average", "within the encoder"]


def test_range_of_analyst_choices_spans_them_all(tmp_path: Path) -> None:
    write_selection(*write_run(tmp_path, schemes=("simple", "advanced")), tmp_path / "s.csv", tmp_path / "m.csv")
    table = read_table(tmp_path / "m.csv").set_index("selector")
    choices, ends = table.loc[ANALYST, "diff_to_last"], table.loc[RANGE]
    assert ends["diff_to_last"].tolist() == [choices.min(), choices.max()] and len(choices) == 15
    assert ends["setting"].str.split().str[0].tolist() == ["lowest", "highest"]
    default = table[table["pool"] == "within_run"].loc[OTHERS, "diff_to_last"]
    assert choices.iloc[0] == pytest.approx(default)


def test_one_run_has_no_interval_and_says_so() -> None:
    table = summary(selection(*tables({"a": {1: [3, 1, 2]}})))
    within = table[table["pool"] == "within_run"].set_index("selector")
    assert within["diff_low"].isna().all()
    assert (
        within.loc["fixed 1", "note"]
        == "no t interval: one pretraining run; no interval over seeds: a cell has one seed"
    )
    assert within.loc["oracle", "note"] == "not known in any cell: see selection.csv"
    assert OTHERS not in set(table["selector"])
    assert np.isnan(t_interval(np.array([0.1]))).all()


SHAPES = [
    {"seeds": 1},
    {"lengths": (8,)},
    {"lengths": (0, 8), "targets": ("ACDC",), "encoders": ("my-vit",)},
    {"lengths": (2, 8), "pretrain_seeds": 2, "schemes": ("simple", "mine")},
    {"targets": ("ACDC",), "freezings": (True,), "seeds": 2},
]


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_runs_of_every_shape_get_numbers_or_a_reason(tmp_path: Path, shape: dict[str, Any]) -> None:
    write_selection(*write_run(tmp_path, **shape), tmp_path / "s.csv", tmp_path / "m.csv")
    chosen, means = read_table(tmp_path / "s.csv"), read_table(tmp_path / "m.csv")
    assert list(chosen) == COLUMNS and list(means) == SUMMARY
    assert chosen.loc[chosen["dice"].isna(), "note"].notna().all()
    empty = means[["diff_to_last", "diff_low", "seeds_low"]].isna().any(axis=1)
    assert means.loc[empty, "note"].notna().all()
    assert means.loc[means["selector"] == "last", "diff_to_last"].eq(0).all()


def test_scores_or_accuracy_missing_somewhere(tmp_path: Path) -> None:
    downstream, robustness = write_run(tmp_path, freezings=(False,))
    table = pd.read_csv(robustness)
    gone = (table["level"] == 2) & (table["pretraining_length"] == 2) | (table["encoder"] == "swin") & (
        table["level"] == 3
    )
    table[~gone].to_csv(robustness, index=False)
    results = read_downstream(downstream).assign(accuracy=np.nan)
    chosen = selection(results, read_scores(robustness)).frame
    within = chosen[(chosen["pool"] == "within_run") & (chosen["selector"] == "robustness")]
    level = within["setting"].str[-1]
    notes = within.loc[level == "2", "note"].str.split("; ").str[-1]
    assert set(notes) == {"score known for 2 of 3 checkpoints"}
    assert set(within.loc[level == "3", "encoder"]) == {"unet"}
    accuracy = chosen[chosen["selector"] == "imagenet_accuracy"]
    assert accuracy["dice"].isna().all() and (accuracy["note"] == "no accuracy in this run").all()


@pytest.fixture(scope="module")
def chosen_and_means(published_tables: dict[str, Path]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """selection.csv and selection_summary.csv of the released data."""
    chosen, means = published_tables["selection"], published_tables["selection_summary"]
    assert "biased upward" in head_of(chosen) and "seeds_low, seeds_high" in head_of(means)
    return read_table(chosen), read_table(means)


@pytest.mark.slow
def test_published_means_equal_a_plain_loop(
    reference: Path, chosen_and_means: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    chosen, means = chosen_and_means
    means = means[means["pool"] == "within_run"].set_index("selector")
    assert (chosen["regret"] >= -1e-12)[chosen["selector"] != "scratch"].all()
    assert means.loc[OTHERS, "k"] == 6 and means.loc["fixed 200", "epochs_saved"] == 100
    tidy = read_downstream(reference / "published" / "downstream_scores.csv")
    mean = tidy.groupby(["dataset", "model", "freeze", "scheme", "epochs"])["dice"].mean().unstack()
    difference = (mean[200] - mean[300]).groupby(["model", "scheme"]).mean()
    assert means.loc["fixed 200", "diff_to_last"] == pytest.approx(difference.mean())
    low, high = stats.t.interval(0.95, 5, difference.mean(), stats.sem(difference))
    assert [means.loc["fixed 200", "diff_low"], means.loc["fixed 200", "diff_high"]] == pytest.approx([low, high])
    oracle = chosen[(chosen["selector"] == "oracle") & (chosen["pool"] == "within_run")]
    both = oracle.merge(honest_gains(tidy), on=["dataset", "model", "freeze", "scheme"])
    assert len(both) == 36 and np.allclose(both["diff_to_last"], both["honest_gain"])
    assert means.loc["oracle", "diff_to_last"] == pytest.approx(0.00349, abs=5e-6)


@pytest.mark.slow
def test_published_stopping_by_the_score(chosen_and_means: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    chosen, means = chosen_and_means
    within = means[means["pool"] == "within_run"].set_index("selector")
    assert ((chosen["selector"] == OTHERS) & (chosen["pool"] == "within_run")).sum() == 36
    row = within.loc[OTHERS, ["diff_to_last", "diff_low", "diff_high"]].astype(float).round(4)
    assert row.tolist() == [-0.0049, -0.0087, -0.0012] and round(within.loc[OTHERS, "epochs_saved"]) == 89
    assert within.loc[OTHERS, "worst"] == pytest.approx(-0.0536, abs=5e-5)
    ends = within.loc[RANGE]
    assert ends["diff_to_last"].round(4).tolist() == [-0.0181, -0.0015]
    assert "across all encoders" in ends["setting"].iloc[0] and "encoder and scheme" in ends["setting"].iloc[1]


@pytest.mark.slow
def test_published_choice_among_all_checkpoints_equals_a_plain_loop(
    reference: Path, chosen_and_means: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    pooled = chosen_and_means[0].query("pool == 'all'")
    tidy = read_downstream(reference / "published" / "downstream_scores.csv").query("epochs > 0")
    scores = read_robustness(reference / "published" / "robustness_scores.csv").query("epochs > 0")
    scores = scores.query("metric == 'l2_loss' & margin == 0.75 & pooled")
    scores = scores[scores["level"] == scores["encoder"].map({"swin": 3}).fillna(4)]  # the last level but one
    cells = list(tidy.groupby(["dataset", "freeze"]))
    assert len(cells) == 6
    for (dataset, freeze), part in cells:
        mean = part.groupby(["model", "encoder", "scheme", "epochs"], as_index=False)[["dice", "accuracy"]].mean()
        assert len(mean) == 54
        last = mean.loc[mean["epochs"] == 300, "dice"].mean()
        here = pooled[(pooled["dataset"] == dataset) & (pooled["freeze"] == freeze)].set_index(["selector", "setting"])
        accurate = here.loc[("imagenet_accuracy", np.nan)]
        assert accurate["chosen"] == "Swin U-Net, advanced, 300"
        assert accurate["diff_to_last"] == pytest.approx(mean.loc[mean["accuracy"].idxmax(), "dice"] - last)
        assert accurate["regret"] == pytest.approx(mean["dice"].max() - accurate["dice"])
        merged = mean.merge(scores[scores["dataset"] == dataset], on=["encoder", "scheme", "epochs"])
        lowest = merged[merged["score"] == merged["score"].min()]
        row = here.loc[("robustness", "l2_loss|m=0.75|pooled|from_deepest=1")]
        assert row["dice"] == pytest.approx(lowest["dice"].mean()) and len(merged) == 54
        assert row["chosen_epochs"] == pytest.approx(lowest["epochs"].mean())


def test_curves_of_one_length_thin_out_no_mean(tmp_path: Path) -> None:
    """An encoder that brings its weights (one length) changes nothing in what is said of the others."""
    inputs = write_run(tmp_path / "run")
    results, scores = read_downstream(inputs[0]), read_scores(inputs[1])
    alone = summary(selection(results, scores))
    own = {"encoder": "own", "scheme": "pretrained", "epochs": 600}
    more = [frame[(frame["encoder"] == "unet") & (frame["epochs"] == 8)].assign(**own) for frame in (results, scores)]
    both = [pd.concat([frame, extra], ignore_index=True) for frame, extra in zip((results, scores), more, strict=True)]
    both[0].loc[both[0]["encoder"] == "own", "model"] = "my network"
    together = summary(selection(*both))
    for selector in ("oracle", OTHERS, "last", "scratch"):
        rows = [t[(t["selector"] == selector) & (t["pool"] == "within_run")].iloc[0] for t in (alone, together)]
        for column in ("k", "diff_to_last", "epochs_saved"):
            assert rows[0][column] == pytest.approx(rows[1][column]), (selector, column)
    in_all = selection(*both).frame
    assert in_all.loc[in_all["pool"] == "all", "chosen"].str.contains("600").any()  # still a candidate among all
