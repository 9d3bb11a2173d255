"""Parts are drawn by group, reproducibly, and only where the protocol asks for it."""

import re
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
    paper, sound = groups(split(tmp_path, validation="test_split")), groups(split(tmp_path))
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


def test_train_cases_that_leave_out_a_class_are_refused_with_a_number_that_keeps_it(tmp_path: Path) -> None:
    rows = [{"case": f"c{i:02}", "group": f"g{i:02}", "part": "", "labels": "0 1 2"} for i in range(20)]
    frame, options = pd.DataFrame(rows), {"classes": {"edema": 2, "tumour": 4}}
    frame.to_csv(tmp_path / "images.csv", index=False)
    training = [group for group in split_of_table(tmp_path) if group not in split_of_table(tmp_path, train_cases=3)]
    frame.loc[~frame["group"].isin(training), "labels"] = "0 1"
    frame.to_csv(tmp_path / "images.csv", index=False)
    with pytest.raises(UserError, match="train_cases of target own leaves no training case with tumour") as error:
        split_of_table(tmp_path, train_cases=3, **options)
    enough = int(re.findall(r"set train_cases: (\d+)", str(error.value))[0])
    assert enough > 3 and split_of_table(tmp_path, train_cases=enough, **options)
    with pytest.raises(UserError, match="leaves no training case"):
        split_of_table(tmp_path, train_cases=enough - 1, **options)


def split_of_table(tmp_path: Path, **options: Any) -> list[str]:
    """The training groups of the split of images.csv."""
    limits: dict[str, Any] = {
        "validation": "test_split",
        "split_seed": 0,
        "test_fraction": 0.2,
        "validation_fraction": 0.2,
    }
    split_target(cases=tmp_path / "images.csv", split=tmp_path / "split.csv", target="own", **limits, **options)
    table = pd.read_csv(tmp_path / "split.csv")
    return list(table.loc[table["part"] == "train", "group"])


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
        "validation": "test_split",
        "split_seed": 0,
        "test_fraction": 0.2,
        "validation_fraction": 0.25,
    }
    with pytest.raises(UserError, match="test split of target own has no foreground") as error:
        split_target(cases=tmp_path / "images.csv", split=tmp_path / "split.csv", target="own", **options)
    assert "2 empty masks" in str(error.value) and "data.split_seed" in str(error.value)
    assert not (tmp_path / "split.csv").exists()


def split_with_rare_classes(tmp_path: Path, carriers: list[set[int]], seed: int, groups: int = 10) -> pd.DataFrame:
    """The split of `groups` patients of one case each, all with class 1; carriers: patients with class 2, 3, ..."""
    rows = []
    for i in range(groups):
        rare = [str(label) for label, some in enumerate(carriers, 2) if i in some]
        rows.append({"case": f"c{i}", "group": f"g{i}", "part": "", "labels": " ".join(["0", "1", *rare])})
    pd.DataFrame(rows).to_csv(tmp_path / "images.csv", index=False)
    options: dict[str, Any] = {
        "validation": "held_out",
        "split_seed": seed,
        "test_fraction": 0.2,
        "validation_fraction": 0.2,
    }
    split_target(cases=tmp_path / "images.csv", split=tmp_path / "split.csv", target="own", **options)
    return pd.read_csv(tmp_path / "split.csv")


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "carriers", [[{0, 1, 2}], [{7, 8, 9}], [{1, 5, 6}, {2, 3, 4}], [{0, 1, 2}, {2, 3, 4}, {4, 5, 6}]]
)
def test_classes_that_three_patients_show_are_in_all_parts(carriers: list[set[int]], seed: int, tmp_path: Path) -> None:
    table = split_with_rare_classes(tmp_path, carriers, seed, groups=20)
    assert table["part"].value_counts().to_dict() == {"train": 13, "test": 4, "validation": 3}
    parts = {part: {int(name[1:]) for name in names} for part, names in groups(table).items()}
    assert all(some & names for some in carriers for names in parts.values())
    assert table.equals(split_with_rare_classes(tmp_path, carriers, seed, groups=20))


def test_a_split_with_all_classes_is_drawn_by_the_seed_alone(tmp_path: Path) -> None:
    common = split_with_rare_classes(tmp_path, [set(range(10))], seed=0)
    parts = {part: sorted(int(name[1:]) for name in names) for part, names in groups(common).items()}
    assert parts == {"test": [5, 7], "train": [0, 3, 4, 6, 8, 9], "validation": [1, 2]}  # as before stratification
    one_of_each = [{names[-1] for names in parts.values()}]
    assert split_with_rare_classes(tmp_path, one_of_each, seed=0).equals(common)


def test_of_two_patients_training_gets_one_and_the_test_split_the_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for seed in range(5):
        where = split_with_rare_classes(tmp_path, [{3, 4}], seed).set_index("case")["part"]
        assert {where["c3"], where["c4"]} == {"train", "test"}
    assert "no mask of the validation split shows label 2" in caplog.text and "of 2 groups" in caplog.text


def test_a_class_of_one_patient_is_for_training_and_the_other_parts_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for seed in range(5):
        assert split_with_rare_classes(tmp_path, [{4}], seed).set_index("case")["part"]["c4"] == "train"
    for part in ("test", "validation"):
        assert f"no mask of the {part} split shows label 2" in caplog.text
    assert "1 of all 10 cases show it, c4 for example, of 1 groups" in caplog.text


def test_a_training_split_without_a_class_is_refused(tmp_path: Path) -> None:
    rows = [{"case": f"c{i}", "group": f"g{i}", "part": "train", "labels": "0 1"} for i in range(6)]
    rows += [{"case": "t", "group": "t", "part": "test", "labels": "0 1 2"}]
    pd.DataFrame(rows).to_csv(tmp_path / "images.csv", index=False)
    options: dict[str, Any] = {"validation": "held_out", "split_seed": 0}
    options |= {"test_fraction": 0.2, "validation_fraction": 0.25}
    with pytest.raises(UserError, match="training split of target own lacks a class") as error:
        split_target(cases=tmp_path / "images.csv", split=tmp_path / "split.csv", target="own", **options)
    assert "no training case shows label 2; 1 of all 7 cases show it, t" in str(error.value)
    assert not (tmp_path / "split.csv").exists()
