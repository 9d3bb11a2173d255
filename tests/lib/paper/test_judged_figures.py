"""The figures of stopping rules and of scores as selectors are drawn, with content, from small, minimal and published runs."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.lib.stats.synthetic_run import write_run
from tests.lib.stats.test_judgement import write_transferability
from workflow.lib.paper.judgement import score_selection
from workflow.lib.paper.replay import replay
from workflow.lib.stats.goal import ALL
from workflow.lib.stats.judgement import write_judgement
from workflow.lib.stats.replay import write_replay
from workflow.lib.stats.table import read_table

GRIDS = {
    "small": {},
    "minimal": {"encoders": ("my-vit",), "targets": ("x",), "seeds": 1, "levels": 1, "lengths": (4,)},
    "one target": {"targets": ("x",), "lengths": (0, 1, 2, 4, 8, 16)},
    "five targets": {"targets": tuple("abcde"), "encoders": ("unet",), "pretrain_seeds": 3, "levels": 1},
}


def draw(downstream: Path, robustness: Path, transferability: Path | None, folder: Path) -> None:
    """Both figures, from tables that the workflow's own functions made."""
    tables = [folder / f"{name}{end}.csv" for name in ("replay", "score_selection") for end in ("_table", "_summary")]
    write_replay(downstream, robustness, transferability, None, *tables[:2])
    write_judgement(downstream, robustness, transferability, None, *tables[2:])
    for figure, table in ((replay, tables[1]), (score_selection, tables[3])):
        figure(str(table), **{kind: str(folder / f"{figure.__name__}.{kind}") for kind in ("pdf", "png", "csv")})
        with Image.open(folder / f"{figure.__name__}.png") as image:
            grey = np.asarray(image.convert("L"))
        assert 0.002 < (grey < 250).mean() < 0.9, f"{figure.__name__} is blank or full"
        for edge in (grey[0], grey[-1], grey[:, 0], grey[:, -1]):
            assert (edge > 250).all(), f"{figure.__name__} is cut off"
        assert (folder / f"{figure.__name__}.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("grid", GRIDS)
def test_figures_of_own_runs(tmp_path: Path, grid: str):
    downstream, robustness = write_run(tmp_path, **GRIDS[grid])
    draw(downstream, robustness, write_transferability(tmp_path, robustness), tmp_path)
    if grid == "minimal":
        assert "two or more lengths" in pd.read_csv(tmp_path / "replay.csv")["note"].iloc[0]


@pytest.mark.filterwarnings("error")
def test_published_figures_show_their_tables(tmp_path: Path, reference: Path):
    folder = reference / "published"
    draw(folder / "downstream_scores.csv", folder / "robustness_scores.csv", None, tmp_path)
    shown, table = pd.read_csv(tmp_path / "replay.csv"), read_table(tmp_path / "replay_summary.csv")
    assert len(shown) == len(table) and set(shown["dataset"]) == {ALL, "ACDC", "COVID-QU", "IDRiD"}
    shown, table = pd.read_csv(tmp_path / "score_selection.csv"), read_table(tmp_path / "score_selection_summary.csv")
    key = {"selector": "robustness", "dataset": ALL}
    point = shown[(shown[list(key)] == list(key.values())).all(axis=1)].set_index("panel")
    row = table[(table[list(key)] == list(key.values())).all(axis=1)].set_index(["pool", "budget"])
    half = row.loc[("within_run", "half")]
    assert point.loc["… against a fixed length", "value"] == pytest.approx(half["to_fixed"])
    ends = row.loc[("all", "whole"), ["diff_low", "diff_high"]].tolist()
    assert point.loc["among all checkpoints", ["low", "high"]].tolist() == pytest.approx(ends)
    assert point.loc["ranking within a run", "ceiling"] == pytest.approx(
        row.loc[("within_run", "whole"), "kendall_ceiling"]
    )
