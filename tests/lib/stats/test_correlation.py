"""Correlations against SciPy's one-pair functions, orientation, and what can't be correlated."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tests.lib.stats.synthetic_run import write_run
from workflow.lib.stats.correlation import correlate, correlations, setting_name, write_correlations
from workflow.lib.stats.tidy import read_downstream, read_robustness


def test_coefficients_equal_scipy_and_constants_are_0():
    random = np.random.default_rng(1)
    x, y = random.integers(0, 5, (6, 9)).astype(float), random.random(9)  # with ties
    x[2] = 7.0
    table = correlate(x, y)
    for i in (0, 1, 3, 4, 5):
        expected = [stats.pearsonr(x[i], y)[0], stats.spearmanr(x[i], y)[0], stats.weightedtau(x[i], y)[0], False]
        assert table.loc[i].tolist() == pytest.approx(expected)
    assert table.loc[2].tolist() == [0.0, 0.0, 0.0, True]


def test_setting_name():
    assert setting_name("cosine_distance", 0.5, True, 5) == "cosine_distance|m=0.5|pooled|level=5"


def test_lower_score_with_higher_dice_is_positive(tmp_path: Path):
    downstream, robustness = write_run(tmp_path, levels=1)
    table = pd.read_csv(robustness)
    table["robustness"] = 1 / (1 + table["pretraining_length"])  # falls while Dice rises
    table.to_csv(robustness, index=False)
    frame = correlations(read_downstream(downstream), read_robustness(robustness))
    score = frame[(frame["predictor"] == "robustness") & (frame["pool"] == "within_run")]
    epochs = frame[(frame["predictor"] == "epochs") & (frame["pool"] == "within_run")]
    assert len(score) == 8 * len(epochs)
    assert score["spearman"].mean() == pytest.approx(epochs["spearman"].mean()) and epochs["spearman"].mean() > 0.5


def test_score_missing_for_one_length_is_correlated_over_the_others(tmp_path: Path):
    downstream, robustness = write_run(tmp_path)
    table = pd.read_csv(robustness)
    gone = (table["level"] == 2) & (table["pretraining_length"] == 2)
    table[~gone].to_csv(robustness, index=False)
    frame = correlations(read_downstream(downstream), read_robustness(robustness))
    within = frame[(frame["pool"] == "within_run") & (frame["predictor"] == "robustness")]
    assert set(within.loc[within["level"] == 2, "n"]) == {2} and set(within.loc[within["level"] == 1, "n"]) == {3}


def test_one_length_predicts_nothing(tmp_path: Path):
    downstream, robustness = write_run(tmp_path, lengths=(0, 4))
    frame = correlations(read_downstream(downstream), read_robustness(robustness))
    within = frame[frame["pool"] == "within_run"]
    assert within["constant"].all() and (within[["pearson", "spearman", "kendall_weighted"]] == 0).all().all()


def test_published_table_equals_a_plain_loop(reference: Path, tmp_path: Path):
    folder = reference / "published"
    write_correlations(folder / "downstream_scores.csv", folder / "robustness_scores.csv", tmp_path / "c.csv")
    table = pd.read_csv(tmp_path / "c.csv", dtype={"setting": str})
    within = table[table["pool"] == "within_run"]
    assert len(within) == 36 * 2 + 24 * 150 + 12 * 120 and set(within["n"]) == {9}
    assert len(table) - len(within) == 6 * 152
    assert (within["constant"]).sum() == 2 * 73  # each flat score curve meets a tuned and a frozen encoder
    raw = pd.read_csv(folder / "downstream_scores.csv").drop_duplicates()
    raw["dice"] = raw["mean dice index"].fillna(raw["dice index"])
    curve = (raw["dataset"] == "COVIDQUDataset") & (raw["model"] == "Swin U-Net") & raw["freeze encoder"]
    curve &= (raw["pretraining scheme"] == "simple") & (raw["pretraining length"] > 0)
    dice = raw[curve].groupby("pretraining length")["dice"].mean()
    scores = pd.read_csv(folder / "robustness_scores.csv").query(
        "dataset == 'COVID-QU' & encoder == 'swin_transformer' & pretraining_scheme == 'simple_training' & pooled"
        " & level == 4 & margin == 0.5 & metric == 'cosine_distance' & pretraining_length > 0"
    )
    score = scores.set_index("pretraining_length")["robustness"].loc[dice.index]
    row = within.query(
        "dataset == 'COVID-QU' & model == 'Swin U-Net' & freeze & scheme == 'simple'"
        " & setting == 'cosine_distance|m=0.5|pooled|level=4'"
    ).iloc[0]
    assert row["spearman"] == pytest.approx(stats.spearmanr(-score, dice)[0])
    assert row["pearson"] == pytest.approx(stats.pearsonr(-score, dice)[0])
    assert row["kendall_weighted"] == pytest.approx(stats.weightedtau(-score, dice)[0])
