"""The page is one file: whole for every kind of run, escaped, without anything to load."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from jinja2 import Template
from PIL import Image

from tests.lib.claims.all_tables import write_judged, write_tables
from tests.lib.paper.test_figures import GRIDS
from tests.lib.tables.synthetic_run import write_run
from workflow.lib.job.run import UserError, write_json
from workflow.lib.page.page import PLACED, as_table, figure, linked, render, write_page
from workflow.lib.page.topic import write_rank, write_topic
from workflow.lib.paper.captions import caption_text
from workflow.lib.selection.answer import write_answer
from workflow.lib.tables.headed import write_table

REPORT = Path(__file__).parents[3] / "workflow/report"
CAPTIONS = [REPORT / f"{name}.rst" for name in [*PLACED, "replay", "robustness_vs_length"]]
SHEETS = [REPORT / "images.rst", REPORT / "segmentations.rst"]


def sheets_of(folder: Path, target: str) -> None:
    """Empty contact sheets of a target, with their numbers."""
    (folder / "gallery").mkdir(exist_ok=True)
    for sheet in ("images", "segmentations"):
        Image.new("RGB", (300, 200), "grey").save(folder / f"gallery/{target}-{sheet}.png")
        (folder / f"gallery/{target}-{sheet}.pdf").touch()
    rows = [
        {"case": case, "start": "best: simple", "class": "c", "dice": dice}
        for case, dice in (("best", 0.5), ("worst", None))
    ]
    pd.DataFrame(rows).to_csv(folder / f"gallery/{target}-segmentations.csv", index=False)
    (folder / f"gallery/{target}-images.csv").touch()


def rank_page(folder: Path, targets: list[str]) -> Path:
    """The page of made-up rankings of two candidates."""
    rows = {
        "place": [1, 2],
        "candidate": ["a", "b"],
        "value": [-0.1, -0.2],
        "ci_low": -0.3,
        "ci_high": 0.0,
        "undecided": [True, False],
    }
    rows |= {
        "gain_over_default": [0.0, -0.1],
        "gain_low": -0.2,
        "gain_high": 0.1,
        "default": [True, False],
        "inputs": "x",
        "seconds": 2.5,
        "warnings": "",
    }
    for target in targets:
        sheets_of(folder, target)
        place = folder / "rank" / target
        place.mkdir(parents=True)
        pd.DataFrame(rows).to_csv(place / "ranking.csv", index=False)
        Image.new("RGB", (300, 100), "grey").save(place / "ranking.png")
        (place / "ranking.pdf").touch()
        (place / "answer.txt").write_text("First.\n")
        (place / "confirm.txt").write_text("Then.\n\nAnd.\n")
        named = dict.fromkeys(("choice", "default"), {"label": "a", "path": "p"})
        write_json(place / "ranking.json", named | {"best": {"label": "b", "path": "q"}})
    write_rank(
        run="mine",
        warnings=["The images are generated"],
        targets=targets,
        captions=[str(path) for path in [*SHEETS, REPORT / "rank.rst"]],
        files=[str(path) for path in folder.rglob("*.*")],
        template=str(REPORT / "topic.html.j2"),
        output=folder / "rank.html",
    )
    return folder / "rank.html"


def page_of(folder: Path, gallery: list[str] | None = None, **grid: Any) -> str:
    """The page of a made-up run, its figures empty; gallery: targets with contact sheets."""
    downstream, robustness = write_run(folder, **grid)
    tables = write_tables(downstream, robustness, folder / "tables")
    write_judged(downstream, robustness, None, folder / "tables")
    write_answer(downstream, tables["selection_summary"], folder / "answer.json", folder / "answer.txt")
    (folder / "figures").mkdir()
    for path in CAPTIONS:
        Image.new("RGB", (300, 200)).save(folder / f"figures/{path.stem}.png")
        for kind in ("pdf", "csv"):
            (folder / f"figures/{path.stem}.{kind}").touch()
    for target in gallery or []:
        sheets_of(folder, target)
    files = [str(path) for path in folder.rglob("*.*")]
    write_page(
        run="<mine>",
        files=files,
        cards=[],
        template=str(REPORT / "index.html.j2"),
        captions=[str(path) for path in CAPTIONS + SHEETS],
        titles={path.stem: f"title of {path.stem}" for path in CAPTIONS},
        gallery=gallery or [],
        protocol="sound",
        output=folder / "index.html",
    )
    return (folder / "index.html").read_text()


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("grid", GRIDS)
def test_page_of_a_run(tmp_path: Path, grid: str) -> None:
    page = page_of(tmp_path, ["sheets of one"], **GRIDS[grid])
    assert "&lt;mine&gt;" in page and "<mine>" not in page and "generated" not in page
    assert page.count("data:image/png") == len(CAPTIONS) and page.count("data:image/webp") == 2
    check_links(page, tmp_path)
    for text in (
        "Start from",
        "Every claim of the register",
        "Findings of the audit",
        "Mean Dice of every start",
        "<dt>Protocol</dt><dd>sound",
    ):
        assert text in page


def check_links(page: str, folder: Path) -> None:
    """Every link leads to a file or to a part of the page, and nothing is loaded."""
    assert not re.search(r'(?:src|href)="(?:\w+:)?//|@import|url\(', page)
    for link in re.findall(r'href="([^"#:]+)"', page):
        assert (folder / link).exists(), link
    for target in re.findall(r'href="#([^"]+)"', page):
        assert f'id="{target}"' in page


def test_page_of_rankings(tmp_path: Path) -> None:
    page = rank_page(tmp_path, ["eyes", "hearts"]).read_text()
    check_links(page, tmp_path)
    for text in (
        "Start from a, the default, as no other is shown to be better.",
        "The images are generated",
        "<p>First.</p>",
        "<p>And.</p>",
        "-0.1000 [-0.3000, 0.0000]",
        "Eyes: images",
    ):
        assert text in page
    assert page.count("data:image/webp") == 2 and page.count("data:image/png") == 2


def topic_page(folder: Path) -> Path:
    """The page of a topic with one figure and one table."""
    table = pd.DataFrame(
        {
            "dataset": ["a"],
            "patients": 0,
            "task": "masked",
            "estimate": 0.25,
            "low": 0.1,
            "high": 0.4,
            "verdict": "supported",
        }
    )
    (folder / "tables").mkdir()
    (folder / "figures").mkdir()
    write_table(table, folder / "tables/transfer_effects.csv", "What is compared.")
    Image.new("RGB", (300, 200)).save(folder / "figures/transfer_gain.png")
    for name in ("transfer_gain.pdf", "transfer_gain.csv"):
        (folder / "figures" / name).touch()
    write_topic(
        run="mine",
        warnings=["The images are generated"],
        title="Which task?",
        lead="Higher is better.",
        figures={"transfer_gain": "what a task gains"},
        tables={"transfer_effects": "Gains"},
        captions=[str(REPORT / "transfer_gain.rst")],
        files=[str(path) for path in folder.rglob("*.*")],
        template=str(REPORT / "topic.html.j2"),
        output=folder / "transfer.html",
    )
    return folder / "transfer.html"


def test_page_of_a_topic(tmp_path: Path) -> None:
    page = topic_page(tmp_path).read_text()
    check_links(page, tmp_path)
    for text in (
        "Which task?",
        "What a task gains",
        "What is compared.",
        "The images are generated",
        "masked",
        "0.2500",
    ):
        assert text in page
    assert ">all</td>" in page and '<td class="supported">' in page


def test_captions_are_plain_and_name_the_run() -> None:
    for path in sorted(set(REPORT.glob("*.rst")) - {REPORT / "workflow.rst"}):  # the front page
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


def test_the_front_page_of_the_report_shows_the_answer_and_its_warnings(tmp_path: Path) -> None:
    lines = ["a: start from x.", "b: start from y.", "", "Details of a.", "", "The images are generated."]
    (tmp_path / "answer.txt").write_text("\n".join(lines))
    page = Template((REPORT / "workflow.rst").read_text())
    shown = page.render(files=[SimpleNamespace(path=tmp_path / "answer.txt")], categories=[])
    assert "a medical U-Net start from?" in shown and "<p>The images are generated.</p>" in shown
