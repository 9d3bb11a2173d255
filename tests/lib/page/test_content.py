"""What the page shows: starts in their ranks, intervals as in the tables, verdicts counted, what made the run."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.lib.tables.synthetic_run import write_run
from workflow.lib.curves.summary import write_downstream
from workflow.lib.page import content
from workflow.lib.selection import answer
from workflow.lib.tables.headed import read_table
from workflow.lib.tables.read import read_downstream

NO_SELECTORS = pd.DataFrame(columns=["selector", "pool", "k", "diff_to_last"])


def shown(folder: Path, **grid: Any) -> tuple[pd.DataFrame, dict[str, Any], pd.DataFrame]:
    """The fine-tunings of a run, its answer, and the ranking on its page."""
    downstream, _ = write_run(folder, **grid)
    results = read_downstream(downstream)
    found = answer.best_starts(results, NO_SELECTORS)
    write_downstream(downstream, folder / "downstream.csv")
    return results, found, content.ranking(read_table(folder / "downstream.csv"), found)


def test_ranking_holds_the_best_start_and_its_confidence_set(tmp_path: Path) -> None:
    _, found, ranking = shown(tmp_path, schemes=("simple", "mine"), pretrain_seeds=2)
    for target, part in ranking.groupby("Target"):
        best = found["targets"][target]
        assert part["In the confidence set"].tolist()[0] == "yes"
        assert (part["In the confidence set"] == "yes").sum() == 1 + len(best["confidence_set"]) > 1
        assert len(part) == best["starts"]
        means = part["Dice"].str.split().str[0].astype(float)
        assert means.is_monotonic_decreasing
    assert set(ranking["Pretraining seed"]) == {"0", "1"}
    assert set(ranking.loc[ranking["Length"] == "0", "Scheme"]) == {"random weights"}


def test_one_seed_says_no_confidence_set(tmp_path: Path) -> None:
    _, found, ranking = shown(tmp_path, seeds=1)
    assert set(ranking["In the confidence set"]) == {""}
    assert "Pretraining seed" not in ranking
    assert not ranking["Dice"].str.contains("[", regex=False).any()
    (one, _) = content.best_starts(found)
    assert one["near"] == [] and "cannot be said" in one["certainty"]


def test_best_starts_name_networks_and_the_numbers_of_the_answer(tmp_path: Path) -> None:
    _, found, _ = shown(tmp_path)
    for one in content.best_starts(found):
        best = found["targets"][one["target"]]
        assert one["start"].startswith(best["start"]["network"]) and one["start"].endswith("encoder")
        dice = best["dice"]
        assert one["dice"] == f"{dice['dice']:.4f} [{dice['low']:.4f}, {dice['high']:.4f}]"
        assert one["modes"]["Encoder"].tolist() == ["trainable", "frozen"]
        assert one["modes"]["Gain over random weights"].str.startswith("+").all()


def test_gains_that_no_start_has_are_no_column(tmp_path: Path) -> None:
    _, found, _ = shown(tmp_path)
    for mode in (mode for target in found["targets"].values() for mode in target["modes"].values()):
        mode["gain_over_longest"] = None
    for one in content.best_starts(found):
        assert list(one["modes"].columns)[-1] == "Gain over random weights"


def test_selectors_name_contests_and_baselines() -> None:
    table = pd.DataFrame(
        {
            "selector": ["scratch", "fixed 5", "imagenet_accuracy", "robustness"],
            "pool": ["within_run", "within_run", "all", "within_run"],
            "budget": ["whole", "whole", "whole", "half"],
            "dataset": "all",
            "diff_to_last": [-0.1, -0.02, 0.0, 0.01],
            "diff_low": [-0.2, -0.03, float("nan"), 0.005],
            "diff_high": [0.0, -0.01, float("nan"), 0.015],
            "to_fixed": float("nan"),
            "to_fixed_low": float("nan"),
            "to_fixed_high": float("nan"),
            "epochs_trained": [0, 5, 8, 4.25],
            "kendall": [float("nan"), float("nan"), 0.333, 0.5],
            "goal": [None, None, None, "supported"],
        }
    )
    shown = content.selectors(table)
    assert shown["Selector"].tolist() == ["highest ImageNet accuracy", "robustness", "fixed length 5"]
    assert shown["Choice among"].tolist() == ["all checkpoints", "first half of a run", "lengths of a run"]
    assert shown["Dice against the last"].tolist() == [
        "+0.0000",
        "+0.0100 [+0.0050, +0.0150]",
        "-0.0200 [-0.0300, -0.0100]",
    ]
    assert shown["Goal"].tolist() == ["", "supported", ""] and set(shown["Target"]) == {content.ALL_TARGETS}


def test_claims_have_their_intervals_and_are_counted() -> None:
    claims = pd.DataFrame(
        {
            "claim_id": ["C1", "C2", "U1"],
            "claim": "words",
            "estimand": ["what", "what", None],
            "estimate": [26.0, 0.0035, float("nan")],
            "ci_low": [float("nan"), 0.0008, float("nan")],
            "ci_high": [float("nan"), 0.0061, float("nan")],
            "verdict": ["inconclusive", "supported", "not testable with these data"],
            "verdict_0.0025": [None, "supported", None],
            "verdict_0.01": [None, "contradicted", None],
            "verdict_encoders": None,
        }
    )
    shown = content.judged_claims(claims)
    assert shown["Estimate"].tolist() == ["26", "0.0035 [0.0008, 0.0061]", ""]
    assert shown["In words"].tolist() == ["words\nEstimated: what"] * 2 + ["words"]
    assert (shown["over encoders"] == "").all()
    (_, counted) = content.in_short({"stopping": None}, claims)
    assert counted.endswith("3 claims of the register: 1 supported, 1 inconclusive, 1 not testable with these data.")


def test_run_card_says_what_the_files_say(tmp_path: Path) -> None:
    results, _, _ = shown(tmp_path)
    card = content.run_card("mine", results, [], None)
    assert (card["Run"], card["Pretraining runs"], card["Lengths"]) == ("mine", "2", "0, 1, 2, 8")
    assert card["Fine-tunings"] == f"{len(results)}" and "Protocol" not in card and "Device" not in card
    assert "do not say" in card["How it was made"]
    versions = {"torch": "2", "numpy": "1"}
    runs = [
        {"image_size": 64, "computed_in": "float32", "device": "GPU", "seconds": 1800.0, "protocol": {"a": "b"}}
        | {"versions": versions, "written": f"2026-01-0{day}T10:00:00+0000"}
        for day in (2, 1)
    ]
    card = content.run_card("mine", results, [{"runs": runs}], "sound")
    assert card["Protocol"] == "sound" and "How it was made" not in card and card["Versions"] == "torch 2, numpy 1"
    assert card["Time of fine-tuning"].startswith("1.0 hours") and card["Made"] == "2026-01-01 to 2026-01-02"
    deposited = {"protocol": "sound", "config": ["a.yaml", "b.yaml"], "written": ["2026-01-01T", "2026-01-01T"]}
    card = content.run_card("theirs", results, [deposited], None)
    assert (card["Protocol"], card["Configuration"], card["Made"]) == ("sound", "a.yaml, b.yaml", "2026-01-01")


@pytest.mark.parametrize(("value", "text"), [(5.0, "5"), (0.25, "0.2500"), (float("nan"), "")])
def test_numbers(value: float, text: str) -> None:
    assert content._number(value) == text


def test_decided_claims_are_said_with_their_estimates() -> None:
    verdicts = ["inconclusive", "contradicted", "supported", "not testable with these data"]
    claims = pd.DataFrame({"claim": ["A helps.", "B helps.", "C does not.", "D helps."], "verdict": verdicts})
    found = content.decided(claims.assign(estimate=[0.01, -0.02, -0.03, float("nan")], ci_low=-0.04, ci_high=-0.001))
    assert found == [
        "Of 4 claims, 1 supported, 1 contradicted, 1 not testable with this run (why: note in transfer_claims.csv); the others "
        "stay open.",
        "Supported: C does not. Estimate -0.0300 [-0.0400, -0.0010] Dice.",
        "Contradicted: B helps. Estimate -0.0200 [-0.0400, -0.0010] Dice.",
    ]
