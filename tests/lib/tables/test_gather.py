"""The run's tables are made of whole files only: one that was cut off is named, and no table is written."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from workflow.lib.job.run import UserError, write_json
from workflow.lib.tables.gather import gather_tables, with_random_means

NAMES = {"target": "T", "encoder": "unet", "scheme": "simple", "pretrain_seed": 1}


@pytest.fixture
def run(tmp_path: Path) -> dict[str, Any]:
    """A fine-tuning of two seeds and the scores of three checkpoints, 6 rows each, in the file of their pretraining."""
    tables = []
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
        tables.append(pd.DataFrame(rows))
    scores, jobs = tmp_path / "T/unet/simple/seed1.csv", []
    scores.parent.mkdir(parents=True)
    pd.concat(tables).to_csv(scores, index=False)
    cases = pd.DataFrame({"case": ["a", "a", "b", "c"], "class": ["x", "y", "x", "x"], "dice": [0.2, 0.4, 0.5, None]})
    for epochs in (1, 2, 5):
        names = [NAMES | {"freeze": "trainable", "epochs": str(epochs), "seed": str(seed)} for seed in (0, 1)]
        runs = [{"names": n, "metrics": {"dice index": 0.5}, "pretraining": {"accuracy": 0.4}} for n in names]
        job = tmp_path / f"epoch{epochs}-seeds0-1"
        job.mkdir()
        write_json(job / "card.json", {"runs": runs})
        pd.concat([cases.assign(seed=0), cases.assign(seed=1, dice=0.9)]).to_csv(job / "cases.csv", index=False)
        jobs.append(str(job / "card.json"))
    pd.DataFrame({"case": list("abc"), "group": ["p1", "p1", "p2"]}).to_csv(tmp_path / "items.csv", index=False)
    return {
        "cards": jobs,
        "scores": [str(scores)],
        "downstream": tmp_path / "downstream_scores.csv",
        "robustness": tmp_path / "robustness_scores.csv",
        "transferability": tmp_path / "transferability_scores.csv",
        "patients": tmp_path / "patient_scores.csv.gz",
        "items": {"T": tmp_path / "items.csv"},
        "schemes": {"unet": ["simple"]},
        "networks": {"unet": "basic U-Net"},
        "score": "robustness_sound",
        "seeds": [0],
    }


def test_whole_files_become_tables(run: dict[str, Any]) -> None:
    gather_tables(**run)
    assert len(pd.read_csv(run["robustness"])) == 9 and len(pd.read_csv(run["downstream"])) == 3
    scores = pd.read_csv(run["transferability"])
    assert len(scores) == 18 and set(scores["score"]) == {"robustness", "robustness_sound"}
    assert scores[["metric", "margin", "pooled", "level"]].iloc[0].tolist() == ["l2_loss", 0.25, True, 1] and set(
        scores["better"]
    ) == {"lower"}
    patients = pd.read_csv(run["patients"])
    assert patients[["patient", "dice index"]].to_numpy().tolist() == [["p1", pytest.approx(0.4)]] * 3
    keys = patients[["dataset", "encoder", "pretraining length", "seed"]].to_numpy().tolist()
    assert keys == [["T", "unet", epochs, 0] for epochs in (1, 2, 5)], "seed 1 is not asked for"


def test_seeds_of_several_jobs_count_once_and_scores_of_other_lengths_not_at_all(
    run: dict[str, Any], tmp_path: Path
) -> None:
    later = tmp_path / "epoch1-seeds1-2"
    shutil.copytree(tmp_path / "epoch1-seeds0-1", later)
    gather_tables(**run | {"cards": [*run["cards"][:1], str(later / "card.json")], "seeds": [0, 1]})
    assert pd.read_csv(run["downstream"])["seed"].tolist() == [0, 1]
    assert set(pd.read_csv(run["robustness"])["pretraining_length"]) == {1}


def test_a_checkpoint_without_scores_is_named(run: dict[str, Any]) -> None:
    path = Path(run["scores"][0])
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-6]))
    with pytest.raises(UserError, match="incomplete score file") as error:
        gather_tables(**run)
    assert "no rows of T unet simple 1 5" in str(error.value) and f"rm '{path}'" in str(error.value)


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (lambda text: "".join(text.splitlines(keepends=True)[:-3]), "3 rows"),
        (lambda text: text.rpartition("T,")[0], "5 rows"),
        (lambda text: text[:-3], "the last line has no end"),
        (lambda text: text.partition("\n")[0] + "\n", "no rows"),
        (lambda text: "", "no end"),
        (lambda text: text.replace("target", "t"), "columns t, encoder"),
        (lambda text: text + '"', "EOF inside string"),
    ],
    ids=["a whole score lost", "the last line lost", "cut in a line", "head alone", "empty", "head flipped", "a quote"],
)
def test_a_damaged_score_file_is_named(run: dict[str, Any], damage: Callable[[str], str], found: str) -> None:
    path = Path(run["scores"][0])
    path.write_text(damage(path.read_text()))
    if found.startswith("EOF"):
        path.write_text(path.read_text() + "\n")
    with pytest.raises(UserError) as error:
        gather_tables(**run)
    assert found in str(error.value) and f"'{path}', then run the same command again" in str(error.value)
    assert not run["downstream"].exists() and not run["robustness"].exists()


def test_a_vanished_or_cut_card_is_named(run: dict[str, Any]) -> None:
    card = Path(run["cards"][0])
    for damage in (lambda: card.write_text(card.read_text()[:-9]), card.unlink):
        damage()
        with pytest.raises(UserError, match="unreadable JSON file") as error:
            gather_tables(**run)
        assert str(card) in str(error.value)
    assert not run["downstream"].exists()


def test_random_encoders_of_which_one_has_no_score_are_one_row() -> None:
    row = {
        "target": "T",
        "encoder": "unet",
        "scheme": "random",
        "epochs": 0,
        "pretrain_seed": 0,
        "score": "knn",
        "draws": 3,
    }
    values = [(0.2, ""), (float("nan"), "not finite"), (0.4, "")]
    rows = pd.DataFrame([row | {"value": value, "warning": warning or None} for value, warning in values])
    table = with_random_means(rows, ["score"], {"unet": ["simple"]})
    assert table["value"].tolist() == pytest.approx([0.3]) and table["warning"].tolist() == ["not finite"]
