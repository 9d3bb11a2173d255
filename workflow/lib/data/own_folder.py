"""Layout `folder`: images of anyone's own, with masks or without, grouped by patient where something names the patients."""

import logging
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from workflow.lib.data.cases import (
    Listing,
    below_images,
    glimpse,
    image_place,
    make_case,
    mask_place,
    no_layout,
    unmatched,
)
from workflow.lib.data.images import is_image, is_nifti, stem_of
from workflow.lib.data.other_files import conversion, described, is_rubbish
from workflow.lib.data.pictures import shortened
from workflow.lib.job.run import UserError, reason

log = logging.getLogger("medseg")

BLANKS = " \u00a0\u200b\ufeff"  # around the ids of tables
SUFFIX = re.compile(r"[_. -]\w+")  # of names of masks, or of images: _mask, -seg, _0000
MASK = re.compile(
    r"(.+?)([_. -](?:mask|masks|seg|segmentation|label|labels|gt|groundtruth|annotation|manual))", re.IGNORECASE
)
CHANNEL = re.compile(r"(.+)_(\d{4})")  # nnU-Net's names of the channels of an image: p1_0000, p1_0001


def named_by(group: dict[str, Any] | None, images: Iterable[str]) -> str:
    """What names the patients of images (paths relative to the target's folder): table | pattern | sub-folders; `unknown`
    where every image counts as its own patient."""
    if group:
        return "table" if "table" in group else "pattern"
    return "sub-folders" if any("/" in below_images(name) for name in images) else "unknown"


def list_folder(folder: Path, group: dict[str, Any] | None, *, labelled: bool) -> Listing:
    """images/ and masks/ (or nnU-Net's imagesTr/ and labelsTr/) with equal names, in sub-folders or not; without masks images/,
    or images in the folder itself.

    All masks, or all images, may have one suffix more, such as _mask or _0000. Files of other types are named.
    `group` is {"table", "key", "column"}, {"pattern"}, or None: the first sub-folder below images/, where there are any.
    """
    found, others = _found(folder, labelled)
    problems = [
        f"{what}/{name}.*: {len(files)} files of this stem"
        for what, named in found.items()
        for name, files in named.items()
        if len(files) > 1
    ]
    images, masks = ({name: files[-1] for name, files in found.get(what, {}).items()} for what in ("images", "masks"))
    _refuse_channels(folder, images, masks)
    if not labelled:
        _refuse_masks(folder, images)
    masks = _by_image(images, masks)
    lonely = unmatched(folder, images, masks) if labelled else []
    if others:
        text = f"files of other types, which are not read: {described(others)}"
        problems += [text + (f"; {way}" if (way := conversion(others)) else "")] if lonely else []
        log.warning("%s: %s", folder, text)
    problems += lonely
    source = named_by(group, [file.relative_to(folder).as_posix() for file in images.values()])
    if source == "unknown":
        log.warning(
            "%s: no `group` given and no sub-folders: every image counts as its own patient, so that images of one "
            "patient may be in two splits (leakage)",
            folder,
        )
    table = _group_table(folder, group["table"], group["key"], group["column"]) if group and "table" in group else {}
    cases = []
    names = sorted(images.keys() & masks.keys() if labelled else images)
    if group and "pattern" in group and names and not any(_group_of(name, source, group, table) for name in names):
        raise UserError(
            "the pattern of patients fits no image",
            found=f"{group['pattern']!r}; images are named {', '.join(names[:3])}",
            expected="a regular expression whose first (...) is the patient",
            where="config: `group` of this target",
            next=f"correct it; `snakemake init --config images={folder}` guesses one",
        )
    for name in names:
        patient = _group_of(name, source, group, table)
        if not patient:
            problems.append(f"{images[name].relative_to(folder)}: no group found by {group or 'its sub-folder'}")
        else:
            cases.append(make_case(folder, name, patient, "", images[name], masks.get(name)))
    _warn_of_patients(folder, source, [(case.case, case.group) for case in cases])
    if source == "sub-folders":
        log.info(
            "%s: the %d sub-folders of images/ are treated as patients", folder, len({case.group for case in cases})
        )
    return cases, problems


def _refuse_channels(folder: Path, images: dict[str, Path], masks: dict[str, Path]) -> None:
    """Raises `UserError` where several files are the channels of one image: of volumes by their names, of pictures where they
    share a mask too."""
    channels: dict[str, list[str]] = {}
    for name, file in images.items():
        if (match := CHANNEL.fullmatch(name)) and (match[1] in masks or (is_nifti(file) and name not in masks)):
            channels.setdefault(match[1], []).append(name)
    several = [names for names in channels.values() if len(names) > 1 and min(names).endswith("_0000")]
    if several:
        first, others = images[min(several[0])], len(several) - 1
        place, masked = folder / first.relative_to(folder).parts[0], mask_place(folder)
        suffix = first.name[first.name.index("_0000") :]
        link = f" && ln -s '{masked.absolute()}' NEW/masks" if masked else ""
        raise no_layout(
            place,
            f"{len(several[0])} channels of one image, {', '.join(sorted(several[0]))}; and of {others} other images",
            "images of one channel, or of red, green and blue in one file",
            f"use the one that shows most: mkdir -p NEW/images && ln -s '{place.absolute()}'/*{suffix} NEW/images/{link}; then "
            "`folder: NEW` in the config",
        )


def _refuse_masks(folder: Path, images: dict[str, Path]) -> None:
    """Raises `UserError` where masks lie among the images: names that only add such a word to the name of another image."""
    named = {name: match for name in sorted(images) if (match := MASK.fullmatch(name)) and match[1] in images}
    if not named:
        return
    first, match = next(iter(named.items()))
    place, ends = image_place(folder), {found[2] for found in named.values()}
    links = f"ln -s '{place.absolute()}'/*.* NEW/images/ && mv NEW/images/*{match[2]}.* NEW/masks/"
    raise no_layout(
        place,
        f"{len(named)} of {len(images)} images have names of masks: {images[first].name} beside {images[match[1]].name}",
        "images/ and masks/ (or images alone)",
        f"mkdir -p NEW/images NEW/masks && {links}; then use the folder NEW"
        if len(ends) == 1 and not any("/" in name for name in images)
        else "move the masks into masks/, the images into images/",
    )


def _by_image(images: dict[str, Path], masks: dict[str, Path]) -> dict[str, Path]:
    """Masks by the name of their image, where no name is equal, but all masks or all images end in one suffix."""
    if not masks or images.keys() & masks.keys():
        return masks
    for longer, shorter, what in ((masks, images, "masks"), (images, masks, "images")):
        fits = [name for name in shorter if min(longer).startswith(name)]
        suffix = min(longer)[len(max(fits, key=len)) :] if fits else ""
        if SUFFIX.fullmatch(suffix) and all(name.endswith(suffix) for name in longer):
            log.info("the names of all %s end in %s, which is cut off to find pairs", what, suffix)
            if longer is masks:
                return {name.removesuffix(suffix): file for name, file in masks.items()}
            return {name + suffix: file for name, file in masks.items()}
    return masks


def _warn_of_patients(folder: Path, source: str, named: list[tuple[str, str]]) -> None:
    """Warn where one patient may count as two: leakage, if these fall into two splits. named: (case, patient)."""
    alike: dict[str, set[str]] = {}
    for _, patient in named:
        alike.setdefault(_plain(patient), set()).add(patient)
    if several := [" = ".join(map(repr, sorted(names))) for names in alike.values() if len(names) > 1]:
        log.warning(
            "%s: %d patients differ by case, blanks or leading zeros only: %s; if they are the same, correct the ids, as their "
            "images may be in two splits (leakage)",
            *(folder, len(several), shortened(several)),
        )
    if source == "pattern":
        inside: dict[str, set[str]] = {}
        for case, patient in named:
            if "/" in case:
                inside.setdefault(case.split("/")[0], set()).add(patient)
        if cut := [f"{place} ({shortened(sorted(names), 2)})" for place, names in inside.items() if len(names) > 1]:
            log.warning(
                "%s: the pattern finds several patients in %d of %d sub-folders of images/: %s; if the sub-folders are the "
                "patients, remove `group`, as their images may be in two splits (leakage)",
                *(folder, len(cut), len(inside), shortened(cut)),
            )


def _plain(patient: str) -> str:
    """An id without what tables lose or add: case, blanks, leading zeros, the .0 of a number."""
    return re.sub(r"(?<!\d)0+(?=\d)", "", re.sub(r"\.0$", "", re.sub(r"\s", "", patient).casefold()))


def _found(folder: Path, labelled: bool) -> tuple[dict[str, dict[str, list[Path]]], list[Path]]:
    """The files of images and (`labelled`) masks by name, and what else lies there. Raises `UserError` where the folder has no
    such layout."""
    place, masked = image_place(folder), mask_place(folder)
    if labelled and (place == folder or masked is None):
        expected = "images/ and masks/ with equal stems (png, jpg, tif, gif, nii.gz); or no `classes`, without masks"
        raise no_layout(folder, glimpse(folder), expected)
    # Not below the folder itself, where anything may lie, masks of another name too.
    images, others = _images_of(place, deep=place != folder)
    if not images:
        expected = "images (png, jpg, tif, gif, nii.gz) in images/, in its sub-folders" + ", or here" * (not labelled)
        found = described(path for path in others if not path.is_dir()) or glimpse(place)
        raise no_layout(place, found, expected, conversion(others))
    if not (labelled and masked):
        return {"images": images}, others
    masks, more = _images_of(masked)
    return {"images": images, "masks": masks}, others + more


def _images_of(place: Path, *, deep: bool = True) -> tuple[dict[str, list[Path]], list[Path]]:
    """Image files by their path below `place` without suffix, and all other files, rubbish of systems apart; `deep`: those in
    sub-folders too, else these count among the others."""

    def refuse(error: OSError) -> None:
        raise no_layout(Path(error.filename), reason(error), "a folder that can be read")

    named: dict[str, list[Path]] = {}
    others: list[Path] = []
    seen = {os.path.realpath(place), *map(os.path.realpath, place.parents)}  # links may lead back up, or in circles
    for where, folders, files in os.walk(place, followlinks=True, onerror=refuse):
        for file in sorted(Path(where, name) for name in files if not is_rubbish(name)):
            if is_image(file):
                named.setdefault(_without_suffix(file.relative_to(place)), []).append(file)
            else:
                others.append(file)
        inside = [name for name in sorted(folders) if not is_rubbish(name)]
        folders.clear()
        for name in inside:
            if not deep:
                others.append(Path(where, name))
            elif (real := os.path.realpath(Path(where, name))) not in seen:
                seen.add(real)
                folders.append(name)
    return named, others


def _without_suffix(path: Path) -> str:
    return (path.parent / stem_of(path)).as_posix()


def _group_of(name: str, source: str, group: dict[str, Any] | None, table: dict[str, str]) -> str | None:
    """The patient of the image called `name`, its path below images/ without suffix."""
    if source == "table":
        return table.get(name, table.get(Path(name).name))
    if source == "sub-folders":
        return name.split("/")[0] if "/" in name else None
    if not group:
        return name
    match = re.search(group["pattern"], name)
    return (match.group(1) if match.re.groups else match.group(0)) if match else None


def _group_table(folder: Path, name: str, key: str, column: str) -> dict[str, str]:
    """{path below images/, or stem: group} from a table in `folder`, its columns separated by commas, semicolons or tabs; no stem
    that belongs to several groups."""
    try:
        with open(folder / name, encoding="utf-8-sig") as file:
            head = file.readline()
        separator = max("\t;,", key=head.count)
        table = pd.read_csv(folder / name, dtype=str, sep=separator, encoding="utf-8-sig").rename(
            columns=lambda head: head.strip(BLANKS)
        )
    except FileNotFoundError:
        raise no_layout(folder, f"no file {name}", f"the table {name} that names the groups") from None
    except (OSError, ValueError) as error:  # pandas raises kinds of ValueError
        raise no_layout(folder / name, reason(error), "a readable table in UTF-8") from error
    if absent := [wanted for wanted in (key, column) if wanted not in table]:
        raise no_layout(folder / name, f"columns {list(table)}", f"column {absent[0]!r}")
    rows = table[[key, column]].apply(lambda values: values.str.strip(BLANKS)).replace("", None).dropna()
    paths = [below_images(file.replace("\\", "/")) for file in rows[key]]
    rows = rows.assign(path=[_without_suffix(Path(file)) if is_image(file) else file for file in paths])
    several = rows.groupby("path")[column].nunique()
    if (several > 1).any():
        raise no_layout(folder / name, f"several groups for {several.idxmax()}", f"one {column!r} for each {key!r}")
    rows = rows.assign(stem=[Path(path).name for path in rows["path"]])
    unique = rows[rows.groupby("stem")[column].transform("nunique") == 1]
    return dict(zip(unique["stem"], unique[column], strict=True)) | dict(zip(rows["path"], rows[column], strict=True))
