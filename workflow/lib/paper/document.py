"""All figures and tables of a run, with their captions, as one LaTeX document, and as PDF."""

import os
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from workflow.lib.job.run import UserError, atomic_path
from workflow.lib.paper.captions import captions_of
from workflow.lib.paper.style import WIDTH
from workflow.lib.paper.tables import escape
from workflow.lib.tables.headed import head_of

RUNS = 3  # of LaTeX, after which the columns of long tables have their widths
HEAD = r"""\documentclass[9pt]{extarticle}
\usepackage[T1]{fontenc}
\usepackage{lmodern}
\usepackage[a4paper, textwidth=WIDTHin, textheight=10in]{geometry}
\usepackage{booktabs, longtable, array, graphicx, caption, pdflscape}
\captionsetup{font=small, labelfont=bf}
\setlength{\LTleft}{0pt}
\setlength{\tabcolsep}{3pt}
\setlength{\parindent}{0pt}
\raggedbottom
% Figures keep their size, and so their fonts; wider ones are fitted.
\makeatletter
\def\fitted{\ifdim\Gin@nat@width>\linewidth\linewidth\else\Gin@nat@width\fi}
\makeatother
\setkeys{Gin}{width=\fitted}
"""


def write_document(
    *,
    run: str,
    figures: Mapping[str, str],
    sheets: Sequence[str],
    tables: Mapping[str, str],
    captions: Sequence[str],
    output: str | Path,
) -> None:
    """Write `output`, a LaTeX document that includes files of its folder.

    figures, tables: {name: title}; sheets: targets with contact sheets; captions: name.rst of every figure, and of images and
    segmentations. Above each table are the lines that say what it estimates.
    """
    folder, caption = Path(output).parent, captions_of(captions, run)
    shown = [(f"figures/{name}", title, caption[name]) for name, title in figures.items()]
    shown += [
        (f"gallery/{target}-{sheet}", f"{target}: {sheet}", caption[sheet])
        for target in sheets
        for sheet in ("images", "segmentations")
    ]
    parts = [HEAD.replace("WIDTH", f"{WIDTH:g}"), r"\begin{document}"]
    parts.append(rf"\section*{{Figures and tables of run {escape(run)}}}")
    for path, title, text in shown:
        parts += [r"\begin{figure}[!htbp]", r"\centering", rf"\includegraphics{{{path}.pdf}}"]
        parts += [rf"\caption{{\textbf{{{_sentence(title)}}} {escape(text)}}}", r"\end{figure}"]
    parts.append(r"\begin{landscape}")  # some tables are wide
    for name, title in tables.items():
        about = escape(" ".join(head_of(folder / "tables" / f"{name}.csv").split()))
        parts += [
            rf"\section*{{{_sentence(title)}}}",
            about,
            "",
            r"{\tiny\sloppy",
            rf"\input{{tables/{name}.tex}}",
            "}",
        ]
    with atomic_path(output) as temporary:
        temporary.write_text("\n".join([*parts, r"\end{landscape}", r"\end{document}"]) + "\n")


def _sentence(title: str) -> str:
    return f"{escape(title[:1].upper() + title[1:])}."


def compile_document(tex: str | Path, pdf: str | Path) -> None:
    """Make a PDF of a LaTeX document with pdflatex, in a folder of its own. Raises `UserError` with LaTeX's first error."""
    tex = Path(tex).absolute()
    with tempfile.TemporaryDirectory() as place, atomic_path(pdf) as temporary:
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", f"-output-directory={place}", tex.name]
        for _ in range(RUNS):
            made = subprocess.run(
                command, cwd=tex.parent, capture_output=True, text=True, errors="replace", env=_dateless()
            )
            if made.returncode:
                first = re.search(r"^!.*(?:\n.*){0,3}", made.stdout, re.MULTILINE)
                raise UserError(
                    "LaTeX cannot set the document",
                    found=first.group() if first else made.stdout[-500:],
                    expected="LaTeX with booktabs, longtable, pdflscape, caption, extsizes and Latin Modern",
                    where=tex,
                    next="apt-get install texlive-latex-recommended texlive-latex-extra texlive-fonts-recommended lmodern",
                )
        Path(place, f"{tex.stem}.pdf").replace(temporary)


def _dateless() -> dict[str, str]:
    """The environment in which LaTeX writes no dates, so that the same tables give the same bytes."""
    return os.environ | {"SOURCE_DATE_EPOCH": "0", "FORCE_SOURCE_DATE": "1"}
