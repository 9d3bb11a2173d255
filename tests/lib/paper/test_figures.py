"""Every figure is drawn, with content, from a small run, a minimal run, partial ones and the published one."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.lib.claims.all_tables import write_tables
from tests.lib.tables.synthetic_run import write_run
from workflow.lib.curves.noise import write_noise_ceiling
from workflow.lib.curves.summary import write_downstream
from workflow.lib.job.run import UserError
from workflow.lib.paper import curves, forest, heatmap, robustness, selection, stability
from workflow.lib.tables.headed import read_table, write_table

FIGURES = [
    *("accuracy_vs_length", "claims_forest", "correlation_heatmap", "dice_vs_accuracy", "dice_vs_length"),
    *("robustness_vs_dice", "robustness_vs_length", "selection_all", "selection_tradeoff", "setting_stability"),
]


def files(folder: Path, name: str) -> dict[str, str]:
    return {kind: str(folder / f"{name}.{kind}") for kind in ("pdf", "png", "csv")}


def draw_all(scores: Path, tables: dict[str, Path], folder: Path) -> None:
    path = {name: str(table) for name, table in tables.items()}
    curves.accuracy_vs_length(path["downstream"], **files(folder, "accuracy_vs_length"))
    for draw in (curves.dice_vs_length, curves.dice_vs_accuracy):
        draw(path["downstream"], path["noise_ceiling"], **files(folder, draw.__name__))
    robustness.robustness_vs_length(str(scores), **files(folder, "robustness_vs_length"))
    inputs = (str(scores), path["downstream"], path["noise_ceiling"])
    robustness.robustness_vs_dice(*inputs, **files(folder, "robustness_vs_dice"))
    heatmap.correlation_heatmap(path["correlations"], path["noise_ceiling"], **files(folder, "correlation_heatmap"))
    selection.selection_tradeoff(path["selection_summary"], **files(folder, "selection_tradeoff"))
    selection.selection_all(str(path["selection"]), **files(folder, "selection_all"))
    stability.setting_stability(str(path["selection"]), **files(folder, "setting_stability"))
    forest.claims_forest(str(path["claims"]), **files(folder, "claims_forest"))


def assert_drawn(folder: Path, names: list[str] = FIGURES) -> None:
    assert sorted(path.stem for path in folder.glob("*.png")) == sorted(names)
    for name in names:
        with Image.open(folder / f"{name}.png") as image:
            grey = np.asarray(image.convert("L"))
        assert 0.002 < (grey < 250).mean() < 0.9, f"{name} is blank or full"
        for edge in (grey[0], grey[-1], grey[:, 0], grey[:, -1]):
            assert (edge > 250).all(), f"{name} is cut off"
        assert (folder / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        assert len(pd.read_csv(folder / f"{name}.csv")) > 0


MINIMAL: dict[str, Any] = {
    "encoders": ("my-vit",),
    "targets": ("x",),
    "freezings": (True,),
    "seeds": 1,
    "levels": 1,
    "lengths": (4,),
}
GRIDS: dict[str, dict[str, Any]] = {
    "minimal": MINIMAL,
    "no random, one scheme of one's own, one target": {"lengths": (2, 8), "schemes": ("mine",), "targets": ("x",)},
    "several pretraining seeds, many lengths": {
        "pretrain_seeds": 2,
        "schemes": ("simple", "mine"),
        "lengths": (0, 1, 2, 4, 8, 16),
    },
}


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("grid", GRIDS)
def test_figures_of_own_runs(tmp_path: Path, grid: str) -> None:
    downstream, scores = write_run(tmp_path / "run", **GRIDS[grid])
    draw_all(scores, write_tables(downstream, scores, tmp_path / "tables"), tmp_path)
    assert_drawn(tmp_path)


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
def test_figures_of_a_partial_grid(tmp_path: Path) -> None:
    downstream, scores = write_run(tmp_path / "run")
    table, score = pd.read_csv(downstream), pd.read_csv(scores)
    swin, deep = (table["encoder"] == "swin") & (table["dataset"] == "ACDC"), score["encoder"] == "swin"
    table[~swin].to_csv(downstream, index=False)
    score[~(deep & (score["level"] == 3))].to_csv(scores, index=False)
    draw_all(scores, write_tables(downstream, scores, tmp_path / "tables"), tmp_path)
    assert_drawn(tmp_path)


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("known", [[], [0]], ids=["none", "of length 0"])
def test_figures_of_a_run_with_unknown_accuracies(tmp_path: Path, known: list[int]) -> None:
    downstream, scores = write_run(tmp_path / "run")
    table = pd.read_csv(downstream)
    table["ImageNet accuracy"] = table["ImageNet accuracy"].where(table["pretraining length"].isin(known))
    table.to_csv(downstream, index=False)
    tables = write_tables(downstream, scores, tmp_path / "tables")
    if known:  # the others see no more of it
        inputs = (str(tables["downstream"]), str(tables["noise_ceiling"]))
        curves.accuracy_vs_length(inputs[0], **files(tmp_path, "accuracy_vs_length"))
        curves.dice_vs_accuracy(*inputs, **files(tmp_path, "dice_vs_accuracy"))
    else:
        draw_all(scores, tables, tmp_path)
        assert_drawn(tmp_path)
    assert "accuracy" in pd.read_csv(tmp_path / "dice_vs_accuracy.csv")["note"].iloc[0]


@pytest.fixture
def figures(published: Path) -> Path:
    """The folder of all figures of the published run."""
    return published / "results/published/figures"


@pytest.mark.slow
def test_figures_of_the_published_run(figures: Path) -> None:
    assert_drawn(figures, [*FIGURES, "replay", "score_selection"])
    shown = {name: pd.read_csv(figures / f"{name}.csv") for name in FIGURES}
    assert len(shown["dice_vs_length"]) == 342
    assert len(shown["dice_vs_accuracy"]) == 324
    heat = shown["correlation_heatmap"]
    assert len(heat) == 3 * (150 + 150 + 120) and set(heat["curves"]) == {4}
    assert len(shown["accuracy_vs_length"]) == 60  # 6 pretraining runs x (9 lengths and the shared random start)
    robust = shown["robustness_vs_length"]
    assert set(robust.loc[robust["epochs"] == 0, "dataset"]) == {"COVID-QU"}
    assert robust[["shown_low", "shown_high"]].isna().all(axis=None)  # the release has no intervals


@pytest.mark.slow
def test_one_curve_of_the_published_run_is_muted(figures: Path) -> None:
    for name in ("dice_vs_length", "dice_vs_accuracy", "robustness_vs_dice"):
        muted = pd.read_csv(figures / f"{name}.csv").query("muted")
        assert len(muted) == 9
        curve = muted[["dataset", "model", "freeze", "scheme"]].drop_duplicates()
        assert curve.to_numpy().tolist() == [["ACDC", "basic U-Net", False, "advanced"]]
    heat = pd.read_csv(figures / "correlation_heatmap.csv").query("muted_curves > 0")
    assert set(heat["muted_curves"]) == {1} and set(heat["dataset"] + heat["model"]) == {"ACDCbasic U-Net"}


@pytest.mark.slow
def test_choices_of_the_published_run(figures: Path) -> None:
    trade = pd.read_csv(figures / "selection_tradeoff.csv").set_index("selector")
    chosen = trade.loc["robustness (setting chosen on the other data sets)"]
    expected = [6, 88.5556, -0.0049245, -0.0086919, -0.0011571]
    found = chosen[["k", "epochs_saved", "diff_to_last", "diff_low", "diff_high"]].astype(float)
    assert found.tolist() == pytest.approx(expected, abs=1e-6, rel=1e-6)
    assert len(trade.loc["robustness"]) == 150 and trade.index.str.startswith("fixed").sum() == 9
    pooled = pd.read_csv(figures / "selection_all.csv")
    best = pooled[pooled["selector"] == "oracle"].set_index(["dataset", "freeze"])
    assert best.loc[("ACDC", False), "chosen"] == "ResNet50 Attention U-Net, advanced, 300"
    assert len(best) == 6


@pytest.mark.slow
def test_panels_of_stability_agree_with_the_claim(figures: Path, published_tables: dict[str, Path]) -> None:
    pairs = pd.read_csv(figures / "setting_stability.csv").drop_duplicates(["encoder", "target_x", "target_y"])
    assert len(pairs) == 12
    together = pairs.loc[pairs["encoder"] == "all encoders", "spearman"]
    claims = read_table(published_tables["claims"]).set_index("claim_id")
    assert together.mean() == pytest.approx(claims.loc["C13", "estimate"])
    chosen = pd.read_csv(figures / "setting_stability.csv").query("chosen_x and encoder == 'resnet50'")
    assert chosen["setting"].tolist() == ["l2_loss|m=0|pooled|level=1"] * 2 + ["l2_loss|m=0|pooled|level=1"]


@pytest.mark.slow
def test_forest_shows_every_testable_claim(figures: Path, published_tables: dict[str, Path]) -> None:
    shown = pd.read_csv(figures / "claims_forest.csv").set_index("claim_id")
    claims = read_table(published_tables["claims"])
    assert set(shown.index) == set(claims.loc[claims["verdict"] != "not testable with these data", "claim_id"])
    units = {unit: set(part.index) for unit, part in shown.groupby("unit")}
    assert units["text"] == {"C1", "C8"}
    assert units["correlation"] == {"C4", "C4R", "C4S", "C4b", "C5", "C6", "C7", "C13"}
    assert {"C2t", "C9", "C10b", "C11-250", "C12 trainable, basic U-Net", "C12 frozen, all"} < units["dice"]


def test_nearest_setting_is_taken_and_named() -> None:
    scores = pd.DataFrame({"metric": "l2_loss", "margin": [0.0, 0.25, 1.0], "pooled": False, "score": [0.1, 0.2, 0.3]})
    scores = scores.assign(ci_low=[0.0, 0.15, 0.2], ci_high=[0.2, np.nan, 0.4])
    part, words = robustness.one_setting(scores, "cosine_distance", 0.5, True)
    assert words == "squared distance, margin 0.25, not pooled" and part["shown"].tolist() == [0.8]
    assert part["shown_low"].tolist() == [0.6] and part["shown_high"].isna().all()
    zero, _ = robustness.one_setting(scores.iloc[:1], "l2_loss", 0.5, False)
    assert zero["shown"].tolist() == [0.1] and zero["shown_high"].tolist() == [0.2]


@pytest.mark.slow
def test_intervals_of_scores_are_drawn(tmp_path: Path) -> None:
    _, scores = write_run(tmp_path / "run")
    table = pd.read_csv(scores)
    robustness.robustness_vs_length(str(scores), **files(tmp_path, "without"))
    known = table["pretraining_length"] > 0
    table["ci_low"] = (table["robustness"] - 0.1).where(known)
    table["ci_high"] = (table["robustness"] + 0.2).where(known)
    table.sample(frac=1, random_state=0).to_csv(scores, index=False)  # in any order
    robustness.robustness_vs_length(str(scores), **files(tmp_path, "with"))
    shown = pd.read_csv(tmp_path / "with.csv")
    trained = shown[shown["epochs"] > 0]
    assert np.allclose(trained["shown"] - trained["shown_low"], 0.1 / 0.5)
    assert np.allclose(trained["shown_high"] - trained["shown"], 0.2 / 0.5)
    assert shown.loc[shown["epochs"] == 0, ["shown_low", "shown_high"]].isna().all(axis=None)
    assert (tmp_path / "with.png").read_bytes() != (tmp_path / "without.png").read_bytes()


def test_figure_without_matching_data_says_so(tmp_path: Path) -> None:
    downstream, scores = write_run(tmp_path / "run")
    tables = [str(tmp_path / "d.csv"), str(tmp_path / "n.csv")]
    write_downstream(downstream, tables[0])
    write_noise_ceiling(downstream, tables[1])
    pd.read_csv(scores).query("encoder == 'unet'").assign(encoder="another").to_csv(scores, index=False)
    with pytest.raises(UserError, match="nothing to draw"):
        robustness.robustness_vs_dice(str(scores), *tables, **files(tmp_path, "f"))
    assert not list(tmp_path.glob("f.*"))


@pytest.mark.slow
def test_what_a_run_cannot_show_is_said_in_the_figure(tmp_path: Path) -> None:
    downstream, scores = write_run(tmp_path / "run", **MINIMAL)
    path = write_tables(downstream, scores, tmp_path)
    stability.setting_stability(str(path["selection"]), **files(tmp_path, "stability"))
    forest.claims_forest(str(path["claims"]), **files(tmp_path, "forest"))
    write_table(read_table(path["selection"]).query("pool != 'all'"), path["selection"], "no choice among all")
    selection.selection_all(str(path["selection"]), **files(tmp_path, "all"))
    for name, reason in {"stability": "two targets", "forest": "no claim", "all": "among all checkpoints"}.items():
        assert reason in pd.read_csv(tmp_path / f"{name}.csv")["note"].item()
        assert (tmp_path / f"{name}.png").exists() and (tmp_path / f"{name}.pdf").exists()
