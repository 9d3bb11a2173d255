"""The document of all figures and tables: set by LaTeX where it is installed, and an error that names what is wrong."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from workflow.lib.job.run import UserError
from workflow.lib.paper import style
from workflow.lib.paper.document import compile_document, write_document
from workflow.lib.paper.tables import set_table
from workflow.lib.tables.headed import write_table


def document(folder: Path) -> Path:
    """A document of a figure, a contact sheet and a table, with all that LaTeX takes for a command."""
    for place in ("figures/replay", "gallery/t-images", "gallery/t-segmentations"):
        figure, axes = style.grid(1, 1)
        axes[0, 0].plot([0, 1], [0, 1])
        path = folder / place
        data = pd.DataFrame({"value": [1.0]})
        style.save_figure(figure, data, pdf=f"{path}.pdf", png=f"{path}.png", csv=f"{path}.csv")
    row = {"file": "a_b", "kind": "50 % & more", "count": 3, "where": "{x}^2 ~ #1", "treatment": "−1 < ρ > \\n$"}
    write_table(pd.DataFrame([row]), folder / "tables/data_quality.csv", "100 % of _all_ rows.\nAnd no more.")
    set_table("data_quality", folder / "tables/data_quality.csv", folder / "tables/data_quality.tex")
    for name in ("replay", "images", "segmentations"):
        (folder / f"{name}.rst").write_text("Dice & *more* of run {{ snakemake.wildcards.run }}: 5 %\n")
    write_document(
        run="my_run",
        figures={"replay": "stopping rules"},
        sheets=["t"],
        tables={"data_quality": "data quality"},
        captions=[str(folder / f"{name}.rst") for name in ("replay", "images", "segmentations")],
        output=folder / "paper.tex",
    )
    return folder / "paper.tex"


def test_every_figure_and_table_is_there_with_its_caption(tmp_path: Path) -> None:
    text = document(tmp_path).read_text()
    for part in (
        "figures/replay.pdf",
        "gallery/t-images.pdf",
        "gallery/t-segmentations.pdf",
        r"\input{tables/data_quality.tex}",
    ):
        assert part in text
    assert text.count(r"Dice \& more of run my\_run: 5 \%") == 3
    assert r"100 \% of \_all\_ rows. And no more." in text


@pytest.mark.slow
def test_latex_sets_it_and_says_what_it_lacks(tmp_path: Path) -> None:
    if not shutil.which("pdflatex"):
        pytest.skip("pdflatex is absent (apt install texlive-latex-extra texlive-fonts-recommended lmodern)")
    tex = document(tmp_path)
    compile_document(tex, tmp_path / "paper.pdf")
    content = (tmp_path / "paper.pdf").read_bytes()
    assert content.startswith(b"%PDF") and len(content) > 10_000
    tex.write_text(tex.read_text().replace("replay.pdf", "nothing.pdf"))
    with pytest.raises(UserError, match=r"(?s)LaTeX cannot set the document.*nothing.pdf"):
        compile_document(tex, tmp_path / "other.pdf")
    assert not (tmp_path / "other.pdf").exists()
