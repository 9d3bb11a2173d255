"""The layouts in which targets lie on disk: each reader lists the cases of a folder; nothing is decoded here."""

import logging
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from workflow.lib.data.images import is_image, stem_of
from workflow.lib.data.table import UNFIT
from workflow.lib.run import UserError, reason

log = logging.getLogger("medseg")

CLASSES = {
    "acdc": ["right ventricle", "myocardium", "left ventricle"],
    "idrid": ["microaneurysms"],
    "covid_qu": ["infection"],
}
NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
BINARY = ("idrid", "covid_qu")  # layouts whose masks are coloured or of any value: foreground is whatever is not black


@dataclass(frozen=True)
class Case:
    """An image (a picture or a volume) with its mask, both relative to the target's folder.

    group: what must not be split between training and test (a patient).
    part: train or test, "" where there is no official split.
    """

    case: str
    group: str
    part: str
    image: str
    mask: str


Listing = tuple[list[Case], list[str]]  # cases sorted by name; problems, one line each


def class_names(target: str, layout: str, classes: list[str] | None) -> list[str]:
    """Names of labels 1..K: fixed by the official layouts, given in the config for layout folder."""
    names = CLASSES.get(layout) or classes
    if not names:
        raise UserError(
            f"target {target} has no classes",
            found="no `classes`",
            expected="the names of labels 1..K, for example classes: [lesion]",
            where=f"config: targets.{target}",
            next="add `classes` to the target in the config",
        )
    return names


def list_cases(folder: Path, layout: str, group: dict[str, Any] | None = None) -> Listing:
    """The cases of `folder` and the problems met; `group` (layout folder only) says how cases are grouped.

    Raises `UserError` when the folder is absent or does not have the layout at all.
    """
    if not folder.is_dir():
        raise _no_layout(folder, "no such folder", "a folder that can be read")
    readers = {"acdc": list_acdc, "idrid": list_idrid, "covid_qu": list_covid_qu}
    cases, problems = readers[layout](folder) if layout in readers else list_folder(folder, group)
    counted = Counter(case.case for case in cases)
    problems += [f"{name}: {n} cases of this name" for name, n in counted.items() if n > 1]
    problems += _unsafe_names(cases)
    return sorted(cases, key=lambda case: (case.part != "train", case.case)), problems


def _unsafe_names(cases: list[Case]) -> list[str]:
    """Names that our tables can't hold, or that are formulae when a spreadsheet opens these tables."""
    problems = {}
    for case in cases:
        for what, name in (("group", case.group), ("case", case.case), ("file", case.image), ("file", case.mask)):
            if UNFIT.search(name):
                problems[name] = f"{what} {name!r}: a name with control characters, or not in UTF-8"
            elif name.startswith(("=", "+", "-", "@")) and not NUMBER.fullmatch(name):
                problems[name] = (
                    f"{what} {name!r}: begins with {name[0]}, a formula when a spreadsheet opens our tables"
                )
    return list(problems.values())


def list_acdc(folder: Path) -> Listing:
    """ACDC: training|testing/patientNNN/patientNNN_frameNN(_gt).nii.gz, at any of the official depths."""
    expected = "[ACDC/[database/]]training|testing/patientNNN/patientNNN_frameNN.nii.gz and ..._gt.nii.gz"
    root = _find_root(folder, "training", expected)
    cases: list[Case] = []
    problems: list[str] = []
    for name, part in (("training", "train"), ("testing", "test")):
        files = sorted(root.glob(f"{name}/patient*/patient*_frame*.nii*"))
        masks = {stem_of(file)[: -len("_gt")]: file for file in files if stem_of(file).endswith("_gt")}
        images = {stem_of(file): file for file in files if not stem_of(file).endswith("_gt")}
        problems += _unmatched(folder, images, masks)
        for stem in images.keys() & masks.keys():
            cases.append(_case(folder, stem, stem.split("_")[0], part, images[stem], masks[stem]))
    return cases, problems


def list_idrid(folder: Path) -> Listing:
    """IDRiD, part A, microaneurysms: an image without a microaneurysm mask is left out, as in the study."""
    root = _find_root(
        folder,
        "2. All Segmentation Groundtruths",  # only part A has it; parts B and C have images in folders of the same name
        "[A. Segmentation/]1. Original Images/a. Training Set/IDRiD_NN.jpg and "
        "2. All Segmentation Groundtruths/a. Training Set/1. Microaneurysms/IDRiD_NN_MA.tif",
    )
    cases: list[Case] = []
    problems: list[str] = []
    for name, part in (("a. Training Set", "train"), ("b. Testing Set", "test")):
        truth = root / "2. All Segmentation Groundtruths" / name / "1. Microaneurysms"
        images = {stem_of(file): file for file in (root / "1. Original Images" / name).glob("IDRiD_*.jpg")}
        masks = {stem_of(file).removesuffix("_MA"): file for file in truth.glob("IDRiD_*_MA.tif")}
        without = sorted(images.keys() - masks.keys())
        if without:
            log.info("IDRiD, %s: left out without microaneurysm mask: %s", part, " ".join(without))
        problems += _unmatched(folder, {stem: images[stem] for stem in images.keys() & masks.keys()}, masks)
        for stem in images.keys() & masks.keys():
            cases.append(_case(folder, stem, stem, part, images[stem], masks[stem]))
    return cases, problems


def list_covid_qu(folder: Path) -> Listing:
    """COVID-QU-Ex, infection part, COVID-19 images: Train and Val are the training set, Test the test set."""
    expected = "[Infection Segmentation Data/]Train|Val|Test/COVID-19/images and .../infection masks, *.png"
    roots = [root.parent for root in _descend(folder, "Train") if (root / "COVID-19" / "infection masks").is_dir()]
    if not roots:
        raise _no_layout(folder, _glimpse(folder), expected)
    cases: list[Case] = []
    problems: list[str] = []
    for name, part in (("Train", "train"), ("Val", "train"), ("Test", "test")):
        place = roots[0] / name / "COVID-19"
        images = {stem_of(file): file for file in (place / "images").glob("*.png")}
        masks = {stem_of(file): file for file in (place / "infection masks").glob("*.png")}
        problems += _unmatched(folder, images, masks)
        for stem in images.keys() & masks.keys():
            case = f"{name}_{stem}"
            cases.append(_case(folder, case, case, part, images[stem], masks[stem]))
    return cases, problems


def list_folder(folder: Path, group: dict[str, Any] | None) -> Listing:
    """Own data: images/ and masks/ with equal stems; `group` is {"table", "key", "column"}, {"pattern"} or None."""
    if not (folder / "images").is_dir() or not (folder / "masks").is_dir():
        raise _no_layout(folder, _glimpse(folder), "images/ and masks/ with equal stems (png, jpg, tif, nii.gz)")
    found = {name: sorted(filter(is_image, (folder / name).iterdir())) for name in ("images", "masks")}
    problems = []
    for name, files in found.items():
        counted = Counter(stem_of(file) for file in files)
        problems += [f"{name}/{stem}.*: {n} files of this stem" for stem, n in counted.items() if n > 1]
    images, masks = ({stem_of(file): file for file in found[name]} for name in ("images", "masks"))
    problems += _unmatched(folder, images, masks)
    if not group:
        log.warning("%s: no `group` given, every image counts as its own patient", folder)
    table = _group_table(folder, group["table"], group["key"], group["column"]) if group and "table" in group else {}
    cases = []
    for stem in sorted(images.keys() & masks.keys()):
        patient = _group_of(stem, group, table)
        if patient is None:
            problems.append(f"images/{images[stem].name}: no group found by {group}")
        else:
            cases.append(_case(folder, stem, patient, "", images[stem], masks[stem]))
    return cases, problems


def _group_of(stem: str, group: dict[str, Any] | None, table: dict[str, str]) -> str | None:
    if not group:
        return stem
    if "table" in group:
        return table.get(stem)
    match = re.search(group["pattern"], stem)
    return (match.group(1) if match.re.groups else match.group(0)) if match else None


def _group_table(folder: Path, name: str, key: str, column: str) -> dict[str, str]:
    """{stem: group} from a csv or tsv table in `folder`."""
    try:
        table = pd.read_csv(folder / name, dtype=str, sep="\t" if name.endswith(".tsv") else ",")
    except FileNotFoundError:
        raise _no_layout(folder, f"no file {name}", f"the table {name} that names the groups") from None
    except (OSError, ValueError) as error:  # pandas raises kinds of ValueError
        raise _no_layout(folder / name, reason(error), "a readable table in UTF-8") from error
    if absent := [wanted for wanted in (key, column) if wanted not in table]:
        raise _no_layout(folder / name, f"columns {list(table)}", f"column {absent[0]!r}")
    rows = table.dropna(subset=[key, column])
    rows = rows.assign(stem=[stem_of(file) if is_image(file) else file for file in rows[key]])
    several = rows.groupby("stem")[column].nunique()
    if (several > 1).any():
        raise _no_layout(folder / name, f"several groups for {several.idxmax()}", f"one {column!r} for each {key!r}")
    return dict(zip(rows["stem"], rows[column], strict=True))


def _case(folder: Path, case: str, group: str, part: str, image: Path, mask: Path) -> Case:
    return Case(case, group, part, image.relative_to(folder).as_posix(), mask.relative_to(folder).as_posix())


def _unmatched(folder: Path, images: dict[str, Path], masks: dict[str, Path]) -> list[str]:
    lonely_images = [f"{images[stem].relative_to(folder)}: image without mask" for stem in images.keys() - masks.keys()]
    lonely_masks = [f"{masks[stem].relative_to(folder)}: mask without image" for stem in masks.keys() - images.keys()]
    return sorted(lonely_images) + sorted(lonely_masks)


def _descend(folder: Path, name: str, depth: int = 3) -> list[Path]:
    return [found for level in range(depth + 1) for found in folder.glob("*/" * level + name) if found.is_dir()]


def _find_root(folder: Path, name: str, expected: str) -> Path:
    found = _descend(folder, name)
    if not found:
        raise _no_layout(folder, _glimpse(folder), expected)
    return found[0].parent


def _glimpse(folder: Path) -> str:
    names = sorted(file.name for file in folder.iterdir())
    return (", ".join(names[:8]) + (f", ... ({len(names)} entries)" if len(names) > 8 else "")) or "an empty folder"


def _no_layout(where: Path, found: str, expected: str) -> UserError:
    return UserError(
        "folder does not have the layout of the target",
        found=found,
        expected=expected,
        where=where,
        next="correct `folder`, `layout` or `group` of the target in the config, or unpack the data again",
    )
