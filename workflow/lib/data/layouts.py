"""The layouts of targets on disk: each reader lists the cases of a folder; nothing is decoded here."""

import logging
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from workflow.lib.data.cases import Case, Listing, glimpse, make_case, mask_place, no_layout, unmatched
from workflow.lib.data.images import stem_of
from workflow.lib.data.other_files import is_rubbish
from workflow.lib.data.own_folder import list_folder, named_by
from workflow.lib.job.csv import UNFIT
from workflow.lib.job.run import UserError

log = logging.getLogger("medseg")

CLASSES = {
    "acdc": ["right ventricle", "myocardium", "left ventricle"],
    "idrid": ["microaneurysms"],
    "covid_qu": ["infection"],
}
NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
BINARY = ("idrid", "covid_qu")  # layouts whose masks are coloured or of any value: foreground is whatever is not black


Classes = list[str] | dict[str, int] | None  # as in the config: names of labels 1..K, or {name: label}


def class_labels(classes: Classes) -> list[int] | None:
    """The labels of classes 1..K, where the config gives them."""
    return list(classes.values()) if isinstance(classes, dict) else None


def class_names(target: str, layout: str, classes: Classes, folder: Path) -> list[str]:
    """Names of classes 1..K: fixed by the official layouts, given in the config for layout folder; [] if it has no masks."""
    names = CLASSES.get(layout) or list(classes or [])
    if not names and (masks := mask_place(folder)):
        raise UserError(
            f"target {target} has no classes",
            found=f"{masks.name}/, but no `classes`",
            expected="the names of labels 1..K, for example classes: [lesion]",
            where=f"config: targets.{target}",
            next=f"add `classes`; or move {masks.name}/ away, to use the images without labels",
        )
    return names


def group_source(layout: str, group: dict[str, Any] | None, images: Iterable[str]) -> str:
    """What names the patients of a target: layout, or as `named_by` says."""
    if layout == "folder":
        return named_by(group, images)
    return "layout" if layout == "acdc" else "unknown"


def list_cases(folder: Path, layout: str, group: dict[str, Any] | None = None, *, labelled: bool = True) -> Listing:
    """The cases of `folder` and the problems met; layout folder only: `group` says how cases are grouped, `labelled`
    whether there are masks.

    Raises `UserError` when the folder is absent or does not have the layout at all.
    """
    if not folder.is_dir():
        raise no_layout(folder, "no such folder", "a folder that can be read")
    readers = {"acdc": list_acdc, "idrid": list_idrid, "covid_qu": list_covid_qu}
    cases, problems = readers[layout](folder) if layout in readers else list_folder(folder, group, labelled=labelled)
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
        problems += unmatched(folder, images, masks)
        for stem in images.keys() & masks.keys():
            cases.append(make_case(folder, stem, stem.split("_")[0], part, images[stem], masks[stem]))
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
        problems += unmatched(folder, {stem: images[stem] for stem in images.keys() & masks.keys()}, masks)
        for stem in images.keys() & masks.keys():
            cases.append(make_case(folder, stem, stem, part, images[stem], masks[stem]))
    return cases, problems


def list_covid_qu(folder: Path) -> Listing:
    """COVID-QU-Ex, infection part, COVID-19 images: Train and Val are the training set, Test the test set."""
    expected = "[Infection Segmentation Data/]Train|Val|Test/COVID-19/images and .../infection masks, *.png"
    roots = [root.parent for root in _descend(folder, "Train") if (root / "COVID-19" / "infection masks").is_dir()]
    if not roots:
        raise no_layout(folder, glimpse(folder), expected)
    cases: list[Case] = []
    problems: list[str] = []
    for name, part in (("Train", "train"), ("Val", "train"), ("Test", "test")):
        place = roots[0] / name / "COVID-19"
        images, masks = (
            {stem_of(file): file for file in (place / what).glob("*.png") if not is_rubbish(file.name)}
            for what in ("images", "infection masks")
        )
        problems += unmatched(folder, images, masks)
        for stem in images.keys() & masks.keys():
            case = f"{name}_{stem}"
            cases.append(make_case(folder, case, case, part, images[stem], masks[stem]))
    return cases, problems


def _descend(folder: Path, name: str, depth: int = 3) -> list[Path]:
    return [found for level in range(depth + 1) for found in folder.glob("*/" * level + name) if found.is_dir()]


def _find_root(folder: Path, name: str, expected: str) -> Path:
    found = _descend(folder, name)
    if not found:
        raise no_layout(folder, glimpse(folder), expected)
    return found[0].parent
