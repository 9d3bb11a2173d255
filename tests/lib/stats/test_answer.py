"""The answer in words: right start, honest doubt, readable for every shape of run."""

import math
from pathlib import Path

import pytest
from scipy import stats

from tests.lib.stats.synthetic_run import write_run
from tests.lib.stats.test_summary import results
from workflow.lib.run import read_json
from workflow.lib.stats.answer import best_start, write_answer
from workflow.lib.stats.selection import write_selection
from workflow.lib.stats.summary import summarise


def answer_of(folder: Path, **grid) -> tuple[dict, str]:
    tables = write_run(folder, **grid)
    write_selection(*tables, folder / "selection.csv", folder / "means.csv")
    write_answer(tables[0], folder / "means.csv", folder / "answer.json", folder / "answer.txt")
    return read_json(folder / "answer.json"), (folder / "answer.txt").read_text()


def test_best_start_and_its_intervals_by_hand():
    dice = {
        ("simple", 0): [0.50, 0.54],
        ("simple", 5): [0.80, 0.82],
        ("simple", 9): [0.80, 0.81],
        ("mine", 5): [0.6, 0.6],
    }
    found = best_start(summarise(results(dice)))
    assert (found["start"]["scheme"], found["start"]["epochs"], found["starts"]) == ("simple", 5, 4)
    variance = (0.0002 + 0.00005) / 2 / 2  # pooled over lengths 5 and 9 (2 df), mean of 2 seeds
    half = stats.t.ppf(1 - 0.025 / 4, 2) * math.sqrt(variance)
    assert found["dice"]["dice"] == pytest.approx(0.81)
    assert found["dice"]["high"] - 0.81 == pytest.approx(half)
    assert found["gain_over_longest"]["dice"] == pytest.approx(0.005)
    assert found["gain_over_random"]["dice"] == pytest.approx(0.29)
    assert [start["label"] for start in found["not_told_apart"]] == ["e, simple pretraining, 9 epochs"]


def test_random_initialisation_can_be_the_best():
    found = best_start(summarise(results({("simple", 0): [0.9, 0.91], ("simple", 5): [0.5, 0.51]})))
    assert found["start"]["scheme"] == "random" and found["gain_over_random"] is None
    assert found["start"]["label"] == "e with random initialisation"


def test_text_of_a_small_run(tmp_path: Path):
    content, text = answer_of(tmp_path)
    assert set(content["targets"]) == {"ACDC", "my-xrays"}
    assert "ACDC: the best start is" in text and "8 epochs" in text and "3 seeds" in text
    assert "fine-tuning seeds only" in text and "mean over 2 pretraining runs" in text
    assert "average of tuned and frozen encoder" in text
    assert content["stopping"]["pool"] == "within_run" and type(content["stopping"]["k"]) is int
    shown = f"{content['stopping']['diff_low']:+.4f}, {content['stopping']['diff_high']:+.4f}"
    assert f"[{shown}] on average against the last checkpoint" in text


def test_one_seed_one_target_gives_an_answer_without_intervals(tmp_path: Path):
    content, text = answer_of(tmp_path, seeds=1, targets=("ACDC",), encoders=("unet",), lengths=(0, 4))
    assert content["targets"]["ACDC"]["dice"]["low"] is None and content["stopping"] is None
    assert "no spread between seeds" in text and "needs scores on two data sets" in text and "[" not in text


def test_run_without_length_0_and_with_several_pretraining_seeds(tmp_path: Path):
    content, text = answer_of(tmp_path, lengths=(2, 8), pretrain_seeds=2)
    assert content["targets"]["ACDC"]["gain_over_random"] is None
    assert "(pretraining seed" in text and "random initialisation" not in text
