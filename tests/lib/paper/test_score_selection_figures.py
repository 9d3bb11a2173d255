"""The figures of stopping rules and of scores as selectors are drawn, with content, from small, minimal and published runs."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.lib.claims.all_tables import write_judged
from tests.lib.paper.test_figures import assert_drawn
from tests.lib.selection.test_score_selection import write_transferability
from tests.lib.tables.synthetic_run import write_run
from workflow.lib.paper.replay import replay
from workflow.lib.paper.score_selection import score_selection
from workflow.lib.selection.names import ALL
from workflow.lib.tables.headed import read_table

pytestmark = pytest.mark.slow

GRIDS: dict[str, dict[str, Any]] = {
    "small": {},
    "minimal": {"encoders": ("my-vit",), "targets": ("x",), "seeds": 1, "levels": 1, "lengths": (4,)},
    "one target": {"targets": ("x",), "lengths": (0, 1, 2, 4, 8, 16)},
    "five targets": {"targets": tuple("abcde"), "encoders": ("unet",), "pretrain_seeds": 3, "levels": 1},
}


def draw(downstream: Path, robustness: Path, transferability: Path | None, folder: Path) -> None:
    """Both figures, from tables that the workflow's own functions made."""
    tables = write_judged(downstream, robustness, transferability, folder / "tables")
    for figure in (replay, score_selection):
        files = {kind: str(folder / f"{figure.__name__}.{kind}") for kind in ("pdf", "png", "csv")}
        figure(str(tables[f"{figure.__name__}_summary"]), **files)
    assert_drawn(folder, ["replay", "score_selection"])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("grid", GRIDS)
def test_figures_of_own_runs(tmp_path: Path, grid: str) -> None:
    downstream, robustness = write_run(tmp_path, **GRIDS[grid])
    draw(downstream, robustness, write_transferability(tmp_path, robustness), tmp_path)
    if grid == "minimal":
        assert "two or more lengths" in pd.read_csv(tmp_path / "replay.csv")["note"].iloc[0]


def test_published_figures_show_their_tables(published: Path) -> None:
    figures, tables = published / "results/published/figures", published / "results/published/tables"
    shown, table = pd.read_csv(figures / "replay.csv"), read_table(tables / "replay_summary.csv")
    assert len(shown) == len(table) and set(shown["dataset"]) == {ALL, "ACDC", "COVID-QU", "IDRiD"}
    shown, table = (
        pd.read_csv(figures / "score_selection.csv"),
        read_table(tables / "score_selection_summary.csv"),
    )
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
