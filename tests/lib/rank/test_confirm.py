"""Confirming a ranking: folds over patients, and when it held."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from workflow.lib.data.prepared import load_prepared
from workflow.lib.job.run import UserError
from workflow.lib.rank.candidates import to_confirm
from workflow.lib.rank.confirm import confirm, confirm_ranking, confirmation_text, write_fold
from workflow.lib.tables.patients import patients_dice, patients_of, read_cases

RANKED = [{"path": f"e{i}/pretrained/seed0/epoch9", "label": f"e{i}"} for i in range(4)]
NAMES = [{"encoder": f"e{i}", "scheme": "pretrained", "pretrain_seed": 0, "epochs": 9} for i in range(4)]
FACTS = {"target": "T", "ranked": RANKED, "default": RANKED[2]}


def prepared(folder: Path, patients: int, validation: bool) -> Path:
    rows = [
        {"item": f"c{p}{i}", "case": f"c{p}{i}", "group": f"p{p}", "part": "train", "scale": 255.0}
        for p in range(patients)
        for i in (0, 1)
    ]
    rows[0]["part"] = rows[1]["part"] = "test"
    if validation:
        rows[2]["part"] = rows[3]["part"] = "validation"
    folder.mkdir(parents=True)
    pd.DataFrame(rows).to_csv(folder / "items.csv", index=False)
    arrays = {"images": np.zeros((len(rows), 1, 4, 4), np.uint8), "masks": np.zeros((len(rows), 4, 4), np.uint8)}
    described = {name: {"shape": list(a.shape), "dtype": str(a.dtype)} for name, a in arrays.items()}
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    np.savez(folder / "truth.npz", **{str(i): mask[None] for i, mask in enumerate(arrays["masks"])})
    (folder / "card.json").write_text(json.dumps({"target": "T", "counts": {}, "arrays": described}))
    return folder


@pytest.mark.parametrize("validation", [True, False])
def test_folds_judge_every_training_patient_once_and_leave_the_test_part_out(tmp_path: Path, validation: bool) -> None:
    data, judged = prepared(tmp_path / "data", 8, validation), []
    for fold in range(3):
        output = tmp_path / f"run/fold{fold}/card.json"
        write_fold(data=data, output=output, fold=fold, folds=3, split_seed=0)
        items = load_prepared(output.parent).items
        parts = items.groupby("group")["part"].unique()
        assert all(len(part) == 1 for part in parts) and parts["p0"][0] == "left out"
        assert "validation" in set(items["part"])
        judged += items.loc[items["part"] == "test", "group"].unique().tolist()
    assert sorted(judged) == [f"p{p}" for p in range(1, 8)]


def test_too_few_patients_for_the_folds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="too few patients of T"):
        write_fold(
            data=prepared(tmp_path / "data", 4, False), output=tmp_path / "f/card.json", fold=0, folds=5, split_seed=0
        )


def test_first_and_default_are_confirmed() -> None:
    assert [c["label"] for c in to_confirm(FACTS, 1)] == ["e0", "e2"]
    assert [c["label"] for c in to_confirm(FACTS, 2)] == ["e0", "e1", "e2"]
    assert [c["label"] for c in to_confirm(FACTS, 3)] == ["e0", "e1", "e2", "e3"]


def dice_of(first: np.ndarray, default: np.ndarray) -> pd.DataFrame:
    """Dice of the first candidate and the default, of patients that take turns in five folds."""
    index = pd.MultiIndex.from_arrays([np.arange(len(first)) % 5, np.arange(len(first))])
    return pd.DataFrame({RANKED[0]["path"]: first, RANKED[2]["path"]: default}, index=index)


@pytest.mark.parametrize(
    ("gain", "spread", "verdict"), [(0.1, 0.01, "held"), (-0.1, 0.01, "did not hold"), (0.01, 0.2, "open")]
)
def test_verdict(gain: float, spread: float, verdict: str) -> None:
    rng = np.random.default_rng(0)
    patients = rng.uniform(0.3, 0.8, size=14)
    table, found = confirm(FACTS, dice_of(patients + gain + spread * rng.normal(size=14), patients))
    assert found["verdict"] == verdict and table["place"].tolist() == [1, 3]
    words = confirmation_text("T", FACTS, table, found, {})
    assert verdict in words and "e0" in words and "14 patients" in words


@pytest.mark.parametrize("patients", [30, 300])
def test_equal_candidates_are_rarely_called_different_however_many_patients(patients: int) -> None:
    rng, wrong, fold = np.random.default_rng(1), 0, np.arange(patients) % 5
    for _ in range(200):
        trainings = 0.03 * rng.normal(size=(2, 5))
        dice = trainings[:, fold] + 0.05 * rng.normal(size=(2, patients))
        wrong += confirm(FACTS, dice_of(*dice))[1]["verdict"] != "open"
    assert wrong / 200 < 0.05


def test_painting_disease_into_healthy_patients_costs(tmp_path: Path) -> None:
    data = prepared(tmp_path / "data", 9, False)
    (tmp_path / "facts.json").write_text(
        json.dumps(FACTS | {"ranked": [dict(c, **NAMES[i]) for i, c in enumerate(RANKED)]})
    )
    files = []
    for fold, patients in enumerate([(1, 2), (3, 4), (5, 6), (7, 8)]):
        for i, empty in ((0, 0.0), (2, np.nan)):  # of every second patient, nothing is to be found
            files.append(tmp_path / f"fold{fold}/trainable/e{i}/pretrained/seed0/epoch9-seeds1/cases.csv")
            files[-1].parent.mkdir(parents=True)
            rows = [(1, f"c{p}{k}", "a", 0.8 if p % 2 else empty) for p in patients for k in (0, 1)]
            pd.DataFrame(rows, columns=["seed", "case", "class", "dice"]).to_csv(files[-1], index=False)
            card = {"runs": [{"classes_lacking": ["a"] if fold < 3 else []}]}
            files[-1].with_name("card.json").write_text(json.dumps(card))
    outputs = {"table": tmp_path / "confirm.csv", "text": tmp_path / "confirm.txt"}
    items = data / "items.csv"
    confirm_ranking(facts=tmp_path / "facts.json", cases=[str(f) for f in files], items=items, **outputs)
    table = pd.read_csv(tmp_path / "confirm.csv").set_index("candidate")
    assert table["dice"].to_dict() == pytest.approx({"e0": 0.4, "e2": 0.9})
    said = (tmp_path / "confirm.txt").read_text()
    assert "did not hold" in said and "In 3 of 4 folds, no training patient shows a, which is not learnt there" in said


def test_dice_of_patients_comes_from_all_folds(tmp_path: Path) -> None:
    data = prepared(tmp_path / "data", 4, False)
    tables = []
    for fold, rows in enumerate([[("c10", "a", 0.2), ("c10", "b", 0.4), ("c11", "a", 0.9)], [("c20", "a", 0.5)]]):
        tables.append(tmp_path / f"{fold}.csv")
        pd.DataFrame(rows, columns=["case", "class", "dice"]).to_csv(tables[-1], index=False)
    found = patients_dice(pd.concat(map(read_cases, tables)), patients_of(data / "items.csv"))
    assert found.to_dict() == pytest.approx({"p1": (0.3 + 0.9) / 2, "p2": 0.5})
