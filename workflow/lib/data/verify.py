"""All checks of a target's raw data, before anything is trained. Nothing here imports torch."""

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workflow.lib.data.cases import Case
from workflow.lib.data.copies import Prints, copies_apart, print_of, prints_of, warn_of_copies, warn_of_pairs
from workflow.lib.data.images import is_nifti, read_image, read_mask
from workflow.lib.data.layouts import BINARY, Classes, class_labels, class_names, list_cases
from workflow.lib.data.orientation import common_axes, mask_shift
from workflow.lib.data.pictures import opacity, orientation_problems, palette_of, shortened
from workflow.lib.data.registry import read_registry
from workflow.lib.job.run import Progress, UserError, atomic_path, hash_of, read_json, sha256_of

log = logging.getLogger("medseg")

SHOWN = 10  # problems that an error message lists
SHIFT = 0.1  # voxels by which a mask may lie off its image: programs round affines
SHARP = "threshold the original (at 128), and save it as PNG"


def verify_target(
    *,
    source: str | Path,
    cases: str | Path,
    registry: str | Path,
    target: str,
    classes: Classes = None,
    group: dict[str, Any] | None = None,
    sources: dict[str, str] | None = None,
) -> None:
    """Read every image and mask of a target and write the table `cases`.

    Columns: case, group, part (train | test | ""), image, mask (relative to the folder in `source`), height, width,
    slices, labels (those present, for example "0 1 3"), spacing_z, spacing_y, spacing_x (mm for NIfTI, else 1), axes (to which
    NIfTI volumes are turned, see `common_axes`; "": as stored), content (a hash of the files, so that what follows is made again
    of changed ones), copy_of (the same image of another patient or split; "": none).
    Raises one `UserError` that lists the first ten problems and their number. Warns of what may be right, but seldom is:
    masks without background, masks that lie a little off, equal images of two patients, images that a pretraining source
    (`sources`: {name: folder} of the user's own) has too.
    """
    card = read_json(source)
    folder, layout = Path(card["folder"]), card["layout"]
    names, labels = class_names(target, layout, classes, folder), class_labels(classes)
    listed, problems = list_cases(folder, layout, group, labelled=bool(names))
    if len({is_nifti(case.image) for case in listed}) > 1:
        problems.append("NIfTI volumes and 2-D images in one target; keep one kind")
    axes = common_axes(folder / case.image for case in listed if is_nifti(case.image))
    rows, facts, progress = [], list[dict[str, Any]](), Progress(len(listed), f"{target}: cases checked")
    for case in listed:
        row, found, seen = check_case(folder, case, len(names), labels, axes, binary=layout in BINARY)
        if not found:
            files = [folder / name for name in (case.image, case.mask) if name]
            row["content"] = hash_of({"files": [sha256_of(file) for file in files]})
        rows.append(row)
        facts.append(seen)
        problems += found
        if layout == "folder" and case.mask and not is_nifti(case.image):
            problems += orientation_problems(folder / case.image)
        progress.step()
    problems += _absent_classes(rows, names) if not problems else []
    problems += _mixed_values(rows) if layout == "folder" and len(names) == 1 else []
    problems += _palettes(folder, listed) if layout == "folder" else []
    if card["origin"] == "registry":
        problems += _wrong_counts(listed, read_registry(registry)[target].counts)
    if problems or not rows:
        raise _broken_target(target, folder, problems or ["no case at all"], labelled=bool(names))
    prints = prints_of((str(folder / case.image), seen["prints"]) for case, seen in zip(listed, facts, strict=True))
    twins = _copies(target, folder, listed, prints)
    rows = [row | {"copy_of": twins.get(row["image"], "")} for row in rows]
    _warn_of_shifts(target, listed, [seen["shift"] for seen in facts])
    _say_transparency(target, [(case.image, seen["opacity"]) for case, seen in zip(listed, facts, strict=True)])
    public = read_registry(registry)  # of these, ImageNet's million photographs are not listed for each target
    for name, place in (sources or {}).items():
        if name not in public:
            warn_of_copies(target, prints, name, place)
    with atomic_path(cases) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)
    kind = "" if names else ", without masks"
    log.info("%s: %d cases of %d groups are valid%s", target, len(rows), len({case.group for case in listed}), kind)


def check_case(
    folder: Path, case: Case, classes: int, labels: list[int] | None, axes: str, *, binary: bool
) -> tuple[dict[str, Any], list[str], dict[str, Any]]:
    """The row of a case in the table; its problems, one line each: unreadable, unequal sizes, label out of range; and facts
    that are compared between cases: prints (see `copies.Prints`), shift (of the mask, in voxels) and opacity (of the image).

    A case without a mask has no labels, not even the background's.
    """
    problems, row = [], vars(case).copy()
    facts: dict[str, Any] = {"shift": 0.0, "opacity": None if is_nifti(case.image) else opacity(folder / case.image)}
    image = mask = None
    try:
        image, spacing = read_image(folder / case.image, axes)
        slices, _, height, width = image.shape
        row |= {"height": height, "width": width, "slices": slices, "labels": ""}
        row |= {f"spacing_{axis}": round(value, 6) for axis, value in zip("zyx", spacing, strict=True)} | {"axes": axes}
        facts["prints"] = print_of(image)
    except ValueError as error:
        problems.append(f"{case.image}: {error}")
    if not case.mask:
        return row, problems, facts
    if is_nifti(case.image) != is_nifti(case.mask):
        problems.append(f"{case.image}: image or mask is NIfTI, the other is not, and axes differ: save both alike")
        return row, problems, facts
    try:
        like = folder / case.image if image is not None else None
        mask = read_mask(folder / case.mask, binary=binary, image=like, axes=axes, labels=labels)
        if problem := _wrong_labels(case.mask, mask, classes, binary=binary):
            problems.append(f"{case.mask}: {problem}")
        else:
            row["labels"] = " ".join(map(str, np.unique(mask)))
    except ValueError as error:
        problems.append(f"{case.mask}: {error}")
    if image is not None and mask is not None:
        problem, facts["shift"] = mismatch(folder, case, image, mask)
        problems += [f"{case.image}: {problem}"] if problem else []
    return row, problems, facts


def mismatch(folder: Path, case: Case, image: np.ndarray, mask: np.ndarray) -> tuple[str, float]:
    """Why an image (slices, C, h, w) and its mask (slices, h, w) do not belong together, or ""; and by how many voxels the mask
    lies off, by the affines."""
    size = (image.shape[0], *image.shape[2:])
    if mask.shape != size:
        sizes = [" x ".join(map(str, shape)) for shape in (size, mask.shape)]
        return f"image {sizes[0]}, mask {sizes[1]} (slices x height x width)", 0.0
    shift = mask_shift(folder / case.image, folder / case.mask) if is_nifti(case.image) else 0.0
    if shift <= SHIFT:
        return "", shift
    return (
        f"by the affines, its mask lies up to {shift:.3g} voxels off; resample it to the image, or, where the voxels do "
        "correspond, give it the image's affine"
    ), shift


def _wrong_labels(name: str, mask: np.ndarray, classes: int, *, binary: bool) -> str:
    """What is wrong with the labels of a mask, or ""."""
    labels = np.unique(mask).tolist()
    allowed = {0, 1, 255} if classes == 1 and not binary else set(range(classes + 1))
    if name.lower().endswith((".jpg", ".jpeg")) and not binary and (classes > 1 or set(labels) - {0, 255}):
        return f"JPEG, which changes labels ({shortened(labels)}): {SHARP}"
    wrong = [label for label in labels if label not in allowed]
    if not wrong:
        return ""
    found = f"label {shortened(wrong)} (expected {_range(classes)})"
    if len(wrong) > 2 and classes == 1 and np.isin(mask // 32, (0, 7)).mean() > 0.8:
        return f"{found}: smoothed edges; {SHARP}"
    return f"{found}; name a class for each label, or `classes: {{name: label, ...}}` where labels are not 1, 2, ..."


def _range(classes: int) -> str:
    return "0 and 1, or 0 and 255" if classes == 1 else f"0..{classes}"


def _mixed_values(rows: list[dict[str, Any]]) -> list[str]:
    """One class: foreground must be 1 everywhere or 255 everywhere."""
    found = {label for row in rows for label in row.get("labels", "").split()}
    return ["masks: foreground is 1 in some masks and 255 in others"] if {"1", "255"} <= found else []


def _palettes(folder: Path, cases: list[Case]) -> list[str]:
    """Palettes that show a label in two colours: then a number is not the same class in all masks."""
    first: dict[int, tuple[tuple[int, ...], str]] = {}
    for case in cases:
        for label, colour in palette_of(folder / case.mask).items() if case.mask and not is_nifti(case.mask) else ():
            known, where = first.setdefault(label, (colour, case.mask))
            if known != colour:
                return [
                    f"{case.mask}: its palette shows {label} as {colour}, that of {where} as {known} (red, green, blue); "
                    "save grey images whose values are the labels"
                ]
    return []


def _absent_classes(rows: list[dict[str, Any]], names: list[str]) -> list[str]:
    """Classes, or a background, that no mask shows: they could be neither learnt nor evaluated."""
    if not names:
        return []
    found = [set(row["labels"].split()) for row in rows]
    everything = set().union(*found)
    full = [row["mask"] for row, labels in zip(rows, found, strict=True) if "0" not in labels]
    if len(names) == 1:
        absent = [] if everything - {"0"} else [f"masks: {names[0]} is in none"]
        if len(full) == len(rows):
            return [*absent, "masks: every pixel of every mask is foreground, no background (0) in any"]
    else:
        pairs = enumerate(names, 1)
        absent = [f"masks: {name} (label {label}) is in none" for label, name in pairs if str(label) not in everything]
    if full:
        log.warning("%d of %d masks show no background: %s", len(full), len(rows), shortened(full))
    return absent


def _copies(target: str, folder: Path, cases: list[Case], prints: Prints) -> dict[str, str]:
    """The same image of two patients, or on both sides of an official split, with a warning. Returns {image: a copy of it}."""
    pairs = copies_apart(prints, {str(folder / case.image): (case.group, case.part) for case in cases})
    within = [(os.path.relpath(one, folder), os.path.relpath(other, folder)) for one, other in pairs]
    what = f"images of target {target} are stored under two or more patients or splits"
    warn_of_pairs(what, within, "remove the copies, or give them one patient")
    return dict([*within, *((other, one) for one, other in within)])


def _warn_of_shifts(target: str, cases: list[Case], shifts: list[float]) -> None:
    if moved := [case.image for case, shift in zip(cases, shifts, strict=True) if shift > SHIFT / 100]:
        log.warning(
            "%s: %d masks lie up to %.2g voxels off their images, by the affines, which is accepted: %s",
            *(target, len(moved), max(shifts), shortened(moved)),
        )


def _say_transparency(target: str, images: list[tuple[str, tuple[int, int] | None]]) -> None:
    """What becomes of the alpha channels that images have."""
    if found := [(name, alpha[0]) for name, alpha in images if alpha]:
        log.info("%s: %d images have an alpha channel, which is left out", target, len(found))
    if faint := [name for name, lowest in found if lowest < 255]:
        log.warning(
            "%s: %d images are transparent in parts, where colours may mean nothing, or a mask may be drawn; colours are used as"
            " stored: %s; next: look at them, and save them without transparency (Pillow: convert('RGB'))",
            *(target, len(faint), shortened(faint)),
        )


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
        next="fix or remove these files, or correct this target in the config; then run the same command again",
    )
