"""Guesses which images are of one patient, from tables beside the images or from the names of these."""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd

from workflow.lib.data.own_folder import list_folder
from workflow.lib.job.run import UserError

# Names of columns that hold patients, the surest first.
PATIENT = [r"patient|subject|participant", r"person|child|case.?id|^pid$|mrn", r"^id$"]
LEAST = 4  # patients that a guess from names must find: fewer are rather classes, sites or sides
KINDS = {"digits": r"\d+", "letters": r"[A-Za-z]+"}


def group_from_tables(folder: Path, cases: Sequence[str], *, labelled: bool) -> dict[str, Any] | None:
    """The entry `group` of a table in the folder that names the file and the patient of every image, where there is one.

    cases: paths of the images below images/, without suffix.
    """
    for table in sorted(path for path in folder.iterdir() if path.suffix.lower() in (".csv", ".tsv")):
        try:
            columns = pd.read_csv(table, dtype=str, sep=None, engine="python", encoding="utf-8-sig")
        except (OSError, ValueError, csv.Error):  # no table; pandas raises kinds of ValueError
            continue
        names = {Path(case).name for case in cases}
        stems = {
            name: {re.sub(r"\.(nii\.gz|\w+)$", "", Path(text).name) for text in columns[name].dropna()}
            for name in columns
        }
        key = max(stems, key=lambda name: len(stems[name] & names), default="")
        if not key or len(stems[key] & names) < 0.9 * len(names):
            continue
        wanted = [c for pattern in PATIENT for c in columns if re.search(pattern, c.strip(), re.I) and c != key]
        for column in dict.fromkeys(wanted):
            group = {"table": table.name, "key": key.strip(), "column": column.strip()}
            try:
                _, problems = list_folder(folder, group, labelled=labelled)
            except UserError:
                continue
            if not any("no group found" in problem for problem in problems):
                return group
    return None


def pattern_from_names(names: Iterable[str]) -> str | None:
    """A regular expression whose first group is the patient, from names that are built alike: Image_07L and Image_07R of 07.

    The patient is named by the beginning of the names up to their first part that differs between images and leaves several
    images to some patients; None where no such part leaves at least four patients, or names are built differently.
    """
    stems = sorted({Path(name).name for name in names})
    parts = [_parts(stem) for stem in stems]
    if len({tuple(kind for kind, _ in part) for part in parts}) != 1:
        return _before_separator(stems)
    for end in range(1, len(parts[0])):
        begun = Counter(tuple(text for _, text in part[:end]) for part in parts)
        if LEAST <= len(begun) < len(stems) and len({part[end - 1][1] for part in parts}) > 1:
            return "^" + "".join(_expression([part[i] for part in parts], last=i == end - 1) for i in range(end))
    return None


def _before_separator(stems: Sequence[str]) -> str | None:
    """Of names that are built differently: what is before their last _ or -, where this leaves several to most patients."""
    for separator in "_-":
        begun = Counter(stem.rpartition(separator)[0] for stem in stems)
        if "" not in begun and LEAST <= len(begun) <= len(stems) / 1.5:
            return rf"^(.+){separator}[^{separator}]*$"
    return None


def _parts(stem: str) -> list[tuple[str, str]]:
    """Runs of digits, of letters and of other characters, with their kind."""

    def kind(character: str) -> str:
        return "digits" if character.isdigit() else "letters" if character.isalpha() else "other"

    return [(kind, "".join(run)) for kind, run in groupby(stem, kind)]


def _expression(parts: Sequence[tuple[str, str]], *, last: bool) -> str:
    """The expression of a part of all names; the last one is the patient."""
    kind, texts = parts[0][0], {text for _, text in parts}
    text = re.escape(min(texts)) if len(texts) == 1 else KINDS.get(kind, r"\W+")
    return f"({text})" if last else text
