"""Reading a run's tables: names, what is left out, and errors that say what to do."""

from pathlib import Path

import pandas as pd
import pytest

from tests.lib.tables.synthetic_run import write_run
from workflow.lib.job.run import UserError
from workflow.lib.tables.read import read_downstream, read_robustness


def test_published_tables_are_read_with_canonical_names(reference: Path) -> None:
    results = read_downstream(reference / "published/downstream_scores.csv")
    assert len(results) == 1689
    assert set(results["dataset"]) == {"ACDC", "COVID-QU", "IDRiD"}
    assert set(results["encoder"]) == {"unet", "resnet50", "swin"}


def test_published_length_0_that_repeats_length_300_is_left_out(reference: Path) -> None:
    scores = read_robustness(reference / "published/robustness_scores.csv")
    assert len(scores) == 25200 - 1680
    assert set(scores.loc[scores["epochs"] == 0, "dataset"]) == {"COVID-QU"}
    assert set(scores["scheme"]) == {"simple", "advanced"} and set(scores["encoder"]) == {"unet", "resnet50", "swin"}


def repeat(robustness: Path, length: int, of: int) -> pd.DataFrame:
    """Scores of one run on one data set at `length` become those at length `of`."""
    table = pd.read_csv(robustness)
    mine = (table["dataset"] == "my-xrays") & (table["encoder"] == "swin")
    block = table.loc[mine & (table["pretraining_length"] == of), "robustness"].to_numpy()
    table.loc[mine & (table["pretraining_length"] == length), "robustness"] = block
    table.to_csv(robustness, index=False)
    return table[~(mine & (table["pretraining_length"] == length))]


def test_only_a_length_0_that_repeats_a_trained_one_is_left_out(tmp_path: Path) -> None:
    _, robustness = write_run(tmp_path)
    others = repeat(robustness, 0, of=8)
    scores = read_robustness(robustness)
    assert len(scores) == len(others)
    assert set(scores.query("dataset == 'my-xrays' & encoder == 'swin'")["epochs"]) == {1, 2, 8}
    assert set(scores.query("dataset == 'ACDC' & encoder == 'swin'")["epochs"]) == {0, 1, 2, 8}
    _, robustness = write_run(tmp_path)
    repeat(robustness, 8, of=2)
    assert len(read_robustness(robustness)) == len(pd.read_csv(robustness))


def test_zeros_do_not_make_length_0_a_repetition(tmp_path: Path) -> None:
    _, robustness = write_run(tmp_path)
    table = pd.read_csv(robustness)
    table.loc[table["pretraining_length"].isin([0, 8]), "robustness"] = 0.0
    table.to_csv(robustness, index=False)
    assert len(read_robustness(robustness)) == len(table)


def test_exact_duplicates_are_dropped_and_undefined_scores_left_out(tmp_path: Path) -> None:
    downstream, robustness = write_run(tmp_path)
    for path, read in ((downstream, read_downstream), (robustness, read_robustness)):
        table = pd.read_csv(path)
        pd.concat([table, table.iloc[[3, 7]]]).to_csv(path, index=False)
        assert len(read(path)) == len(table)
    table = pd.read_csv(robustness).drop_duplicates()
    table.loc[[0, 5], "robustness"] = None
    table.to_csv(robustness, index=False)
    assert len(read_robustness(robustness)) == len(table) - 2


def test_own_columns_are_used_and_length_0_belongs_to_no_pretraining(tmp_path: Path) -> None:
    downstream, _ = write_run(tmp_path, encoders=("my-vit",), pretrain_seeds=2)
    results = read_downstream(downstream)
    assert set(results["encoder"]) == {"my-vit"}
    assert set(results.loc[results["epochs"] > 0, "pretrain_seed"]) == {0, 1}
    assert set(results.loc[results["epochs"] == 0, "pretrain_seed"]) == {0}


def test_network_name_shared_by_two_encoders_is_told_apart(tmp_path: Path) -> None:
    downstream, _ = write_run(tmp_path)
    pd.read_csv(downstream).assign(model="my U-Net").to_csv(downstream, index=False)
    assert set(read_downstream(downstream)["model"]) == {"my U-Net (unet)", "my U-Net (swin)"}


def test_trained_checkpoint_without_pretraining_seed_is_refused(tmp_path: Path) -> None:
    _, robustness = write_run(tmp_path, lengths=(0, 4))
    table = pd.read_csv(robustness)
    assert set(read_robustness(robustness)["pretrain_seed"]) == {0}
    table.assign(pretraining_seed=None).to_csv(robustness, index=False)
    with pytest.raises(UserError, match="pretraining seed out of range"):
        read_robustness(robustness)


def test_mean_dice_index_wins_where_given(tmp_path: Path) -> None:
    downstream, _ = write_run(tmp_path, seeds=1)
    table = pd.read_csv(downstream)
    table.loc[table["dataset"] == "ACDC", "mean dice index"] = 0.125
    table.to_csv(downstream, index=False)
    results = read_downstream(downstream)
    assert set(results.loc[results["dataset"] == "ACDC", "dice"]) == {0.125}
    assert 0.125 not in set(results.loc[results["dataset"] != "ACDC", "dice"])


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("dice index", 1.2, ["Dice out of range in 1 rows", "1.2 (line 2)", "0..1"]),
        ("dice index", None, ["Dice out of range", "nan (line 2)"]),
        ("dice index", "none so far", ["Dice out of range in 1 rows", "none so far (line 2)"]),
        ("pretraining length", -1, ["length out of range", "-1 (line 2)"]),
        ("pretraining length", 2.5, ["length out of range", "2.5 (line 2)"]),
        ("ImageNet accuracy", 70, ["ImageNet accuracy out of range", "70.0 (line 2)"]),
        ("freeze encoder", "perhaps", ["freeze out of range in 1 rows", "perhaps (line 2)", "True or False"]),
        ("dataset", None, ["dataset out of range in 1 rows"]),
        ("seed", None, ["seed out of range in 1 rows"]),
    ],
)
def test_values_out_of_range_are_refused(tmp_path: Path, column: str, value: object, expected: list[str]) -> None:
    downstream, _ = write_run(tmp_path)
    table = pd.read_csv(downstream).astype({column: object})
    table.loc[0, column] = value
    table.to_csv(downstream, index=False)
    with pytest.raises(UserError) as error:
        read_downstream(downstream)
    assert all(text in str(error.value) for text in [*expected, str(downstream), "run again"])


@pytest.mark.parametrize("value", [-0.1, float("inf"), "high"])
def test_impossible_scores_are_refused(tmp_path: Path, value: object) -> None:
    _, robustness = write_run(tmp_path)
    table = pd.read_csv(robustness).astype({"robustness": object})
    table.loc[4, "robustness"] = value
    table.to_csv(robustness, index=False)
    with pytest.raises(UserError, match=r"robustness out of range in 1 rows\n.*\(line 6\)"):
        read_robustness(robustness)


def test_missing_columns_are_named(tmp_path: Path) -> None:
    downstream, robustness = write_run(tmp_path)
    pd.read_csv(downstream).drop(columns=["seed", "dice index"]).to_csv(downstream, index=False)
    with pytest.raises(UserError, match="columns are missing: seed, dice index") as error:
        read_downstream(downstream)
    assert str(downstream) in str(error.value) and "gather_tables" in str(error.value)
    pd.read_csv(robustness).drop(columns="margin").to_csv(robustness, index=False)
    with pytest.raises(UserError, match="columns are missing: margin"):
        read_robustness(robustness)


def test_rows_that_disagree_are_refused(tmp_path: Path) -> None:
    downstream, _ = write_run(tmp_path)
    table = pd.read_csv(downstream)
    pd.concat([table, table.iloc[[5]].assign(**{"dice index": 0.5})]).to_csv(downstream, index=False)
    with pytest.raises(UserError, match="two rows of the same cell disagree"):
        read_downstream(downstream)


def test_empty_and_broken_files_are_refused(tmp_path: Path) -> None:
    downstream, _ = write_run(tmp_path)
    pd.read_csv(downstream).iloc[:0].to_csv(downstream, index=False)
    with pytest.raises(UserError, match="empty table"):
        read_downstream(downstream)
    downstream.write_text("")
    with pytest.raises(UserError, match="unreadable table"):
        read_downstream(downstream)
