"""Every figure and table is drawn, with content, from a small run, a minimal run and the published one."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.lib.stats.synthetic_run import write_run
from workflow.lib.paper import curves, heatmap, robustness, tables
from workflow.lib.run import UserError
from workflow.lib.stats.correlation import write_correlations
from workflow.lib.stats.effect import write_length_effect
from workflow.lib.stats.summary import write_downstream

SETTING = {"metric": "cosine_distance", "margin": 0.5, "pooled": True}


def files(folder: Path, name: str) -> dict[str, str]:
    return {kind: str(folder / f"{name}.{kind}") for kind in ("pdf", "png", "csv")}


def draw_all(downstream: Path, scores: Path, folder: Path) -> list[str]:
    """Draw every figure and set every table into `folder`; the names of the figures."""
    summary, correlations, effect = (
        str(folder / f"stats-{name}.csv") for name in ("downstream", "correlations", "effect")
    )
    write_downstream(downstream, summary)
    write_correlations(downstream, scores, correlations)
    write_length_effect(downstream, effect)
    for draw in (curves.accuracy_vs_length, curves.dice_vs_length, curves.dice_vs_accuracy):
        draw(summary, **files(folder, draw.__name__))
    robustness.robustness_vs_length(str(scores), **SETTING, **files(folder, "robustness_vs_length"))
    robustness.robustness_vs_dice(str(scores), summary, **SETTING, **files(folder, "robustness_vs_dice"))
    heatmap.correlation_heatmap(correlations, **files(folder, "correlation_heatmap"))
    tables.length_effect_table(effect, csv=str(folder / "length.csv"), tex=str(folder / "length.tex"))
    tables.correlations_table(correlations, csv=str(folder / "what.csv"), tex=str(folder / "what.tex"))
    return sorted(path.stem for path in folder.glob("*.png"))


def assert_drawn(folder: Path, names: list[str]) -> None:
    assert len(names) == 6
    for name in names:
        with Image.open(folder / f"{name}.png") as image:
            grey = np.asarray(image.convert("L"))
        assert 0.002 < (grey < 250).mean() < 0.9, f"{name} is blank or full"
        for edge in (grey[0], grey[-1], grey[:, 0], grey[:, -1]):
            assert (edge > 250).all(), f"{name} is cut off"
        assert (folder / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        assert len(pd.read_csv(folder / f"{name}.csv")) > 0


GRIDS = {
    "small": {},
    "no random, one scheme of one's own": {"lengths": (2, 8), "schemes": ("mine",)},
    "minimal": {
        "encoders": ("my-vit",),
        "lengths": (4,),
        "targets": ("x",),
        "freezings": (True,),
        "seeds": 1,
        "levels": 1,
    },
    "several pretraining seeds": {"pretrain_seeds": 2, "schemes": ("simple", "mine"), "lengths": (0, 1, 4, 16)},
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("grid", GRIDS)
def test_figures_and_tables_of_own_runs(tmp_path: Path, grid: str):
    downstream, scores = write_run(tmp_path / "run", **GRIDS[grid])
    assert_drawn(tmp_path, draw_all(downstream, scores, tmp_path))


@pytest.mark.filterwarnings("error")
def test_figures_and_tables_of_a_partial_grid(tmp_path: Path):
    downstream, scores = write_run(tmp_path / "run")
    table, score = pd.read_csv(downstream), pd.read_csv(scores)
    swin, deep = (table["encoder"] == "swin") & (table["dataset"] == "ACDC"), score["encoder"] == "swin"
    table[~swin].to_csv(downstream, index=False)
    score[~(deep & (score["level"] == 3))].to_csv(scores, index=False)
    assert_drawn(tmp_path, draw_all(downstream, scores, tmp_path))


def test_figures_and_tables_of_the_published_run(reference: Path, tmp_path: Path):
    folder = reference / "published"
    names = draw_all(folder / "downstream_scores.csv", folder / "robustness_scores.csv", tmp_path)
    assert_drawn(tmp_path, names)
    assert len(pd.read_csv(tmp_path / "dice_vs_length.csv")) == 342
    assert len(pd.read_csv(tmp_path / "dice_vs_accuracy.csv")) == 324
    assert len(pd.read_csv(tmp_path / "length.csv", comment="#")) == 36
    assert len(pd.read_csv(tmp_path / "what.csv", comment="#")) == 18
    heat = pd.read_csv(tmp_path / "correlation_heatmap.csv")
    assert len(heat) == 3 * (150 + 150 + 120) and set(heat["curves"]) == {4}
    accuracy = pd.read_csv(tmp_path / "accuracy_vs_length.csv")
    assert len(accuracy) == 60  # 6 pretraining runs x (9 lengths and the shared random start)
    shown = pd.read_csv(tmp_path / "robustness_vs_length.csv")
    assert set(shown.loc[shown["epochs"] == 0, "dataset"]) == {"COVID-QU"}


def test_nearest_setting_is_taken_and_named():
    scores = pd.DataFrame({"metric": "l2_loss", "margin": [0.0, 0.25, 1.0], "pooled": False, "score": [0.1, 0.2, 0.3]})
    part, words = robustness.one_setting(scores, "cosine_distance", 0.5, True)
    assert words == "squared distance, margin 0.25, not pooled" and part["shown"].tolist() == [0.8]
    zero, _ = robustness.one_setting(scores.iloc[:1], "l2_loss", 0.5, False)
    assert zero["shown"].tolist() == [0.1]


def test_figure_without_matching_data_says_so(tmp_path: Path):
    downstream, scores = write_run(tmp_path / "run")
    write_downstream(downstream, tmp_path / "d.csv")
    pd.read_csv(scores).query("encoder == 'unet'").assign(encoder="another").to_csv(scores, index=False)
    with pytest.raises(UserError, match="nothing to draw"):
        robustness.robustness_vs_dice(str(scores), str(tmp_path / "d.csv"), **SETTING, **files(tmp_path, "f"))
    assert not list(tmp_path.glob("f.*"))


def test_latex_escapes_and_heads_with_a_comment(tmp_path: Path):
    frame = pd.DataFrame({"a_b": ["x & y", "50 %", "-0.1", "<0.001", "1 − r"]})
    tables.write_both(frame, "what it is\nand is not", tmp_path / "t.csv", tmp_path / "t.tex")
    lines = (tmp_path / "t.tex").read_text().splitlines()
    assert lines[:2] == ["% what it is", "% and is not"] and "\\toprule" in lines
    body = "\n".join(lines[2:])
    assert all(text in body for text in ("a\\_b", "x \\& y", "50 \\%", "$-0.1$", "$<$0.001", "1 $-$ r"))
    assert (tmp_path / "t.csv").read_text().startswith("# what it is\n# and is not\na_b\n")
