"""Layout `folder`: images of anyone's own, with masks or without, grouped by patient where something names the patients."""

import logging
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from workflow.lib.data.cases import Listing, glimpse, make_case, no_layout, unmatched
from workflow.lib.data.images import is_image, stem_of
from workflow.lib.run import reason

log = logging.getLogger("medseg")


def named_by(group: dict[str, Any] | None, images: Iterable[str]) -> str:
    """What names the patients of images (paths relative to the target's folder): table | pattern | sub-folders; `unknown`
    where every image counts as its own patient."""
    if group:
        return "table" if "table" in group else "pattern"
    return "sub-folders" if any("/" in name.removeprefix("images/") for name in images) else "unknown"


def list_folder(folder: Path, group: dict[str, Any] | None, *, labelled: bool) -> Listing:
    """images/ and masks/ with equal names, in sub-folders or not; without masks images/, or images in the folder itself.

    `group` is {"table", "key", "column"}, {"pattern"}, or None: the first sub-folder below images/, where there are any.
    """
    found = _found(folder, labelled)
    problems = [
        f"{what}/{name}.*: {len(files)} files of this stem"
        for what, named in found.items()
        for name, files in named.items()
        if len(files) > 1
    ]
    images, masks = ({name: files[-1] for name, files in found.get(what, {}).items()} for what in ("images", "masks"))
    problems += unmatched(folder, images, masks) if labelled else []
    source = named_by(group, [file.relative_to(folder).as_posix() for file in images.values()])
    if source == "unknown":
        log.warning(
            "%s: no `group` given and no sub-folders: every image counts as its own patient, so that images of one "
            "patient may sit on both sides of a split",
            folder,
        )
    table = _group_table(folder, group["table"], group["key"], group["column"]) if group and "table" in group else {}
    cases = []
    for name in sorted(images.keys() & masks.keys() if labelled else images):
        patient = _group_of(name, source, group, table)
        if patient is None:
            problems.append(f"{images[name].relative_to(folder)}: no group found by {group or 'its sub-folder'}")
        else:
            cases.append(make_case(folder, name, patient, "", images[name], masks.get(name)))
    if source == "sub-folders":
        log.info("%s: the %d sub-folders of images/ count as patients", folder, len({case.group for case in cases}))
    return cases, problems


def _found(folder: Path, labelled: bool) -> dict[str, dict[str, list[Path]]]:
    """The files of images and (`labelled`) masks by name. Raises `UserError` where the folder has no such layout."""
    place = folder / "images" if (folder / "images").is_dir() else folder
    if labelled:
        if place == folder or not (folder / "masks").is_dir():
            expected = "images/ and masks/ with equal stems (png, jpg, tif, nii.gz); or no `classes`, without masks"
            raise no_layout(folder, glimpse(folder), expected)
        both = {what: _images_of(folder / what) for what in ("images", "masks")}
        if not both["images"]:
            raise no_layout(place, glimpse(place), "images (png, jpg, tif, nii.gz) here or in its sub-folders")
        return both
    # Not below the folder itself, where anything may lie, masks of another name too.
    found = _images_of(place, deep=place != folder)
    if not found:
        raise no_layout(place, glimpse(place), "images (png, jpg, tif, nii.gz) in images/, in its sub-folders, or here")
    return {"images": found}


def _images_of(place: Path, *, deep: bool = True) -> dict[str, list[Path]]:
    """Image files by their path below `place` without suffix; `deep`: those in sub-folders too, but for hidden ones."""

    def refuse(error: OSError) -> None:
        raise no_layout(Path(error.filename), reason(error), "a folder that can be read")

    named: dict[str, list[Path]] = {}
    seen = {os.path.realpath(place), *map(os.path.realpath, place.parents)}  # links may lead back up, or in circles
    for where, folders, files in os.walk(place, followlinks=True, onerror=refuse):
        for file in sorted(Path(where, name) for name in files if is_image(name)):
            named.setdefault(_without_suffix(file.relative_to(place)), []).append(file)
        inside = [name for name in sorted(folders) if deep and not name.startswith(".")]
        folders.clear()
        for name in inside:
            if (real := os.path.realpath(Path(where, name))) not in seen:
                seen.add(real)
                folders.append(name)
    return named


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
    """{path below images/, or stem: group} from a csv or tsv table in `folder`; no stem that stands for several groups."""
    try:
        table = pd.read_csv(folder / name, dtype=str, sep="\t" if name.endswith(".tsv") else ",")
    except FileNotFoundError:
        raise no_layout(folder, f"no file {name}", f"the table {name} that names the groups") from None
    except (OSError, ValueError) as error:  # pandas raises kinds of ValueError
        raise no_layout(folder / name, reason(error), "a readable table in UTF-8") from error
    if absent := [wanted for wanted in (key, column) if wanted not in table]:
        raise no_layout(folder / name, f"columns {list(table)}", f"column {absent[0]!r}")
    rows = table.dropna(subset=[key, column])
    paths = [file.removeprefix("images/") for file in rows[key]]
    rows = rows.assign(path=[_without_suffix(Path(file)) if is_image(file) else file for file in paths])
    several = rows.groupby("path")[column].nunique()
    if (several > 1).any():
        raise no_layout(folder / name, f"several groups for {several.idxmax()}", f"one {column!r} for each {key!r}")
    rows = rows.assign(stem=[Path(path).name for path in rows["path"]])
    unique = rows[rows.groupby("stem")[column].transform("nunique") == 1]
    return dict(zip(unique["stem"], unique[column], strict=True)) | dict(zip(rows["path"], rows[column], strict=True))
