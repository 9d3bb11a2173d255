"""Findings of an audit: which kinds there are, how places are named, and the text that reports them."""

from collections.abc import Iterable, Mapping
from textwrap import fill
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

COLUMNS = ["file", "kind", "count", "where", "treatment"]
REFUSED = "the statistics refuse this file until it is corrected"
SHOWN = 10  # places named in one finding; its count covers all

# kind -> what its count counts, and what is true where nothing of the kind is found
_BOTH = {
    "exact duplicate": ("row", "no row is repeated"),
    "value out of range": ("row", "all values are possible"),
    "conflicting rows": ("row", "no two rows of a cell disagree"),
    "missing cell": ("cell", "no cell of the grid is missing"),
    "uneven lengths": ("checkpoint", "all pretraining runs have the same lengths"),
    "identical blocks": ("row", "no checkpoint repeats the whole block of another"),
}
DOWNSTREAM_KINDS = _BOTH | {"conflicting accuracy": ("checkpoint", "every checkpoint has one ImageNet accuracy")}
ROBUSTNESS_KINDS = _BOTH | {
    "undefined score": ("row", "every score is defined"),
    "constant score curve": ("curve", "no score is the same at all lengths"),
    "tied lowest score": ("curve", "no score has its lowest value at several lengths"),
}
LABEL_KINDS = {
    "inconsistent label": ("row", "everything is spelled in one way"),
    "label in one file only": ("row", "both hold the same data sets, encoders, schemes and lengths"),
}
KINDS = DOWNSTREAM_KINDS | ROBUSTNESS_KINDS | LABEL_KINDS
NOUNS = {
    "dataset": "data set",
    "freeze": "fine-tuning mode",
    "pooled": "pooling",
    "model": "network",
    "epochs": "length",
}

Finding = dict[str, Any]


class Audited(NamedTuple):
    """One file: its rows under canonical names, labels as spelled (same index), rows used, its grid, what was found."""

    name: str
    frame: pd.DataFrame
    spelled: pd.DataFrame
    used: int
    grid: str
    findings: list[Finding]


def finding(file: str, kind: str, count: int, where: Iterable[str], treatment: str) -> list[Finding]:
    """The finding in a list of its own, up to `SHOWN` places named; an empty list when nothing is counted."""
    values = [file, kind, int(count), "; ".join(_first(list(where), "places")), treatment]
    return [dict(zip(COLUMNS, values, strict=True))] if count else []


def said(column: str, label: Any) -> str:
    """A label for people: said("epochs", 5.0) is "length 5", said("freeze", True) "frozen"."""
    if isinstance(label, bool | np.bool_) and column in ("freeze", "pooled"):
        return {"freeze": ("trainable", "frozen"), "pooled": ("not pooled", "pooled")}[column][int(label)]
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    nouns = {
        "epochs": "length",
        "seed": "seed",
        "pretrain_seed": "pretraining seed",
        "margin": "margin",
        "level": "level",
    }
    return f"{nouns[column]} {label}" if column in nouns else str(label)


def said_row(labels: Mapping[str, Any]) -> str:
    """The labels of a row for people, in their order."""
    return ", ".join(said(column, label) for column, label in labels.items())


def counted(number: int, noun: str) -> str:
    """counted(2000, "cell") is "2,000 cells"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def summary(downstream: Audited, robustness: Audited, labels: list[Finding]) -> str:
    """What was read, what was found, and what was checked and found clean."""
    lines = ["AUDIT OF THE TWO INPUT TABLES", ""]
    for file, kinds in ((downstream, DOWNSTREAM_KINDS), (robustness, ROBUSTNESS_KINDS)):
        lines += [f"{file.name}: {counted(len(file.frame), 'row')}, {file.used:,} used"]
        lines += [_paragraph("grid", file.grid), *_told(file.findings, kinds), ""]
    lines += ["Labels of both files", *_told(labels, LABEL_KINDS), ""]
    rows, used = sum(len(file.frame) for file in (downstream, robustness)), downstream.used + robustness.used
    findings = downstream.findings + robustness.findings + labels
    refused = sorted({found["file"] for found in findings if found["treatment"] == REFUSED})
    verdict = "The statistics accept both files."
    if refused:
        verdict = f"THE STATISTICS REFUSE {' and '.join(refused)} until corrected."
    lines += [f"In all: {rows:,} rows read, {used:,} used, {counted(len(findings), 'finding')}.", verdict]
    lines += ["One row for each finding: data_quality.csv. No check can detect a plausible value that is wrong."]
    return "\n".join(lines) + "\n"


def _told(findings: list[Finding], kinds: dict[str, tuple[str, str]]) -> list[str]:
    """A paragraph for each kind found, then what was found clean."""
    lines = []
    for kind, (unit, _) in kinds.items():
        group = [found for found in findings if found["kind"] == kind]
        treatments = {found["treatment"] for found in group}
        if not group:
            continue
        one = f"; {treatments.pop()}" if len(treatments) == 1 else ""
        lines.append(_paragraph("found", f"{kind}: {counted(sum(found['count'] for found in group), unit)}{one}"))
        places = [f"{found['where']}{'' if one else ': ' + found['treatment']}" for found in group]
        numbers = [f"{found['count']:,}: " if len(group) > 1 else "" for found in group]
        rows = [number + place for number, place in zip(numbers, places, strict=True)]
        lines += [_paragraph("       -", row) for row in _first(rows, "findings")]
    clean = [text for kind, (_, text) in kinds.items() if kind not in {found["kind"] for found in findings}]
    return [*lines, _paragraph("clean", "; ".join(clean))] if clean else lines


def _first(texts: list[str], what: str) -> list[str]:
    return texts if len(texts) <= SHOWN else [*texts[:SHOWN], f"and {len(texts) - SHOWN:,} more {what}"]


def _paragraph(mark: str, text: str) -> str:
    return fill(text, width=118, initial_indent=f"  {mark:<5}  ", subsequent_indent=" " * max(9, len(mark) + 4))
