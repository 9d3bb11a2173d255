"""The page is one file: whole for every kind of run, escaped, without anything to load."""

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from tests.lib.claims.all_tables import write_judged, write_tables
from tests.lib.paper.test_figures import GRIDS
from tests.lib.tables.synthetic_run import write_run
from workflow.lib.job.run import UserError
from workflow.lib.page.page import PLACED, as_table, caption_text, figure, linked, render, write_page
from workflow.lib.selection.answer import write_answer
from workflow.lib.tables.headed import write_table

REPORT = Path(__file__).parents[3] / "workflow/report"
CAPTIONS = [REPORT / f"{name}.rst" for name in [*PLACED, "replay", "robustness_vs_length"]]


def page_of(folder: Path, **grid: Any) -> str:
    """The page of a made-up run, its figures empty."""
    downstream, robustness = write_run(folder, **grid)
    tables = write_tables(downstream, robustness, folder / "tables")
    write_judged(downstream, robustness, None, folder / "tables")
    write_answer(downstream, tables["selection_summary"], folder / "answer.json", folder / "answer.txt")
    (folder / "figures").mkdir()
    for path in CAPTIONS:
        Image.new("RGB", (300, 200)).save(folder / f"figures/{path.stem}.png")
        for kind in ("pdf", "csv"):
            (folder / f"figures/{path.stem}.{kind}").touch()
    files = [str(path) for path in folder.rglob("*.*")]
    write_page(
        run="<mine>",
        files=files,
        cards=[],
        template=str(REPORT / "index.html.j2"),
        captions=[str(path) for path in CAPTIONS],
        titles={path.stem: f"title of {path.stem}" for path in CAPTIONS},
        gallery=[],
        protocol="sound",
        output=folder / "index.html",
    )
    return (folder / "index.html").read_text()


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("grid", GRIDS)
def test_page_of_a_run(tmp_path: Path, grid: str) -> None:
    page = page_of(tmp_path, **GRIDS[grid])
    assert "&lt;mine&gt;" in page and "<mine>" not in page
    assert page.count("data:image/png") == len(CAPTIONS)
    assert not re.search(r'(?:src|href)="(?:\w+:)?//|@import|url\(', page)
    for link in re.findall(r'href="([^"#:]+)"', page):
        assert (tmp_path / link).exists(), link
    for target in re.findall(r'href="#([^"]+)"', page):
        assert f'id="{target}"' in page
    for text in (
        "Start from",
        "Every claim of the register",
        "Findings of the audit",
        "Mean Dice of every start",
        "<dt>Protocol</dt><dd>sound",
    ):
        assert text in page


def test_captions_are_plain_and_name_the_run() -> None:
    for path in sorted(REPORT.glob("*.rst")):
        text = caption_text(path.read_text(), "mine")
        assert text and not re.search(r"[{}*`]|\n| ,|  ", text), f"{path}: {text}"
    assert caption_text("Run *{{ snakemake.wildcards.run }}*:\n``x.csv``, *so*", "a") == "Run a: x.csv, so"


def test_tables_leave_out_empty_columns_and_choose_only_what_is_there(tmp_path: Path) -> None:
    frame = pd.DataFrame({"Target": ["x", "y"], "Goal": "", "Dice": ["0.5 [0.4, 0.6]", ""], "Mode": "frozen"})
    write_table(frame, tmp_path / "t.csv", "What it says.\nAnd not.")
    table = as_table(tmp_path / "t.csv", frame, {"Target": "z", "Goal": "", "Mode": "frozen"})
    assert table["columns"] == ["Target", "Dice", "Mode"] and table["numbers"] == ["Dice"]
    assert table["filters"] == {"Target": ""} and table["head"] == "What it says.\nAnd not."
    assert as_table(tmp_path / "t.csv", frame, {"Target": "y"})["filters"] == {"Target": "y"}


def test_values_are_escaped_and_none_is_missing(tmp_path: Path) -> None:
    (tmp_path / "x.html.j2").write_text("{{ a }}")
    assert render(tmp_path / "x.html.j2", a="<b>") == "&lt;b&gt;"
    with pytest.raises(Exception, match="'a' is undefined"):
        render(tmp_path / "x.html.j2")


def test_files_are_links_by_folder_and_name(tmp_path: Path) -> None:
    names = ["tables/b.tex", "tables/b.csv", "figures/a.png", "answer.txt", "patient_scores.csv.gz"]
    assert linked([str(tmp_path / name) for name in names], tmp_path) == {
        "The run": {"answer": ["answer.txt"], "patient_scores": ["patient_scores.csv.gz"]},
        "Figures": {"a": ["figures/a.png"]},
        "Tables": {"b": ["tables/b.csv", "tables/b.tex"]},
    }


def test_a_damaged_figure_is_reported(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"(?s)no PNG.*rm .*a\.png"):
        figure(tmp_path / "a", "title", "caption")
