"""Reading a run's tables: names, duplicates, repeated blocks, and errors that say what to do."""

from pathlib import Path

import pandas as pd
import pytest

from tests.lib.stats.synthetic_run import write_run
from workflow.lib.run import UserError
from workflow.lib.stats.tidy import read_downstream, read_robustness, write_notes


def test_published_tables_are_read_with_canonical_names(reference: Path):
    notes: list = []
    results = read_downstream(reference / "published/downstream_scores.csv", notes)
    assert len(results) == 1689
    assert set(results["dataset"]) == {"ACDC", "COVID-QU", "IDRiD"}
    assert set(results["encoder"]) == {"unet", "resnet50", "swin"}
    kinds = pd.DataFrame(notes).groupby("kind")["count"].sum()
    assert kinds["exact duplicate"] == 2 and kinds["missing cell"] == 21


def test_published_length_0_that_repeats_length_300_is_found_and_left_out(reference: Path):
    notes: list = []
    scores = read_robustness(reference / "published/robustness_scores.csv", notes)
    assert len(scores) == 25200 - 1680
    assert set(scores.loc[scores["epochs"] == 0, "dataset"]) == {"COVID-QU"}
    assert set(scores["scheme"]) == {"simple", "advanced"} and set(scores["encoder"]) == {"unet", "resnet50", "swin"}
    found = {(note["kind"], note["where"]): note["count"] for note in notes}
    assert found["identical blocks", "ACDC, length 0 = length 300"] == 840
    assert found["identical blocks", "IDRiD, length 0 = length 300"] == 840
    assert sum(count for (kind, _), count in found.items() if kind == "constant score curve") == 73
    assert sum(count for (kind, _), count in found.items() if kind == "tied lowest score") == 284


def test_repeated_block_of_other_lengths_is_noted_but_kept(tmp_path: Path):
    _, robustness = write_run(tmp_path)
    table = pd.read_csv(robustness)
    mine = (table["dataset"] == "my-xrays") & (table["encoder"] == "swin")
    two = table[mine & (table["pretraining_length"] == 2)]
    table.loc[mine & (table["pretraining_length"] == 8), "robustness"] = two["robustness"].to_numpy()
    table.to_csv(robustness, index=False)
    notes: list = []
    assert len(read_robustness(robustness, notes)) == len(table)
    assert [(n["where"], n["count"]) for n in notes if n["kind"] == "identical blocks"] == [
        ("my-xrays, length 2 = length 8", len(two))
    ]


def test_nothing_is_noted_for_a_sound_run(tmp_path: Path):
    downstream, robustness = write_run(tmp_path)
    write_notes(downstream, robustness, tmp_path / "notes.csv")
    assert len(pd.read_csv(tmp_path / "notes.csv")) == 0


def test_own_columns_are_used_and_length_0_belongs_to_no_pretraining(tmp_path: Path):
    downstream, _ = write_run(tmp_path, encoders=("my-vit",), pretrain_seeds=2)
    results = read_downstream(downstream)
    assert set(results["encoder"]) == {"my-vit"}
    assert set(results.loc[results["epochs"] > 0, "pretrain_seed"]) == {0, 1}
    assert set(results.loc[results["epochs"] == 0, "pretrain_seed"]) == {0}


def test_network_name_shared_by_two_encoders_is_told_apart(tmp_path: Path):
    downstream, _ = write_run(tmp_path)
    pd.read_csv(downstream).assign(model="my U-Net").to_csv(downstream, index=False)
    assert set(read_downstream(downstream)["model"]) == {"my U-Net (unet)", "my U-Net (swin)"}


def test_trained_checkpoint_without_pretraining_seed_is_refused(tmp_path: Path):
    _, robustness = write_run(tmp_path, lengths=(0, 4))
    table = pd.read_csv(robustness)
    assert set(read_robustness(robustness)["pretrain_seed"]) == {0}
    table.assign(pretraining_seed=None).to_csv(robustness, index=False)
    with pytest.raises(UserError, match="pretraining seed out of range"):
        read_robustness(robustness)


def test_mean_dice_index_wins_where_given(tmp_path: Path):
    downstream, _ = write_run(tmp_path, seeds=1)
    table = pd.read_csv(downstream)
    table.loc[table["dataset"] == "ACDC", "mean dice index"] = 0.125
    table.to_csv(downstream, index=False)
    results = read_downstream(downstream)
    assert set(results.loc[results["dataset"] == "ACDC", "dice"]) == {0.125}
    assert 0.125 not in set(results.loc[results["dataset"] != "ACDC", "dice"])


def test_same_dice_on_every_seed_from_two_checkpoints_is_noted(tmp_path: Path):
    downstream, _ = write_run(tmp_path, targets=("ACDC",), encoders=("unet",), freezings=(False,))
    table = pd.read_csv(downstream)
    one = table.loc[table["pretraining length"] == 1, "dice index"].to_numpy()
    table.loc[table["pretraining length"] == 8, "dice index"] = one
    table.to_csv(downstream, index=False)
    notes: list = []
    read_downstream(downstream, notes)
    assert [note["kind"] for note in notes] == ["identical blocks"]
    assert "('simple', 0, 1) = ('simple', 0, 8)" in notes[0]["where"]


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("dice index", 1.2, ["Dice out of range in 1 rows", "1.2 (line 2)", "0..1"]),
        ("dice index", None, ["Dice out of range", "nan (line 2)"]),
        ("pretraining length", -1, ["length out of range", "-1 (line 2)"]),
    ],
)
def test_values_out_of_range_are_refused(tmp_path: Path, column: str, value: float, expected: list[str]):
    downstream, robustness = write_run(tmp_path)
    table = pd.read_csv(downstream)
    table.loc[0, column] = value
    table.to_csv(downstream, index=False)
    with pytest.raises(UserError) as error:
        write_notes(downstream, robustness, tmp_path / "notes.csv")
    assert all(text in str(error.value) for text in [*expected, str(downstream), "run again"])
    assert not (tmp_path / "notes.csv").exists()


def test_missing_columns_are_named(tmp_path: Path):
    downstream, robustness = write_run(tmp_path)
    pd.read_csv(downstream).drop(columns=["seed", "dice index"]).to_csv(downstream, index=False)
    with pytest.raises(UserError, match="columns are missing: seed, dice index") as error:
        read_downstream(downstream)
    assert str(downstream) in str(error.value) and "gather_tables" in str(error.value)
    pd.read_csv(robustness).drop(columns="margin").to_csv(robustness, index=False)
    with pytest.raises(UserError, match="columns are missing: margin"):
        read_robustness(robustness)


def test_rows_that_disagree_are_refused(tmp_path: Path):
    downstream, _ = write_run(tmp_path)
    table = pd.read_csv(downstream)
    pd.concat([table, table.iloc[[5]].assign(**{"dice index": 0.5})]).to_csv(downstream, index=False)
    with pytest.raises(UserError, match="two rows of the same cell disagree"):
        read_downstream(downstream)


def test_empty_and_broken_files_are_refused(tmp_path: Path):
    downstream, _ = write_run(tmp_path)
    pd.read_csv(downstream).iloc[:0].to_csv(downstream, index=False)
    with pytest.raises(UserError, match="empty table"):
        read_downstream(downstream)
    downstream.write_text("")
    with pytest.raises(UserError, match="unreadable table"):
        read_downstream(downstream)
