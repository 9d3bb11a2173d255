"""Parts are drawn by group, reproducibly, and only where the protocol asks for it."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from workflow.lib.data.split import split_target
from workflow.lib.job.run import UserError


def split(tmp_path: Path, official: bool = False, **changes: Any) -> pd.DataFrame:
    cases = [
        {
            "case": f"p{g}_{i}",
            "group": f"p{g}",
            "part": ("test" if g >= 8 else "train") if official else "",
            "labels": "0 1",
        }
        for g in range(10)
        for i in range(1 + g % 3)
    ]
    pd.DataFrame(cases).to_csv(tmp_path / "images.csv", index=False)
    options: dict[str, Any] = {
        "validation": "held_out",
        "split_seed": 0,
        "test_fraction": 0.2,
        "validation_fraction": 0.25,
    } | changes
    split_target(cases=tmp_path / "images.csv", split=tmp_path / "split.csv", target="own", **options)
    return pd.read_csv(tmp_path / "split.csv")


def groups(table: pd.DataFrame) -> dict[str, set[str]]:
    return {str(part): set(rows["group"]) for part, rows in table.groupby("part")}


@pytest.mark.parametrize("official", [True, False])
def test_no_group_is_in_two_parts(tmp_path: Path, official: bool) -> None:
    table = split(tmp_path, official)
    parts = groups(table)
    assert {part: len(names) for part, names in parts.items()} == {"test": 2, "train": 6, "validation": 2}
    assert sum(map(len, parts.values())) == len(set.union(*parts.values())) == 10
    assert len(table) == 19


def test_the_official_test_part_stays(tmp_path: Path) -> None:
    assert groups(split(tmp_path, official=True))["test"] == {"p8", "p9"}


def test_paper_has_no_validation_part_and_the_same_test_part(tmp_path: Path) -> None:
    paper, sound = groups(split(tmp_path, validation="test_part")), groups(split(tmp_path))
    assert paper.keys() == {"train", "test"}
    assert paper["test"] == sound["test"] and paper["train"] == sound["train"] | sound["validation"]


def test_the_seed_decides(tmp_path: Path) -> None:
    first = split(tmp_path)
    assert first.equals(split(tmp_path))
    assert any(groups(split(tmp_path, split_seed=seed)) != groups(first) for seed in (1, 2, 3))


def test_train_cases_keeps_whole_groups(tmp_path: Path) -> None:
    full, limited = split(tmp_path), split(tmp_path, train_cases=5)
    for part in ("test", "validation"):
        assert groups(limited)[part] == groups(full)[part]
    training = limited[limited["part"] == "train"]
    assert 0 < len(training) <= 5 and groups(limited)["train"] < groups(full)["train"]
    for group in set(training["group"]):
        assert (training["group"] == group).sum() == (full["group"] == group).sum()


@pytest.mark.parametrize(
    ("changes", "found", "expected"),
    [
        ({"train_cases": 100}, "train_cases 100", "all training cases"),
        ({"test_fraction": 0.95}, "10 training groups", "more than 10, test fraction 0.95"),
    ],
)
def test_splits_that_cannot_be_made(tmp_path: Path, changes: dict[str, Any], found: str, expected: str) -> None:
    with pytest.raises(UserError) as error:
        split(tmp_path, **changes)
    assert found in str(error.value) and expected in str(error.value) and "config: " in str(error.value)
    assert not (tmp_path / "split.csv").exists()


def test_a_part_without_foreground_is_refused(tmp_path: Path) -> None:
    rows = [{"case": f"c{i}", "group": f"g{i}", "part": "train" if i < 6 else "test", "labels": "0"} for i in range(8)]
    for row in rows[:6]:
        row["labels"] = "0 255"
    pd.DataFrame(rows).to_csv(tmp_path / "images.csv", index=False)
    options: dict[str, Any] = {
        "validation": "test_part",
        "split_seed": 0,
        "test_fraction": 0.2,
        "validation_fraction": 0.25,
    }
    with pytest.raises(UserError, match="test split of target own has no foreground") as error:
        split_target(cases=tmp_path / "images.csv", split=tmp_path / "split.csv", target="own", **options)
    assert "2 empty masks" in str(error.value) and "data.split_seed" in str(error.value)
    assert not (tmp_path / "split.csv").exists()


def split_with_a_rare_class(tmp_path: Path, carriers: set[int], seed: int) -> pd.DataFrame:
    rows = [
        {"case": f"c{i}", "group": f"g{i}", "part": "", "labels": "0 1 2" if i in carriers else "0 1"}
        for i in range(10)
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "images.csv", index=False)
    options: dict[str, Any] = {
        "validation": "held_out",
        "split_seed": seed,
        "test_fraction": 0.2,
        "validation_fraction": 0.2,
    }
    split_target(cases=tmp_path / "images.csv", split=tmp_path / "split.csv", target="own", **options)
    return pd.read_csv(tmp_path / "split.csv")


def test_a_class_that_a_part_lacks_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    parts = {seed: split_with_a_rare_class(tmp_path, set(range(10)), seed) for seed in range(20)}
    where = {seed: table.set_index("case")["part"]["c4"] for seed, table in parts.items()}
    caplog.clear()
    seed = next(seed for seed, part in where.items() if part == "train")
    split_with_a_rare_class(tmp_path, {4}, seed)
    for part in ("test", "validation"):
        assert f"no mask of the {part} split shows label 2" in caplog.text
    assert "1 of all 10 cases show it, c4" in caplog.text
    seed = next(seed for seed, part in where.items() if part == "test")
    (tmp_path / "split.csv").unlink()
    with pytest.raises(UserError, match="training split of target own lacks a class") as error:
        split_with_a_rare_class(tmp_path, {4}, seed)
    assert "no mask with label 2 in 6 training cases; 1 of all 10 cases show it, c4" in str(error.value)
    assert not (tmp_path / "split.csv").exists()
