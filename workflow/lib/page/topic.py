"""Pages of single topics: a ranking, tasks and transfers, pools. Each is one file, made as the page of a run is."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workflow.lib.job.run import read_json
from workflow.lib.page import content
from workflow.lib.page.page import SHEETS, as_table, figure, linked, sheets, write_html
from workflow.lib.paper.captions import captions_of
from workflow.lib.paper.tables import digest
from workflow.lib.tables.headed import read_table


def write_topic(
    *,
    run: str,
    warnings: Sequence[str],
    title: str,
    lead: str,
    figures: Mapping[str, str],
    tables: Mapping[str, str],
    captions: Sequence[str],
    files: Sequence[str],
    template: str,
    output: str | Path,
) -> None:
    """Write the page of a topic to `output`, beside which its `files` are.

    figures, tables: {name: title}; the columns of a table are those that are set in LaTeX. captions: name.rst of each figure.
    warnings: what must be known first.
    """
    folder, caption = Path(output).parent, captions_of(captions, run)
    shown = {name: digest(name, folder / "tables" / f"{name}.csv")[0] for name in tables}
    first: list[dict[str, Any]] = [
        _section(
            name, f"{about[:1].upper()}{about[1:]}", figures=[figure(folder / "figures" / name, about, caption[name])]
        )
        for name, about in figures.items()
    ]
    if "transfer_claims" in tables:
        short, *more = content.decided(read_table(folder / "tables" / "transfer_claims.csv"))
        first.insert(0, _section("answer", "In short", answer=short, texts=more))
    second = [_section(f"table-{name}", about, tables={name: f"Table: {about}"}) for name, about in tables.items()]
    write_html(
        output,
        template,
        run=run,
        warnings=warnings,
        title=title,
        lead=lead,
        sections=first + second,
        tables={
            name: as_table(folder / "tables" / f"{name}.csv", frame, dict.fromkeys(FILTERS, ""))
            for name, frame in shown.items()
        },
        files=linked(files, folder),
    )


# Columns of these tables that rows are chosen by.
FILTERS = ("Budget", "Target", "Encoder", "Patients", "Task", "Transfer", "Against", "Measure", "Verdict", "Features")


def write_rank(
    *,
    run: str,
    warnings: Sequence[str],
    targets: Sequence[str],
    captions: Sequence[str],
    files: Sequence[str],
    template: str,
    output: str | Path,
) -> None:
    """Write the page of a run's rankings to `output`; beside it are rank/<target>/ and gallery/, which hold its `files`.
    warnings: what must be known first."""
    folder, caption = Path(output).parent, captions_of(captions, run)
    sections, tables = [], {}
    for target in targets:
        place = folder / "rank" / target
        texts = [(place / name).read_text() for name in ("answer.txt", "confirm.txt") if (place / name).exists()]
        ranked = figure(place / "ranking", f"{target}: candidates", caption["rank"])
        ranked |= {
            "name": f"ranking-{target}",
            "files": [f"rank/{target}/ranking.{kind}" for kind in ("pdf", "png", "csv")],
        }
        seen = sheets(folder, target, caption, {"images": SHEETS["images"]})
        tables[f"candidates-{target}"] = as_table(
            place / "ranking.csv",
            content.candidates(read_table(place / "ranking.csv")),
            {"In the confidence set": ""},
        ) | {"file": f"rank/{target}/ranking.csv"}
        facts = read_json(place / "ranking.json")
        sections.append(
            _section(
                f"target-{target}",
                target,
                answer=_start(facts),
                texts=[part for text in texts for part in text.strip().split("\n\n")],
                figures=[ranked, *seen],
                tables={f"candidates-{target}": f"Candidates for {target}"},
            )
        )
    write_html(
        output,
        template,
        run=run,
        warnings=warnings,
        title="Which checkpoint to start from, by scores of your images",
        lead="A transferability score is not a Dice score. Look first whether the images are as they should be.",
        sections=sections,
        tables=tables,
        files=linked(files, folder),
    )


def _start(facts: Mapping[str, Any]) -> str:
    """The answer of a ranking, from ranking.json, in a sentence."""
    choice, default, best = facts["choice"], facts["default"], facts["best"]
    if choice["path"] != default["path"]:
        return f"Start from {choice['label']}."
    why = ", as no other is shown to be better" * (best["path"] != default["path"])
    return f"Start from {choice['label']}, the default{why}."


def _section(name: str, title: str, **parts: Any) -> dict[str, Any]:
    """A part of a page; parts: answer (a sentence), texts, figures, tables {name: caption}."""
    return {"id": name, "title": title, "answer": "", "texts": [], "figures": [], "tables": {}} | parts
