"""Saving figures: refuses empty or broken data, leaves nothing half-written, same bytes for the same data."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from workflow.lib.job.run import UserError
from workflow.lib.paper import style

DATA = pd.DataFrame({"name": ["a", "b"], "value": [1.0, 2.0], "low": [np.nan, np.nan]})


def paths(folder: Path) -> dict[str, str]:
    return {kind: str(folder / f"figure.{kind}") for kind in ("pdf", "png", "csv")}


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (DATA.iloc[:0], "nothing to draw"),
        (DATA, "missing or infinite in: low"),
        (DATA.assign(low=0.0, value=np.inf), "missing or infinite in: value"),
    ],
)
def test_empty_or_broken_data_is_refused(tmp_path: Path, data: pd.DataFrame, what: str) -> None:
    figure, _ = style.grid(1, 1)
    with pytest.raises(UserError, match=what) as error:
        style.save_figure(figure, data, **paths(tmp_path))
    assert str(tmp_path / "figure.csv") in str(error.value) and "data_quality.csv" in str(error.value)
    assert not list(tmp_path.iterdir())


def test_same_data_gives_the_same_bytes(tmp_path: Path) -> None:
    content = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        figure, axes = style.grid(1, 2)
        axes[0, 0].plot([0, 1], [0, 1])
        style.save_figure(figure, DATA, **paths(folder), optional=["low"])
        content.append([Path(path).read_bytes() for path in paths(folder).values()])
    assert content[0] == content[1]


def test_length_axis_labels_have_room() -> None:
    figure, axes = style.grid(1, 1)
    style.length_axis(axes[0, 0], [0, 1, 5, 20, 50, 100, 150, 200, 250, 300])
    assert [int(tick) for tick in axes[0, 0].get_xticks()][:2] == [300, 200]
    assert set(axes[0, 0].get_xticks()) | set(axes[0, 0].get_xticks(minor=True)) >= {0, 1, 5, 250}


def test_unknown_names_get_a_colour_of_their_own() -> None:
    colours = style.colours(["simple", "mine", "advanced", "yours"], style.SCHEME_COLOURS)
    assert len(set(colours.values())) == 4 and colours["simple"] == style.SCHEME_COLOURS["simple"]


def test_pale_keeps_the_hue_and_lightens() -> None:
    assert style.pale("#000000") == "#8c8c8c" and style.pale("#ffffff") == "#ffffff"


@pytest.mark.parametrize("count", [1, 4, 9])
def test_legend_stays_within_the_figure(tmp_path: Path, count: int) -> None:
    figure, axes = style.grid(1, 2)
    axes[0, 0].plot([0, 1], [0, 1])
    style.legend_below(figure, [style.key(f"an entry of some length {i}") for i in range(count)], "a note")
    style.save_figure(figure, DATA, **paths(tmp_path), optional=["low"])
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0 and box.x1 <= figure.bbox.width
    assert figure.legends[0].get_title().get_text() == "a note"


def test_nothing_to_draw_still_makes_all_files(tmp_path: Path) -> None:
    style.nothing_to_draw("for this reason", **paths(tmp_path))
    assert pd.read_csv(tmp_path / "figure.csv")["note"].tolist() == ["for this reason"]
    assert (tmp_path / "figure.pdf").read_bytes().startswith(b"%PDF") and (tmp_path / "figure.png").exists()


def test_every_colour_is_named_in_one_file() -> None:
    """So that another colour is one line."""
    library = Path(style.__file__).parents[1]
    for folder in ("paper", "rank", "gallery"):
        for path in (library / folder).glob("*.py"):
            assert path.name == "style.py" or not re.search(r'"#[0-9A-Fa-f]{6}"', path.read_text()), path


@pytest.mark.slow
def test_figures_fit_the_page_and_bring_their_fonts(published: Path) -> None:
    figures = sorted((published / "results/published/figures").glob("*.pdf"))
    assert len(figures) == 12
    for path in figures:
        content = path.read_bytes()
        [width] = re.findall(rb"/MediaBox \[ 0 0 ([\d.]+) ", content)
        assert float(width) / 72 <= style.WIDTH + 0.01, path.name
        assert b"/FontFile2" in content and b"/Type3" not in content, path.name
