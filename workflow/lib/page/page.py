"""The page of a run: one HTML file that answers the study's question, with its figures and tables, and loads nothing."""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from workflow.lib.job.run import UserError, atomic_path, read_json
from workflow.lib.page import content
from workflow.lib.paper.captions import captions_of
from workflow.lib.tables.headed import head_of, read_table
from workflow.lib.tables.read import read_downstream

# Figures that have a place beside the table that they show; the others are in the gallery.
PLACED = ["dice_vs_length", "score_selection", "claims_forest"]
SHEETS = {"images": "images as networks see them", "segmentations": "segmentations"}
PLACES = {"figures": "Figures", "tables": "Tables", "gallery": "Contact sheets", "rank": "Rankings"}
SCALE = 0.8  # pixels of the page per pixel of a figure: the widest fill the page


def write_page(
    *,
    run: str,
    files: Sequence[str],
    cards: Sequence[str],
    template: str,
    captions: Sequence[str],
    titles: Mapping[str, str],
    gallery: Sequence[str],
    protocol: str | None,
    output: str | Path,
) -> None:
    """Write the page of `run` to `output`, beside which its `files` are: answer.json, downstream_scores.csv, tables and figures.

    cards: JSON files that say how the run was made, where there are any; protocol: where they do not name it.
    template: the page; page.css and page.js beside it become part of it. captions: name.rst of every figure in `titles`, and of
    the two contact sheets of each target in `gallery`.
    """
    folder = Path(output).parent
    caption = captions_of(captions, run)
    answer, tables = read_json(folder / "answer.json"), folder / "tables"
    claims = read_table(tables / "claims.csv")
    results = read_downstream(folder / "downstream_scores.csv")
    dice = [pd.read_csv(folder / "gallery" / f"{target}-segmentations.csv").assign(target=target) for target in gallery]
    write_html(
        output,
        template,
        run=run,
        warnings=answer["warnings"],
        best=content.best_starts(answer),
        short=content.in_short(answer, claims),
        scope=answer["scope"],
        card=content.run_card(run, results, [read_json(path) for path in cards], protocol),
        tables={
            "ranking": as_table(
                tables / "downstream.csv",
                content.ranking(read_table(tables / "downstream.csv"), answer),
                {"Target": "", "Network": "", "Encoder": "", "Scheme": "", "In the confidence set": "yes"},
            ),
            "selectors": as_table(
                tables / "score_selection_summary.csv",
                content.selectors(read_table(tables / "score_selection_summary.csv", dtype={"goal": str})),
                {"Choice among": "lengths of a run", "Target": content.ALL_TARGETS, "Goal": ""},
            ),
            "claims": as_table(tables / "claims.csv", content.judged_claims(claims), {"Verdict": ""}),
            "findings": as_table(
                tables / "data_quality.csv", content.findings(read_table(tables / "data_quality.csv")), {"Finding": ""}
            ),
            "segmentations": as_table(
                folder / "gallery" / f"{next(iter(gallery), '')}-segmentations.csv",
                content.dice_of_cases(pd.concat(dice)),
                {"Target": "", "Start": "", "Case": ""},
            )
            if gallery
            else {},
        },
        figures={name: figure(folder / "figures" / name, titles[name], caption[name]) for name in titles},
        gallery={target: sheets(folder, target, caption, SHEETS) for target in gallery},
        placed=PLACED,
        files=linked(files, folder),
    )


def sheets(folder: Path, target: str, captions: Mapping[str, str], names: Mapping[str, str]) -> list[dict[str, Any]]:
    """The contact sheets of a target as the template shows them; names: {sheet: title}."""
    return [
        figure(folder / "gallery" / f"{target}-{name}", f"{target}: {title}", captions[name], small=True)
        for name, title in names.items()
    ]


def write_html(output: str | Path, template: str | Path, **values: Any) -> None:
    """Write the template's text with its values; page.css and page.js beside it become part of it."""
    assets = Path(template).parent
    style, script = ((assets / name).read_text() for name in ("page.css", "page.js"))
    page = render(template, style=style, script=script, verdicts=content.VERDICTS, **values)
    with atomic_path(output) as temporary:
        temporary.write_text(page)


def render(template: str | Path, **values: Any) -> str:
    """The template's text with its values, which are escaped; a name without a value is an error."""
    loader = FileSystemLoader(Path(template).parent)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(Path(template).name).render(values)


def as_table(path: Path, frame: pd.DataFrame, filters: Mapping[str, str]) -> dict[str, Any]:
    """A table as the template shows it: without empty columns; `filters`: columns to choose values of, with the value that is
    chosen first ("": all). A value that the table lacks is not chosen."""
    columns = [title for title in frame if (frame[title] != "").any()]
    return {
        "file": f"{path.parent.name}/{path.name}",
        "head": head_of(path),
        "columns": columns,
        "rows": frame[columns].to_numpy().tolist(),
        "filters": {
            title: first if first in set(frame[title]) else ""
            for title, first in filters.items()
            if title in columns and frame[title].nunique() > 1
        },
        "numbers": [title for title in columns if frame[title].str.fullmatch(r"|[-+]?\d[-+\d., \[\]]*").all()],
    }


def figure(place: Path, title: str, caption: str, *, small: bool = False) -> dict[str, Any]:
    """A figure as the template shows it, its image as text, width and height as shown on a wide screen.

    place: its files without suffix, in a folder beside the page; small: compressed with loss, for photographs.
    """
    path = place.parent / f"{place.name}.png"
    image = path.read_bytes()
    if not image.startswith(b"\x89PNG\r\n\x1a\n"):
        raise UserError(
            "unreadable figure",
            found=f"{len(image)} bytes that are no PNG",
            expected="a PNG image that this workflow drew",
            where=path,
            next=f"rm {path}, then run the same command again: it will be drawn again",
        )
    width, height = int.from_bytes(image[16:20]), int.from_bytes(image[20:24])
    return {
        "name": place.name,
        "title": title[:1].upper() + title[1:],
        "caption": caption,
        "width": round(SCALE * width),
        "height": round(SCALE * height),
        "image": _as_text(image, small=small),
        "files": [f"{place.parent.name}/{place.name}.{kind}" for kind in ("pdf", "png", "csv")],
    }


def _as_text(png: bytes, *, small: bool) -> str:
    if not small:
        return "data:image/png;base64," + base64.b64encode(png).decode()
    with Image.open(io.BytesIO(png)) as picture, io.BytesIO() as file:
        picture.convert("RGB").save(file, "WEBP", quality=80, method=4)
        return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()


def linked(files: Sequence[str], folder: Path) -> dict[str, dict[str, list[str]]]:
    """The files in the run's folder by their folder there and their name, each as a link from it."""
    links: dict[str, dict[str, list[str]]] = {}
    for path in sorted({Path(file).relative_to(folder) for file in files}):
        place = PLACES.get(path.parts[0], "The run") if len(path.parts) > 1 else "The run"
        links.setdefault(place, {}).setdefault(path.name.partition(".")[0], []).append(path.as_posix())
    return links
