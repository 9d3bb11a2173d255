"""Stopping rules on a table whose answers are known, and on the published run against a plain loop."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tests.lib.stats.synthetic_run import write_run
from workflow.lib.stats.selection import OTHERS, selection, summary, t_interval, write_selection
from workflow.lib.stats.tidy import read_downstream, read_robustness

KEYS = {"model": "m", "encoder": "e", "freeze": False, "scheme": "s", "pretrain_seed": 0}
LENGTHS = (0, 1, 5, 20)


def tables(scores: dict[str, dict[int, list[float]]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Dice 0.9 (random), 0.6, 0.8, 0.7 at `LENGTHS` on every target; scores[target][level] at the same lengths."""
    accuracy, dice = (0.001, 0.2, 0.5, 0.4), (0.9, 0.6, 0.8, 0.7)
    rows = [
        KEYS | {"dataset": target, "epochs": length, "seed": 0, "accuracy": accuracy[i], "dice": dice[i]}
        for target in scores
        for i, length in enumerate(LENGTHS)
    ]
    setting = {"encoder": "e", "scheme": "s", "pretrain_seed": 0, "metric": "c", "margin": 0.5, "pooled": True}
    values = [
        setting | {"dataset": target, "level": level, "epochs": length, "score": row[i]}
        for target, levels in scores.items()
        for level, row in levels.items()
        for i, length in enumerate(LENGTHS)
    ]
    return pd.DataFrame(rows), pd.DataFrame(values)


def test_every_selector_on_a_known_curve():
    chosen = selection(*tables({"a": {1: [0.0, 0.5, 0.1, 0.1], 2: [0.9, 0.2, 0.3, 0.4]}}))
    chosen = chosen.set_index(["selector", "setting"])[
        ["chosen_epochs", "dice", "regret", "diff_to_last", "epochs_saved"]
    ]
    expected = {
        ("last", ""): [20, 0.7, 0.1, 0.0, 0],
        ("random", ""): [26 / 3, 0.7, 0.1, 0.0, 34 / 3],
        ("imagenet_accuracy", ""): [5, 0.8, 0.0, 0.1, 15],
        ("fixed 1", ""): [1, 0.6, 0.2, -0.1, 19],
        ("fixed 5", ""): [5, 0.8, 0.0, 0.1, 15],
        ("fixed 20", ""): [20, 0.7, 0.1, 0.0, 0],
        ("robustness", "c|m=0.5|pooled|level=1"): [12.5, 0.75, 0.05, 0.05, 7.5],  # a tie of 5 and 20
        ("robustness", "c|m=0.5|pooled|level=2"): [1, 0.6, 0.2, -0.1, 19],
    }
    assert set(chosen.index) == set(expected)
    for key, row in expected.items():
        assert chosen.loc[key].tolist() == pytest.approx(row), key


def test_setting_comes_from_the_other_data_sets():
    scores = {
        "a": {1: [0, 3, 1, 2], 2: [0, 1, 2, 3]},  # level 1 is right on a, level 2 on b
        "b": {1: [0, 1, 2, 3], 2: [0, 3, 1, 2]},
    }
    chosen = selection(*tables(scores))
    picked = chosen[chosen["selector"] == OTHERS].set_index("dataset")
    assert picked.loc["a", "setting"].endswith("level=2") and picked.loc["b", "setting"].endswith("level=1")
    assert picked["dice"].tolist() == pytest.approx([0.6, 0.6])


def test_summary_averages_within_a_run_before_it_counts_runs(tmp_path: Path):
    downstream, robustness = write_run(tmp_path, schemes=("simple", "advanced"))
    chosen = selection(read_downstream(downstream), read_robustness(robustness))
    table = summary(chosen).set_index(["selector", "setting"])
    row, part = table.loc[("fixed 1", "")], chosen[chosen["selector"] == "fixed 1"]
    means = []
    for encoder, scheme in [("unet", "simple"), ("unet", "advanced"), ("swin", "simple"), ("swin", "advanced")]:
        means.append(part.loc[(part["encoder"] == encoder) & (part["scheme"] == scheme), "diff_to_last"].mean())
    low, high = stats.t.interval(0.95, 3, np.mean(means), stats.sem(means))
    assert row["k"] == 4 and row["diff_to_last"] == pytest.approx(np.mean(means))
    assert [row["diff_low"], row["diff_high"]] == pytest.approx([low, high])
    assert (OTHERS, "") in table.index


def test_one_run_has_no_interval_and_says_so():
    table = summary(selection(*tables({"a": {1: [0, 3, 1, 2]}})))
    assert table["diff_low"].isna().all() and (table["note"] == "no interval: one pretraining run").all()
    assert OTHERS not in set(table["selector"])
    assert np.isnan(t_interval(np.array([0.1]))).all()


def test_published_selection(reference: Path, tmp_path: Path):
    folder = reference / "published"
    tables = [folder / "downstream_scores.csv", folder / "robustness_scores.csv"]
    write_selection(*tables, tmp_path / "s.csv", tmp_path / "m.csv")
    chosen, means = pd.read_csv(tmp_path / "s.csv"), pd.read_csv(tmp_path / "m.csv").set_index("selector")
    assert (chosen["regret"] >= -1e-12).all()
    assert (chosen["selector"] == OTHERS).sum() == 36
    assert means.loc[OTHERS, "k"] == 6 and means.loc["fixed 200", "epochs_saved"] == 100
    tidy = read_downstream(tables[0])
    mean = tidy.groupby(["dataset", "model", "freeze", "scheme", "epochs"])["dice"].mean().unstack()
    difference = (mean[200] - mean[300]).groupby(["model", "scheme"]).mean()
    assert means.loc["fixed 200", "diff_to_last"] == pytest.approx(difference.mean())
    low, high = stats.t.interval(0.95, 5, difference.mean(), stats.sem(difference))
    assert [means.loc["fixed 200", "diff_low"], means.loc["fixed 200", "diff_high"]] == pytest.approx([low, high])
