"""The answer in words: right start, honest doubt, readable for every shape of run."""

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from scipy import stats

from tests.lib.curves.test_summary import results
from tests.lib.tables.synthetic_run import write_run
from workflow.lib.curves.summary import summarise
from workflow.lib.job.run import read_json
from workflow.lib.selection.answer import (
    about_stopping,
    answer_text,
    best_start,
    best_starts,
    with_spread,
    write_answer,
)
from workflow.lib.selection.summary import write_selection

TWO_WAYS = [([0.9, 0.91], [0.7, 0.71]), ([0.2, 0.21], [0.85, 0.86])]  # trainable, frozen: random weights, 5 epochs


def answer_of(folder: Path, **grid: Any) -> tuple[dict[str, Any], str]:
    tables = write_run(folder, **grid)
    write_selection(*tables, folder / "selection.csv", folder / "means.csv")
    write_answer(tables[0], folder / "means.csv", folder / "answer.json", folder / "answer.txt")
    return read_json(folder / "answer.json"), (folder / "answer.txt").read_text()


def test_best_start_and_its_intervals_by_hand() -> None:
    dice = {
        ("simple", 0): [0.50, 0.54],
        ("simple", 5): [0.80, 0.82],
        ("simple", 9): [0.80, 0.83],
        ("mine", 5): [0.60, 0.62],
    }
    found = best_start(with_spread(summarise(results(dice))))
    assert (found["start"]["scheme"], found["start"]["epochs"], found["starts"]) == ("simple", 9, 4)
    # No more unlike than by chance: pooled, 4 df; mean of 2 seeds.
    variance = (0.0008 + 0.0002 + 0.00045 + 0.0002) / 4 / 2
    half = stats.t.ppf(1 - 0.025 / 4, 4) * math.sqrt(variance)
    assert found["dice"]["dice"] == pytest.approx(0.815)
    assert found["dice"]["high"] - 0.815 == pytest.approx(half)
    assert found["gain_over_random"]["dice"] == pytest.approx(0.295)
    assert [start["label"] for start in found["confidence_set"]] == [
        "m, simple pretraining, 5 epochs, trainable encoder"
    ]


def test_the_headline_is_the_best_start_and_mode_not_the_best_average(tmp_path: Path) -> None:
    trainable, frozen = (results({("simple", 0): a, ("simple", 5): b}) for a, b in TWO_WAYS)
    both = pd.concat([trainable.assign(freeze=False), frozen.assign(freeze=True)])
    content = best_starts(both, pd.DataFrame(columns=["selector", "pool", "k", "diff_to_last"]))
    [found] = content["targets"].values()
    assert found["start"]["scheme"] == "random" and found["start"]["mode"] == "trainable" and found["starts"] == 4
    assert found["modes"]["frozen"]["start"]["epochs"] == 5 and found["modes"]["frozen"]["starts"] == 2
    assert "start from m with random initialisation, trainable encoder: Dice 0.9" in answer_text(content)


def test_random_initialisation_can_be_the_best() -> None:
    found = best_start(with_spread(summarise(results({("simple", 0): [0.9, 0.91], ("simple", 5): [0.5, 0.51]}))))
    assert found["start"]["scheme"] == "random" and found["gain_over_random"] is None
    assert found["start"]["label"] == "m with random initialisation, trainable encoder"


def test_text_of_a_small_run(tmp_path: Path) -> None:
    content, text = answer_of(tmp_path)
    assert set(content["targets"]) == {"ACDC", "my-xrays"}
    assert "ACDC: start from" in text and "8 epochs" in text and "3 seeds" in text
    assert "fine-tuning seeds only" in text and "the last one (2 pretraining runs): it saves no epochs" in text
    assert "trainable encoder: Dice" in text and "frozen encoder: Dice" in text
    assert content["stopping"]["pool"] == "within_run" and type(content["stopping"]["k"]) is int


def test_a_score_that_saves_epochs_or_none() -> None:
    row = {"epochs_saved": 3.0, "k": 2, "diff_to_last": 0.01, "diff_low": -0.01, "diff_high": 0.03}
    text = about_stopping(row)
    assert "+0.0100 [-0.0100, +0.0300] on average against the last checkpoint, and lies 3 epochs before it" in text
    assert "0.0" not in about_stopping(row | {"epochs_saved": 0.0, "diff_to_last": 0.0})


def test_one_seed_one_target_gives_an_answer_without_intervals(tmp_path: Path) -> None:
    content, text = answer_of(tmp_path, seeds=1, targets=("ACDC",), encoders=("unet",), lengths=(0, 4))
    assert content["targets"]["ACDC"]["dice"]["low"] is None and content["stopping"] is None
    assert "one seed each" in text and "needs scores on two data sets" in text and "[" not in text


def test_run_without_length_0_and_with_several_pretraining_seeds(tmp_path: Path) -> None:
    content, text = answer_of(tmp_path, lengths=(2, 8), pretrain_seeds=2)
    assert content["targets"]["ACDC"]["gain_over_random"] is None
    assert "(pretraining seed" in text and "random initialisation" not in text


def test_networks_that_hardly_learnt_are_named_and_dice_stays_in_its_range(tmp_path: Path) -> None:
    dice = {("simple", 0): [0.0, 0.05], ("simple", 5): [0.01, 0.19]}
    content = best_starts(
        results(dice), pd.DataFrame(columns=["selector", "pool", "k", "diff_to_last"]), ["Generated."]
    )
    first, second = content["warnings"]
    assert first == "Generated." and "the best Dice is below 0.2" in second
    [found] = content["targets"].values()
    assert found["dice"]["low"] == 0 and found["gain_over_random"]["low"] < 0
    assert answer_text(content).strip().split("\n\n")[-1] == f"{first} {second}"
    learnt = best_starts(
        results({("simple", 5): [0.6, 0.7]}), pd.DataFrame(columns=["selector", "pool", "k", "diff_to_last"])
    )
    assert learnt["warnings"] == []
