"""The audit: each check finds what was planted, at its place and in its number, and nothing in a sound run."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.lib.tables.synthetic_run import write_run
from workflow.lib.job.run import UserError
from workflow.lib.tables.audit import audit_downstream, audit_robustness, write_audit
from workflow.lib.tables.audit_text import COLUMNS, KINDS, REFUSED
from workflow.lib.tables.headed import head_of, read_table, write_table
from workflow.lib.tables.read import read_downstream, read_robustness

Change = Callable[[pd.DataFrame], pd.DataFrame]


def audit(folder: Path) -> tuple[pd.DataFrame, str]:
    """Findings and text about the tables in a folder."""
    paths = folder / "downstream_scores.csv", folder / "robustness_scores.csv"
    write_audit(*paths, folder / "data_quality.csv", folder / "data_quality.txt")
    return read_table(folder / "data_quality.csv"), (folder / "data_quality.txt").read_text()


def changed(path: Path, change: Change) -> None:
    change(pd.read_csv(path)).to_csv(path, index=False)


def put(column: str, row: int, value: object) -> Change:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        table = table.astype({column: object})
        table.loc[row, column] = value
        return table

    return change


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory, reference: Path) -> tuple[pd.DataFrame, str]:
    folder = tmp_path_factory.mktemp("published")
    for name in ("downstream_scores.csv", "robustness_scores.csv"):
        (folder / name).symlink_to((reference / "published" / name).resolve())
    return audit(folder)


def test_published_findings_in_exact_numbers(audited: tuple[pd.DataFrame, str]) -> None:
    table, _ = audited
    assert list(table.columns) == COLUMNS
    counts = table.groupby(["file", "kind"])["count"].sum().to_dict()
    both = "downstream_scores.csv, robustness_scores.csv"
    assert counts == {
        ("downstream_scores.csv", "exact duplicate"): 2,
        ("downstream_scores.csv", "missing cell"): 21,
        ("robustness_scores.csv", "identical blocks"): 1680,
        ("robustness_scores.csv", "constant score curve"): 73,
        ("robustness_scores.csv", "tied lowest score"): 284,
        (both, "inconsistent label"): 570 + 571 + 7753 + 9567 + 2 * 12600,
    }


def test_published_findings_at_their_places(audited: tuple[pd.DataFrame, str]) -> None:
    table = audited[0].set_index("kind")
    twice = table.loc["exact duplicate", "where"]
    assert "line 396 (ACDC, basic U-Net, trainable, advanced, length 5, seed 123127)" in twice
    assert "line 1185 (IDRiD, ResNet50 Attention U-Net, trainable, advanced, length 100, seed 123125)" in twice
    missing = table.loc["missing cell"]
    assert dict(zip(missing["where"].str.removeprefix("IDRiD, seed 123125, "), missing["count"], strict=True)) == {
        "Swin U-Net, advanced, trainable, lengths 1, 5, 20, 50, 100, 150": 6,
        "Swin U-Net, advanced, frozen, lengths 1, 5, 20, 50, 100, 150": 6,
        "Swin U-Net, simple, trainable, lengths 250, 300": 2,
        "Swin U-Net, simple, frozen, lengths 200, 250, 300": 3,
        "basic U-Net, advanced, trainable, lengths 20, 50": 2,
        "basic U-Net, advanced, frozen, lengths 20, 50": 2,
    }
    blocks = table.loc["identical blocks"]
    assert blocks["where"].tolist() == [f"{name}, length 0 = length 300 (6 blocks)" for name in ("ACDC", "IDRiD")]
    assert blocks["count"].tolist() == [840, 840] and blocks["treatment"].str.startswith("length 0 left out").all()
    assert table.loc["constant score curve", "where"] == "IDRiD, of 840 curves"
    assert table.loc["tied lowest score", "count"].tolist() == [57, 227]
    labels = table.loc["inconsistent label"]
    read = dict(zip(labels["where"], labels["treatment"], strict=True))
    assert read["data set COVIDQUDataset / COVID-QU"] == "read as COVID-QU"
    assert read["scheme simple / simple_training"] == "read as simple"
    assert read["encoder basic U-Net / u-net_encoder"] == "read as unet"


def test_published_text_gives_the_grid_the_totals_and_what_is_clean(audited: tuple[pd.DataFrame, str]) -> None:
    text = " ".join(audited[1].split())
    product = "3 networks x 3 data sets x 2 fine-tuning modes x 5 seeds x (9 lengths x 2 schemes + 1)"
    assert f"{product} = 1,710 cells: 1,689 present, 21 missing" in text
    assert "(5 + 4 + 5) levels of 3 networks x 3 data sets x 3 metrics x 5 margins x 2 poolings" in text
    assert "x (9 lengths x 2 schemes + 2) = 25,200 cells: 25,200 present, 0 missing" in text
    assert "26,891 rows read, 25,209 used, 18 findings. The statistics accept both files." in text
    assert "clean all values are possible; no two rows of a cell disagree" in text
    assert "exact duplicate: 2 rows; dropped" in text and "missing cell: 21 cells; left missing" in text
    assert max(map(len, audited[1].splitlines())) <= 120


def test_nothing_is_found_in_a_sound_run(tmp_path: Path) -> None:
    write_run(tmp_path, pretrain_seeds=2, schemes=("simple", "mine"))
    table, text = audit(tmp_path)
    assert len(table) == 0 and "found" not in text and "0 findings" in text
    assert all(clean in " ".join(text.split()) for _, clean in KINDS.values())
    words = (
        "2 networks x 2 data sets x 2 fine-tuning modes x 3 seeds x (3 lengths x 2 schemes x 2 pretraining seeds + 1)"
    )
    assert f"{words} = 312 cells: 312 present, 0 missing" in " ".join(text.split())
    head = head_of(tmp_path / "data_quality.csv")
    assert "no intervals" in head and "cells (missing cell)" in head


@pytest.mark.parametrize(
    ("file", "change", "kind", "count", "where", "treatment"),
    [
        ("downstream", put("dice index", 3, 1.2), "value out of range", 1, "Dice 1.2 (line 5) is not 0..1", REFUSED),
        ("downstream", put("dice index", 3, "?"), "value out of range", 1, "Dice ? (line 5) is not 0..1", REFUSED),
        ("downstream", put("ImageNet accuracy", 0, 70), "value out of range", 1, "ImageNet accuracy 70.0", REFUSED),
        ("robustness", put("robustness", 6, -1), "value out of range", 1, "robustness -1.0 (line 8)", REFUSED),
        ("robustness", put("robustness", 6, float("inf")), "value out of range", 1, "robustness inf (line 8)", REFUSED),
        ("robustness", put("robustness", 6, None), "undefined score", 1, "l2_loss", "left out"),
        (
            "downstream",
            lambda t: t.drop(index=[5]),
            "missing cell",
            1,
            "seed 2, basic U-Net, simple, frozen, lengths 0",
            "left",
        ),
        ("robustness", lambda t: t.drop(index=[30, 31]), "missing cell", 2, "lengths 0", "left missing"),
        ("downstream", lambda t: pd.concat([t, t.iloc[[0, 9]]]), "exact duplicate", 2, "line 98 (ACDC", "dropped"),
        ("robustness", lambda t: pd.concat([t, t.iloc[[0]]]), "exact duplicate", 1, "level 1", "dropped"),
        (
            "downstream",
            lambda t: pd.concat([t, t.iloc[[5]].assign(**{"dice index": 0.5})]),
            "conflicting rows",
            2,
            "line 7 (ACDC, basic U-Net, frozen, simple, length 0, seed 2); line 98",
            REFUSED,
        ),
        (
            "robustness",
            lambda t: pd.concat([t, t.iloc[[5]].assign(robustness=0.5)]),
            "conflicting rows",
            2,
            "line 7 (ACDC",
            REFUSED,
        ),
    ],
)
def test_planted_row_is_listed(
    tmp_path: Path, file: str, change: Change, kind: str, count: int, where: str, treatment: str
) -> None:
    path = dict(zip(("downstream", "robustness"), write_run(tmp_path), strict=True))[file]
    changed(path, change)
    table, text = audit(tmp_path)
    assert table["kind"].tolist() == [kind] and table["file"].tolist() == [path.name]
    row = table.iloc[0]
    assert row["count"] == count and where in row["where"] and row["treatment"].startswith(treatment)
    assert f"{kind}: {count} " in text
    read = read_downstream if file == "downstream" else read_robustness
    if treatment == REFUSED:  # the audit and the statistics agree on what can't be used
        assert f"THE STATISTICS REFUSE {path.name} until corrected" in text and ", 0 used" in text
        with pytest.raises(UserError):
            read(path)
    else:
        assert f", {len(read(path)):,} used" in text


def test_everything_wrong_is_seen_at_once(tmp_path: Path) -> None:
    downstream, robustness = write_run(tmp_path)
    changed(downstream, put("dice index", 3, 7))
    changed(downstream, put("pretraining length", 4, -5))
    changed(downstream, put("dataset", 5, None))
    changed(robustness, lambda t: pd.concat([t, t.iloc[[5]].assign(robustness=0.5)]))
    table, _ = audit(tmp_path)
    bad = table[table["kind"] == "value out of range"]["where"].tolist()
    assert len(bad) == 3 and all(any(name in where for where in bad) for name in ("Dice", "length -5", "dataset nan"))
    assert "conflicting rows" in set(table["kind"])
    # cells of rows that stand nowhere are missing, that of an impossible Dice is not
    assert table.loc[table["kind"] == "missing cell", "count"].sum() == 2


@pytest.mark.parametrize("column", ["dice index", "pretraining length", "dataset", "ImageNet accuracy"])
def test_file_without_any_usable_row_is_audited(tmp_path: Path, column: str) -> None:
    downstream, robustness = write_run(tmp_path)
    changed(downstream, lambda table: table.assign(**{column: -1 if column != "dataset" else None}))
    changed(robustness, lambda table: table.assign(robustness=-1))
    table, text = audit(tmp_path)
    found = table[table["kind"] == "value out of range"]
    assert {"downstream_scores.csv", "robustness_scores.csv"} == set(found["file"]) and found["count"].min() >= 96
    assert "0 used" in text


def test_unreadable_file_is_refused(tmp_path: Path) -> None:
    downstream, _ = write_run(tmp_path)
    changed(downstream, lambda table: table.drop(columns="seed"))
    with pytest.raises(UserError, match="columns are missing: seed"):
        audit(tmp_path)
    assert not (tmp_path / "data_quality.csv").exists()


def repeat(path: Path, to: Mapping[str, object], of: Mapping[str, object], value: str) -> None:
    """Rows with the labels `to` get the values of those with the labels `of`."""
    table = pd.read_csv(path)
    target, source = [(table[list(d)] == pd.Series(dict(d))).all(axis=1) for d in (to, of)]
    table.loc[target, value] = table.loc[source, value].to_numpy()
    table.to_csv(path, index=False)


def test_repeated_blocks_are_found_whatever_they_repeat(tmp_path: Path) -> None:
    downstream, robustness = write_run(tmp_path, schemes=("simple", "mine"), encoders=("unet",))
    scores = {"dataset": "my-xrays", "pretraining_scheme": "mine", "pretraining_length": 8}
    repeat(robustness, scores, scores | {"pretraining_length": 2}, "robustness")  # another length
    # Data set, length 0.
    repeat(robustness, scores | {"pretraining_length": 0}, scores | {"dataset": "ACDC"}, "robustness")
    dice = {"dataset": "ACDC", "pretraining scheme": "mine", "pretraining length": 2, "freeze encoder": True}
    repeat(downstream, dice, dice | {"pretraining scheme": "simple"}, "dice index")  # another scheme
    repeat(
        downstream,
        dice | {"pretraining length": 8},
        dice | {"pretraining length": 8, "freeze encoder": False},
        "dice index",
    )
    table, _ = audit(tmp_path)
    found = table[table["kind"] == "identical blocks"]
    kept, left_out = "kept: check the checkpoints", "length 0 left out: no measurement of random weights"
    assert sorted(found[["where", "count", "treatment"]].to_numpy().tolist()) == [
        ["ACDC, length 8 = my-xrays, length 0 (1 block)", 24, left_out],
        ["ACDC, mine = simple (1 block)", 3, kept],
        ["ACDC, trainable = frozen (1 block)", 3, kept],
        ["my-xrays, length 2 = length 8 (1 block)", 24, kept],
    ]
    # two lengths alike tie wherever they are the lowest, and nothing else is odd
    assert set(table["kind"]) <= {"identical blocks", "tied lowest score"}


def test_single_values_and_random_weights_of_several_schemes_repeat_by_nature(tmp_path: Path) -> None:
    downstream, robustness = write_run(tmp_path, schemes=("simple", "mine"), encoders=("unet",))
    zero = {"pretraining_length": 0}
    for name in ("ACDC", "my-xrays"):
        mine = zero | {"dataset": name, "pretraining_scheme": "mine"}
        repeat(robustness, mine, mine | {"pretraining_scheme": "simple"}, "robustness")
    changed(downstream, lambda t: t.assign(**{"dice index": t["dice index"].where(t["pretraining length"] != 2, 0.0)}))
    changed(downstream, put("ImageNet accuracy", 0, 0.02))  # random weights of one seed
    table, text = audit(tmp_path)
    assert len(table) == 0 and f"{len(pd.read_csv(robustness))} used" in text
    assert len(read_robustness(robustness)) == len(pd.read_csv(robustness))


def test_flat_curves_are_counted(tmp_path: Path) -> None:
    _, robustness = write_run(tmp_path)
    table = pd.read_csv(robustness)
    setting = (table["margin"] == 0.5) & (table["level"] == 2) & table["pooled"] & (table["metric"] == "l2_loss")
    mine = setting & (table["dataset"] == "ACDC")
    table.loc[mine & (table["encoder"] == "unet") & (table["pretraining_length"] > 0), "robustness"] = 0.3
    table.loc[mine & (table["encoder"] == "swin") & (table["pretraining_length"] > 1), "robustness"] = 0.001
    table.to_csv(robustness, index=False)
    found = audit(tmp_path)[0]
    assert found[["kind", "count", "where"]].to_numpy().tolist() == [
        ["constant score curve", 1, "ACDC, of 48 curves"],
        ["tied lowest score", 2, "ACDC, of 48 curves"],
    ]


@pytest.mark.parametrize(
    ("new", "kind", "where", "treatment"),
    [
        ({"dataset": {"my-xrays": "My_Xrays"}}, "inconsistent label", "data set my-xrays / My_Xrays", "read as two"),
        (
            {"dataset": {"my-xrays": "my-xrays-v2"}},
            "inconsistent label",
            "data set my-xrays / my-xrays-v2",
            "read as two",
        ),
        (
            {"encoder": {"swin": "swin_transformer"}},
            "inconsistent label",
            "encoder swin / swin_transformer",
            "read as swin",
        ),
        (
            {"pretraining_scheme": {"simple": "simple_training"}},
            "inconsistent label",
            "scheme simple / simple_training",
            "read as simple",
        ),
        ({"dataset": {"my-xrays": "fundus"}}, "label in one file only", "data set fundus", "left out"),
        ({"pretraining_length": {8: 16}}, "label in one file only", "length 16", "left out"),
    ],
)
def test_labels_of_the_two_files_are_compared(
    tmp_path: Path, new: dict[str, Any], kind: str, where: str, treatment: str
) -> None:
    _, robustness = write_run(tmp_path)
    changed(robustness, lambda table: table.replace(new))
    found = audit(tmp_path)[0].query("kind == @kind").set_index("where")
    assert found.loc[where, "treatment"].startswith(treatment) and found.loc[where, "count"] > 0


def test_mixed_spelling_within_a_file_and_names_that_only_begin_alike(tmp_path: Path) -> None:
    downstream, robustness = write_run(tmp_path, targets=("ACDC", "ACDC-small"))
    assert len(audit(tmp_path)[0]) == 0  # both files hold both: two data sets
    changed(downstream, put("pretraining scheme", 0, "simple_training"))
    found = audit(tmp_path)[0]
    assert found[["file", "kind", "count", "where", "treatment"]].to_numpy().tolist() == [
        [
            "downstream_scores.csv, robustness_scores.csv",
            "inconsistent label",
            1,
            "scheme simple_training / simple",
            "read as simple",
        ]
    ]


def test_grid_of_encoders_with_lengths_of_their_own(tmp_path: Path) -> None:
    downstream, robustness = write_run(tmp_path, encoders=("unet", "swin", "my-vit"))
    changed(downstream, lambda t: t[(t["encoder"] != "my-vit") | t["pretraining length"].isin([0, 8])])
    changed(robustness, lambda t: t[(t["encoder"] != "my-vit") | t["pretraining_length"].isin([0, 8])])
    table, text = audit(tmp_path)
    assert len(table) == 0  # weights from elsewhere: one length is all there is
    assert "10 checkpoints x 2 data sets x 2 fine-tuning modes x 3 seeds = 120 cells: 120 present, 0 missing" in text
    for path, column in ((downstream, "pretraining length"), (robustness, "pretraining_length")):
        table = pd.read_csv(path)
        table[(table["encoder"] != "swin") | (table[column] != 2)].to_csv(path, index=False)
    table, text = audit(tmp_path)
    assert table[["file", "kind", "count", "where"]].to_numpy().tolist() == [
        [file, "uneven lengths", 1, "swin, simple, pretraining seed 0, lengths 2"]
        for file in ("downstream_scores.csv", "robustness_scores.csv")
    ]


def test_length_missing_on_one_data_set_is_missing(tmp_path: Path) -> None:
    downstream, robustness = write_run(tmp_path, pretrain_seeds=2)
    lost = "dataset == 'ACDC' and encoder == 'swin' and `pretraining length` == 8 and `pretraining seed` == 1"
    changed(downstream, lambda t: t.drop(index=t.query(lost).index))
    found = audit_downstream(downstream).findings
    assert sum(one["count"] for one in found) == 6 and {one["kind"] for one in found} == {"missing cell"}
    assert found[0]["where"] == "ACDC, seed 0, Swin U-Net, simple, trainable, pretraining seed 1, lengths 8"
    assert audit_robustness(robustness).findings == []


def test_two_accuracies_of_a_checkpoint_conflict(tmp_path: Path) -> None:
    downstream, _ = write_run(tmp_path)
    changed(downstream, put("ImageNet accuracy", 20, 0.9))
    row = pd.read_csv(downstream).iloc[20]
    found = audit(tmp_path)[0]
    assert found["kind"].tolist() == ["conflicting accuracy"] and found["count"].tolist() == [1]
    assert f"length {row['pretraining length']}" in found["where"].iloc[0]


def test_long_lists_name_the_first_places_and_count_all(tmp_path: Path) -> None:
    downstream, _ = write_run(tmp_path)
    changed(downstream, lambda table: pd.concat([table, table.iloc[:25]]))
    row = audit(tmp_path)[0].iloc[0]
    assert row["count"] == 25 and row["where"].count("line") == 10 and row["where"].endswith("and 15 more places")


def test_a_mark_within_a_table_is_no_comment(tmp_path: Path) -> None:
    table = pd.DataFrame({"class": ["lesion #2", "#3"], "dice": [0.5, 0.25]})
    write_table(table, tmp_path / "t.csv", "What it says: # too.\nAnd not.")
    assert read_table(tmp_path / "t.csv").equals(table)
    assert head_of(tmp_path / "t.csv") == "What it says: # too.\nAnd not."
