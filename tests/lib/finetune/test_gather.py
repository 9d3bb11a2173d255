"""The run's tables are made of whole files only: one that was cut off is named, and no table is written."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from workflow.lib.finetune.gather import gather_tables
from workflow.lib.run import UserError, write_json

NAMES = {"target": "T", "encoder": "unet", "scheme": "simple", "pretrain_seed": 1}


@pytest.fixture
def run(tmp_path: Path) -> dict:
    """A fine-tuning and the scores of three checkpoints, 6 rows each."""
    for epochs in (1, 2, 5):
        rows = [
            {**NAMES, "epochs": epochs, "score": score, "metric": "l2_loss", "margin": 0.25, "pooled": True}
            | {
                "better": "lower",
                "sample": None,
                "seconds": 0.5,
                "level": level,
                "value": 0.125,
                "ci_low": 0.1,
                "ci_high": 0.15,
                "draws": 5,
                "warning": "cut by the jitter",
            }
            for score in ("robustness", "robustness_sound")
            for level in (1, 2, 3)
        ]
        pd.DataFrame(rows).to_csv(tmp_path / f"epoch{epochs}.csv", index=False)
    card = {"names": NAMES | {"freeze": "tuned", "epochs": "1", "seed": "0"}, "metrics": {"dice index": 0.5}}
    write_json(tmp_path / "card.json", card | {"pretraining": {"accuracy": 0.4}})
    cases = pd.DataFrame({"case": ["a", "a", "b", "c"], "class": ["x", "y", "x", "x"], "dice": [0.2, 0.4, 0.5, None]})
    cases.to_csv(tmp_path / "cases.csv", index=False)
    pd.DataFrame({"case": list("abc"), "group": ["p1", "p1", "p2"]}).to_csv(tmp_path / "items.csv", index=False)
    return {
        "cards": [str(tmp_path / "card.json")],
        "scores": [str(tmp_path / f"epoch{epochs}.csv") for epochs in (1, 2, 5)],
        "downstream": tmp_path / "downstream_scores.csv",
        "robustness": tmp_path / "robustness_scores.csv",
        "transferability": tmp_path / "transferability_scores.csv",
        "patients": tmp_path / "patient_scores.csv.gz",
        "items": {"T": tmp_path / "items.csv"},
        "schemes": {"unet": ["simple"]},
        "networks": {"unet": "basic U-Net"},
        "score": "robustness_sound",
    }


def test_whole_files_become_tables(run: dict):
    gather_tables(**run)
    assert len(pd.read_csv(run["robustness"])) == 9 and len(pd.read_csv(run["downstream"])) == 1
    scores = pd.read_csv(run["transferability"])
    assert len(scores) == 18 and set(scores["score"]) == {"robustness", "robustness_sound"}
    assert scores["setting"].iloc[0] == "l2_loss|m=0.25|pooled|level=1" and set(scores["better"]) == {"lower"}
    patients = pd.read_csv(run["patients"])
    assert patients[["patient", "dice index"]].to_numpy().tolist() == [["p1", pytest.approx(0.4)]]
    assert patients[["dataset", "encoder", "pretraining length", "seed"]].to_numpy().tolist() == [["T", "unet", 1, 0]]


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (lambda text: "".join(text.splitlines(keepends=True)[:4]), "3 rows"),
        (lambda text: text.rpartition("T,")[0], "5 rows"),
        (lambda text: text[:-3], "the last line has no end"),
        (lambda text: text.partition("\n")[0] + "\n", "no rows"),
        (lambda text: "", "no end"),
        (lambda text: text.replace("target", "t"), "columns t, encoder"),
        (lambda text: text + '"', "EOF inside string"),
    ],
    ids=["a whole score lost", "the last line lost", "cut in a line", "head alone", "empty", "head flipped", "a quote"],
)
def test_a_damaged_score_file_is_named(run: dict, damage: Callable[[str], str], found: str):
    path = Path(run["scores"][0])
    path.write_text(damage(path.read_text()))
    if found.startswith("EOF"):
        path.write_text(path.read_text() + "\n")
    with pytest.raises(UserError) as error:
        gather_tables(**run)
    assert found in str(error.value) and f"'{path}', then run the same command again" in str(error.value)
    assert not run["downstream"].exists() and not run["robustness"].exists()


def test_a_vanished_or_cut_card_is_named(run: dict):
    card = Path(run["cards"][0])
    for damage in (lambda: card.write_text(card.read_text()[:-9]), card.unlink):
        damage()
        with pytest.raises(UserError, match="unreadable JSON file") as error:
            gather_tables(**run)
        assert str(card) in str(error.value)
    assert not run["downstream"].exists()
