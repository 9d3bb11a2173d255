"""Intervals over patients: closed forms, and that every result finds its patients."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tests.lib.tables.synthetic_run import write_run
from workflow.lib.curves.summary import summarise
from workflow.lib.evidence.patients import patients_interval
from workflow.lib.job.run import UserError
from workflow.lib.selection.replay import write_replay
from workflow.lib.selection.score_selection import write_score_selection
from workflow.lib.tables.headed import head_of, read_table
from workflow.lib.tables.patients import read_patients
from workflow.lib.tables.read import read_downstream


def test_paired_difference_of_two_networks() -> None:
    rng = np.random.default_rng(0)
    dice = rng.uniform(size=(2, 9))
    interval = stats.ttest_rel(dice[0], dice[1]).confidence_interval()
    middle, half = patients_interval(np.array([[1.0, -1.0], [0.0, 0.0]]), {"a": dice})
    assert middle - half == pytest.approx([interval.low, 0])
    assert middle + half == pytest.approx([interval.high, 0])


def test_data_sets_add_their_variances() -> None:
    rng = np.random.default_rng(1)
    one, two = rng.uniform(size=(1, 8)), rng.uniform(size=(1, 20))
    gap, unknown = np.full((1, 20), np.nan), np.full((1, 8), np.nan)
    dice = {"a": np.vstack([one, unknown]), "b": np.vstack([gap, two])}
    welch = stats.ttest_ind(one[0], two[0], equal_var=False).confidence_interval()
    middle, half = patients_interval(np.array([[1.0, -1.0]]), dice)
    assert [middle - half, middle + half] == pytest.approx(np.array([[welch.low], [welch.high]]))


def test_without_patients_there_is_no_interval() -> None:
    dice = np.array([[0.5, 0.6], [np.nan, np.nan], [0.1, 0.2]])
    for gain, patients in (
        ([1.0, -1.0, 0.0], {"a": dice}),
        ([1.0, 0.0, -1.0], {"a": dice[:, :1]}),
        ([1.0, 0.0, -1.0], {}),
    ):
        assert np.isnan(patients_interval(np.array([gain]), patients)[1]).all()


@pytest.mark.parametrize("seed", range(3))
def test_coverage_where_dice_of_runs_is_pooled_over_unlike_patients(seed: int) -> None:
    """The interval is of the mean over patients, and holds that in 95 % of test parts: pooled Dice is another number."""
    rng = np.random.default_rng(seed)
    held = 0
    for _ in range(400):
        size = rng.lognormal(sigma=1.5, size=40)
        gain = 0.1 * np.tanh(np.log(size) / 2) + rng.normal(scale=0.05, size=40)  # large patients gain, small ones lose
        dice = np.vstack([0.5 + gain, np.full(40, 0.5)])
        middle, half = patients_interval(np.array([[1.0, -1.0]]), {"a": dice})
        held += abs(middle[0]) < half[0]  # the mean over patients is 0
    assert 0.92 < held / 400 < 0.98


def write_patients(downstream: Path, count: int) -> Path:
    """Patients whose mean is the result's Dice, and who differ much more among themselves than networks do."""
    raw = pd.read_csv(downstream)
    shift = np.random.default_rng(2).normal(scale=0.1, size=count)
    shift -= shift.mean()
    names = ["1", "001", "3.1", "3.10", *(f"p{i}" for i in range(4, count))]  # no numbers, even if they look so
    rows = raw.loc[raw.index.repeat(count)].assign(patient=np.tile(names, len(raw)))
    rows["dice index"] = rows["dice index"] + np.tile(shift, len(raw))
    path = downstream.with_name("patient_scores.csv.gz")
    rows.sample(frac=1, random_state=0).drop(columns="mean dice index").to_csv(path, index=False)
    return path


def test_patients_find_their_results(tmp_path: Path) -> None:
    downstream, _ = write_run(tmp_path, pretrain_seeds=2)
    results = read_downstream(downstream)
    found = read_patients(write_patients(downstream, 5), results)
    means = summarise(results)
    for target in ("ACDC", "my-xrays"):
        of_target = found[target].mean(axis=1).reshape(len(means), -1).mean(axis=1)
        here = means["dataset"] == target
        assert np.isnan(of_target[~here]).all() and of_target[here] == pytest.approx(means["dice_mean"][here])


@pytest.mark.slow
def test_tables_say_how_much_depends_on_the_patients(tmp_path: Path) -> None:
    downstream, robustness = write_run(tmp_path)
    patients = write_patients(downstream, 12)
    for write, name in ((write_replay, "rule"), (write_score_selection, "selector")):
        for given in (patients, None):
            write(downstream, robustness, None, given, tmp_path / "t.csv", tmp_path / "s.csv")
            table = read_table(tmp_path / "s.csv")
            assert "over the patients of the test splits" in head_of(tmp_path / "s.csv")
            if given is None:
                assert table["patients_low"].isna().all()
                continue
            known = table[table["diff_to_last"].notna() & (table["diff_to_last"] != 0)]
            middle = (known["patients_low"] + known["patients_high"]) / 2
            assert len(known) and middle.to_numpy() == pytest.approx(known["diff_to_last"].to_numpy())
            assert table[name].nunique() > 3


def test_where_a_choice_is_not_known_there_is_no_interval(tmp_path: Path) -> None:
    # An oracle needs two seeds.
    downstream, robustness = write_run(tmp_path, lengths=(0, 1), freezings=(True,), seeds=1)
    patients = write_patients(downstream, 5)
    write_score_selection(downstream, robustness, None, patients, tmp_path / "t.csv", tmp_path / "s.csv")
    table = read_table(tmp_path / "s.csv")
    unknown = table["diff_to_last"].isna()
    assert unknown.any() and table.loc[unknown, ["patients_low", "patients_high"]].isna().all(axis=None)


def test_one_patient_twice_is_refused(tmp_path: Path) -> None:
    downstream, _ = write_run(tmp_path)
    path = write_patients(downstream, 5)
    rows = pd.read_csv(path, dtype={"patient": str})
    again = rows.iloc[:1].assign(**{"dice index": rows["dice index"].iloc[0] / 2})
    pd.concat([rows, again]).to_csv(path, index=False)
    with pytest.raises(UserError, match="two rows of the same cell"):
        read_patients(path, read_downstream(downstream))
