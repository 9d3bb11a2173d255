"""All checks of a target's raw data, before anything is trained. Nothing here imports torch."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workflow.lib.data.cases import Case
from workflow.lib.data.images import geometry_problems, is_nifti, orientation_problems, read_image, read_mask
from workflow.lib.data.layouts import BINARY, class_names, list_cases
from workflow.lib.data.registry import read_registry
from workflow.lib.run import Progress, UserError, atomic_path, read_json

log = logging.getLogger("medseg")

SHOWN = 10  # problems that an error message lists


def verify_target(
    *,
    source: str | Path,
    cases: str | Path,
    registry: str | Path,
    target: str,
    classes: list[str] | None = None,
    group: dict[str, Any] | None = None,
) -> None:
    """Read every image and mask of a target and write the table `cases`.

    Columns: case, group, part (train | test | ""), image, mask (relative to the folder in `source`), height, width,
    slices, labels (those present, for example "0 1 3"), spacing_z, spacing_y, spacing_x (mm for NIfTI, else 1).
    Raises one `UserError` that lists the first ten problems and their number.
    """
    card = read_json(source)
    folder, layout = Path(card["folder"]), card["layout"]
    names = class_names(target, layout, classes, folder)
    listed, problems = list_cases(folder, layout, group, labelled=bool(names))
    if len({is_nifti(case.image) for case in listed}) > 1:
        problems.append("NIfTI volumes and pictures in one target; keep one kind")
    rows, progress = [], Progress(len(listed), f"{target}: cases checked")
    for case in listed:
        row, found = check_case(folder, case, len(names), binary=layout in BINARY)
        rows.append(row)
        problems += found
        if layout == "folder" and case.mask and not is_nifti(case.image):
            problems += orientation_problems(folder / case.image)
        progress.step()
    problems += _absent_classes(rows, names) if not problems else []
    problems += _mixed_values(rows) if layout == "folder" and len(names) == 1 else []
    if card["origin"] == "registry":
        problems += _wrong_counts(listed, read_registry(registry)[target].counts)
    if problems or not rows:
        raise _broken_target(target, folder, problems or ["no case at all"], labelled=bool(names))
    with atomic_path(cases) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)
    kind = "" if names else ", without masks"
    log.info("%s: %d cases of %d groups are sound%s", target, len(rows), len({case.group for case in listed}), kind)


def check_case(folder: Path, case: Case, classes: int, *, binary: bool) -> tuple[dict[str, Any], list[str]]:
    """The row of a case in the table, and its problems, one line each: unreadable, unequal sizes, label out of range.

    A case without a mask has no labels, not even the background's.
    """
    problems, row = [], vars(case).copy()
    image = mask = None
    try:
        image, spacing = read_image(folder / case.image)
        slices, _, height, width = image.shape
        row |= {"height": height, "width": width, "slices": slices, "labels": ""}
        row |= {f"spacing_{axis}": round(value, 6) for axis, value in zip("zyx", spacing, strict=True)}
    except ValueError as error:
        problems.append(f"{case.image}: {error}")
    if not case.mask:
        return row, problems
    try:
        mask = read_mask(folder / case.mask, binary=binary)
        labels = [int(label) for label in np.unique(mask)]
        row["labels"] = " ".join(map(str, labels))
        allowed = {0, 1, 255} if classes == 1 and not binary else set(range(classes + 1))
        if wrong := [label for label in labels if label not in allowed]:
            shown = ", ".join(map(str, wrong[:5])) + (", ..." if len(wrong) > 5 else "")
            problems.append(f"{case.mask}: label {shown} (expected {_range(classes)})")
    except ValueError as error:
        problems.append(f"{case.mask}: {error}")
    if image is not None and mask is not None and mask.shape != (image.shape[0], *image.shape[2:]):
        sizes = [" x ".join(map(str, shape)) for shape in ((image.shape[0], *image.shape[2:]), mask.shape)]
        problems.append(f"{case.image}: image {sizes[0]}, mask {sizes[1]} (slices x height x width)")
    elif image is not None and mask is not None and is_nifti(case.image):
        problems += geometry_problems(folder / case.image, folder / case.mask)
    return row, problems


def _range(classes: int) -> str:
    return "0 and 1, or 0 and 255" if classes == 1 else f"0..{classes}"


def _mixed_values(rows: list[dict[str, Any]]) -> list[str]:
    """One class: foreground must be 1 everywhere or 255 everywhere."""
    found = {label for row in rows for label in row.get("labels", "").split()}
    return ["masks: foreground is 1 in some masks and 255 in others"] if {"1", "255"} <= found else []


def _absent_classes(rows: list[dict[str, Any]], names: list[str]) -> list[str]:
    """Classes that no mask shows: they could be neither learnt nor evaluated."""
    found = {label for row in rows for label in row["labels"].split()}
    if len(names) == 1:
        return [] if found - {"0"} else [f"masks: none shows {names[0]}"]
    return [
        f"masks: none shows {name} (label {label})" for label, name in enumerate(names, 1) if str(label) not in found
    ]


def _wrong_counts(cases: list[Case], expected: dict[str, int]) -> list[str]:
    problems = []
    for key, number in expected.items():
        part, what = key.split("_")
        chosen = [case for case in cases if case.part == part]
        found = len({case.group for case in chosen}) if what == "groups" else len(chosen)
        if found != number:
            problems.append(f"{part}: {found} {what}, the registry says {number}")
    return problems


def _broken_target(target: str, folder: Path, problems: list[str], *, labelled: bool) -> UserError:
    left = len(problems) - SHOWN
    lines = problems[:SHOWN] + ([f"... and {left} more"] if left > 0 else [])
    return UserError(
        f"the data of target {target} cannot be used: {len(problems)} problem{'s'[: len(problems) > 1]}",
        found="".join(f"\n    {line}" for line in lines),
        expected="readable images" + ", each with a mask of equal name and size whose labels are in range" * labelled,
        where=folder,
        next="mend or remove these files, or `group` of this target where one is wanting; then run the same command again",
    )
