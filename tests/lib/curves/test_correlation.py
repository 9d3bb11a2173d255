"""Correlations against SciPy's one-pair functions, orientation, and what can't be correlated."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tests.lib.tables.synthetic_run import write_run
from workflow.lib.curves.correlation import COLUMNS, correlate, correlations
from workflow.lib.tables.headed import head_of, read_table
from workflow.lib.tables.read import read_downstream
from workflow.lib.tables.scores import read_scores
from workflow.lib.tables.settings import setting_name

KEY = ["dataset", "model", "freeze", "scheme"]


def test_coefficients_equal_scipy_and_constants_are_0() -> None:
    random = np.random.default_rng(1)
    x, y = random.integers(0, 5, (6, 9)).astype(float), random.random(9)  # with ties
    x[2] = 7.0
    table = correlate(x, y)
    for i in (0, 1, 3, 4, 5):
        expected = [stats.pearsonr(x[i], y)[0], stats.spearmanr(x[i], y)[0], stats.weightedtau(x[i], y)[0], False]
        assert table.loc[i].tolist() == pytest.approx(expected)
    assert table.loc[2].tolist() == [0.0, 0.0, 0.0, True]


def test_setting_name() -> None:
    assert setting_name("cosine_distance", 0.5, True, 5) == "cosine_distance|m=0.5|pooled|level=5"
    assert setting_name("l2_loss", 1.0, False, 0, deepest=True) == "l2_loss|m=1|unpooled|from_deepest=0"


def test_lower_score_with_higher_dice_is_positive(tmp_path: Path) -> None:
    downstream, robustness = write_run(tmp_path, levels=1)
    table = pd.read_csv(robustness)
    table["robustness"] = 1 / (1 + table["pretraining_length"])  # falls while Dice rises
    table.to_csv(robustness, index=False)
    frame = correlations(read_downstream(downstream), read_scores(robustness))
    score = frame[(frame["predictor"] == "robustness") & (frame["pool"] == "within_run")]
    epochs = frame[(frame["predictor"] == "epochs") & (frame["pool"] == "within_run")]
    assert len(score) == 8 * len(epochs)
    assert score["spearman"].mean() == pytest.approx(epochs["spearman"].mean()) and epochs["spearman"].mean() > 0.5


def test_score_missing_for_one_length_is_correlated_over_the_others(tmp_path: Path) -> None:
    downstream, robustness = write_run(tmp_path)
    table = pd.read_csv(robustness)
    gone = (table["level"] == 2) & (table["pretraining_length"] == 2)
    table[~gone].to_csv(robustness, index=False)
    frame = correlations(read_downstream(downstream), read_scores(robustness))
    within = frame[(frame["pool"] == "within_run") & (frame["predictor"] == "robustness")]
    assert set(within.loc[within["level"] == 2, "n"]) == {2} and set(within.loc[within["level"] == 1, "n"]) == {3}


def test_one_length_predicts_nothing(tmp_path: Path) -> None:
    downstream, robustness = write_run(tmp_path, lengths=(0, 4))
    frame = correlations(read_downstream(downstream), read_scores(robustness))
    within = frame[frame["pool"] == "within_run"]
    assert within["constant"].all() and (within[["pearson", "spearman", "kendall_weighted"]] == 0).all().all()


def test_lengths_from_50_on_are_ranked_alone_and_too_few_are_noted(tmp_path: Path) -> None:
    downstream, robustness = write_run(
        tmp_path, lengths=(0, 1, 20, 50, 100, 200), encoders=("unet",), freezings=(True,)
    )
    results, scores = read_downstream(downstream), read_scores(robustness)
    frame = correlations(results, scores)
    assert set(frame.loc[frame["lengths"] == ">0", "n"]) == {5} and set(frame["note"]) == {""}
    dice = results[(results["dataset"] == "ACDC") & (results["epochs"] >= 50)].groupby("epochs")["dice"].mean()
    score = scores.query("dataset == 'ACDC' & metric == 'l2_loss' & margin == 0.5 & pooled & level == 2")
    score = score.set_index("epochs")["value"].loc[dice.index]
    row = frame.query(
        "dataset == 'ACDC' & lengths == '>=50' & pool == 'within_run' & setting == 'l2_loss|m=0.5|pooled|level=2'"
    )
    assert row["n"].item() == 3 and row["spearman"].item() == pytest.approx(stats.spearmanr(score, dice)[0])
    assert row["pearson"].item() == pytest.approx(stats.pearsonr(score, dice)[0])
    few = correlations(results[results["epochs"] < 200], scores)
    assert (few.loc[few["lengths"] == ">=50", "note"] == "fewer than 3 checkpoints").all()


def test_pool_all_counts_levels_from_the_deepest(tmp_path: Path) -> None:
    downstream, robustness = write_run(tmp_path, freezings=(False,), targets=("ACDC",))
    table = pd.read_csv(robustness)
    shallow = (table["encoder"] == "swin") & (table["level"] == 3)  # swin: levels 1, 2; unet: 1, 2, 3
    table[~shallow].to_csv(robustness, index=False)
    results, scores = read_downstream(downstream), read_scores(robustness)
    frame = correlations(results, scores)
    pooled = frame[(frame["pool"] == "all") & (frame["predictor"] == "robustness") & (frame["lengths"] == ">0")]
    assert pooled.groupby("from_deepest")["n"].first().to_dict() == {0: 6, 1: 6, 2: 3} and pooled["level"].isna().all()
    deepest = scores[scores["level"] == scores["encoder"].map({"unet": 3, "swin": 2})]
    deepest = deepest.query("metric == 'l2_loss' & margin == 0.5 & pooled & epochs > 0")
    dice = results[results["epochs"] > 0].groupby(["encoder", "epochs"])["dice"].mean()
    score = deepest.set_index(["encoder", "epochs"])["value"].loc[dice.index]
    row = pooled[pooled["setting"] == "l2_loss|m=0.5|pooled|from_deepest=0"].iloc[0]
    assert row["spearman"] == pytest.approx(stats.spearmanr(score, dice)[0])


@pytest.mark.slow
def test_published_table_equals_a_plain_loop(reference: Path, published_tables: dict[str, Path]) -> None:
    folder = reference / "published"
    table = read_table(published_tables["correlations"], dtype={"setting": str})
    assert list(table) == COLUMNS and "No intervals, no p-values" in head_of(published_tables["correlations"])
    assert table.groupby("lengths").size().to_dict() == {">0": 6024, ">=50": 6024}
    trained, table = table[table["lengths"] == ">=50"], table[table["lengths"] == ">0"]
    within = table[table["pool"] == "within_run"]
    assert len(within) == 36 * 2 + 24 * 150 + 12 * 120 and set(within["n"]) == {9}
    assert set(trained.loc[trained["pool"] == "within_run", "n"]) == {6}
    assert table[table["pool"] == "all"].groupby("from_deepest")["n"].first().tolist() == [54, 54, 54, 54, 36]
    assert (within["constant"]).sum() == 2 * 73  # each flat score curve meets a trainable and a frozen encoder
    simple = within[within["predictor"] != "robustness"].pivot(index=KEY, columns="predictor", values="spearman")
    assert np.allclose(simple["epochs"], simple["imagenet_accuracy"])  # accuracy rises with every length of every run
    assert simple["epochs"].mean() == pytest.approx(0.5944, abs=5e-5)
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
