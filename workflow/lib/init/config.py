"""The config of a folder of images: what was found, as comments, and what was guessed, as settings."""

import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from workflow.lib.data.cases import PLACES
from workflow.lib.data.images import NIFTI
from workflow.lib.data.own_folder import named_by
from workflow.lib.data.pictures import shortened
from workflow.lib.init.look import AIR, MANY, SIZES, Found, look
from workflow.lib.init.patients import group_from_tables, pattern_from_names
from workflow.lib.job.run import UserError, atomic_path

RANK, SMALL = "snakemake -c2 rank --configfile configs/rank.yaml", "snakemake -c2 --configfile configs/demo.yaml"
OTHER_RESULTS = ("data", "pretrain", "published")  # folders of results/ that are no run of one's own
FEW = (
    10  # patients, with fewer of which splits and intervals are coarse; masks, in which a label may be rare by mistake
)


def write_config(folder: str | Path, into: str | Path = ".") -> str:
    """Look at a folder of images, write <its name>.yaml for it in folder `into`, and return what to say on the screen.

    Raises `UserError` where that file exists, which is never replaced, and as `look` does.
    """
    place = Path(os.path.expandvars(folder)).expanduser().absolute()
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", place.name).strip("-") or "images"
    name = f"{name}-images" if name in OTHER_RESULTS else name
    path = Path(into) / f"{name}.yaml"
    if path.exists():
        raise UserError(
            "the config exists already, and is not replaced",
            found=path,
            expected="a name that is not in use",
            where=path.absolute(),
            next=f"rm {path}, or rename it; then run the same command again",
        )
    found = look(place)
    text = config_text(name, found)
    with atomic_path(path) as temporary:
        temporary.write_text(text)
    small = [
        "or the whole experiment, with small networks:",
        f"  {SMALL} {path} --config run={name}-small",
    ] * found.labelled
    first = f"This is {path} now. Correct the guesses, where they are wrong. Then, which encoder to start from:"
    problems = ["Fix what is marked PROBLEM first: until then, the commands below end with an error."]
    return "\n".join([text, *problems * ("# PROBLEM: " in text), first, f"  {RANK} {path}", *small])


def config_text(name: str, found: Found) -> str:
    """The config as YAML with comments."""
    notes, settings = [_about_files(found), *_about_images(found)], list[tuple[str, str]]()
    if found.layout == "folder":
        classes, said = _classes(found)
        notes += said
        if classes:
            settings.append(("classes", _plain(classes)))
        group, said = _group(found)
        notes += said
        if group:
            settings.append(("group", _plain(group)))
        window, said = _window(found)
        notes += said
        if window:
            settings.append(("window", _plain(window)))
    notes += _about_resize(found)
    notes += [f"PROBLEM: {problem}" for problem in found.problems[:5]]
    if len(found.problems) > 5:
        notes.append(f"PROBLEM: ... and {len(found.problems) - 5} more")
    notes += [f"CHECK: {doubt}" for doubt in found.doubts[:5]]
    lines = [
        f"# Written by `snakemake init` for {found.folder}",
        *(f"# {note}" for note in notes),
        "# On top of another config: configs/rank.yaml (which encoder to start from), configs/demo.yaml (small networks).",
        "",
        f"run: {_plain(name)}",
        "protocol: sound",
        f"study: {{targets: [{_plain(name)}]}}",
        "targets:",
        f"  {_plain(name)}:",
        f"    layout: {found.layout}",
        f"    folder: {_plain(str(found.folder))}",
        *(f"    {key}: {value}  # guessed" for key, value in settings),
    ]
    return "\n".join(lines) + "\n"


def _plain(value: Any) -> str:
    """A value in YAML, on one line."""
    return yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True, sort_keys=False).split("\n")[
        0
    ]


def _about_files(found: Found) -> str:
    kinds = Counter(_suffix(case.image) for case in found.cases)
    masks = Counter(_suffix(case.mask) for case in found.cases if case.mask)
    text = f"{len(found.cases)} images ({_counted(kinds)})"
    return f"{text}, with masks ({_counted(masks)})." if masks else f"{text}, without masks."


def _suffix(name: str) -> str:
    return next((end for end in NIFTI if name.lower().endswith(end)), Path(name).suffix.lower())


def _counted(kinds: Counter[str]) -> str:
    return ", ".join(f"{number} {kind}" for kind, number in kinds.most_common())


def _about_images(found: Found) -> list[str]:
    """Sizes, channels and intensities of the images that were read."""
    sizes = np.array(found.sizes)
    low, high = sizes.min(axis=0), sizes.max(axis=0)
    names = ["slices", "height", "width"]
    spans = [f"{name} {a}" if a == b else f"{name} {a} to {b}" for name, a, b in zip(names, low, high, strict=False)]
    text = f"Of {len(sizes)} that were read: {', '.join(spans[0 if found.volumes else 1 :])}"
    if found.volumes:
        z, y, x = np.median(found.spacings, axis=0)
        text += f"; voxels of {x:.3g} x {y:.3g} x {z:.3g} mm (median)"
        text += f"; they differ in orientation, and are turned to {found.axes}" if found.axes else ""
    else:
        text += f"; {'colour' if high[3] == 3 else 'grey'}, {' and '.join(found.kinds)}"
        text += f"; {found.alpha} with an alpha channel, which is left out" if found.alpha else ""
    values = np.array(found.intensities)
    return [f"{text}; intensities {values[:, 0].min():.6g} to {values[:, 1].max():.6g}."]


def _classes(found: Found) -> tuple[list[str] | dict[str, int] | None, list[str]]:
    """`classes` of a target, and the comments on them."""
    if not found.labelled:
        said = ["No masks/: checkpoints can be ranked by scores that need no labels; nothing can be fine-tuned."]
        beside = found.folder.parent / PLACES.get(found.folder.name, "")
        if beside != found.folder.parent and beside.is_dir():
            said.append(
                f"CHECK: {beside} lies beside it. With masks: snakemake init --config images={found.folder.parent}"
            )
        return None, said
    labels = found.classes
    if not labels:
        return ["foreground"], ["PROBLEM: the masks that were read are empty."]
    if found.swapped:
        return ["foreground"], ["PROBLEM: masks have many values, and images few: are the two folders swapped?"]
    if len(labels) > MANY:
        return ["foreground"], [
            f"PROBLEM: masks have many values ({shortened(labels)}): smoothed, or JPEG? Save them with one value a class."
        ]
    masks, counted = len(found.labelled_slices), ", ".join(f"{label} in {found.labels[label]}" for label in labels)
    named = _nnunet_names(found.folder)
    said = [f"Labels besides 0, the background: {counted} of the {masks} masks that were read. "]
    said[0] += "Their names are those of dataset.json." if named.keys() >= set(labels) else "Name them under classes."
    rare = [label for label in labels if found.labels[label] == 1]
    if rare and masks >= FEW:
        said.append(f"CHECK: {shortened(rare)} is in one mask only: an error?")
    names = {named.get(label, f"class{label}" if len(labels) > 1 else "foreground"): label for label in labels}
    if labels in ([255], list(range(1, len(labels) + 1))):
        return list(names), said
    if 255 in labels:
        said.append(
            "255 often marks pixels that should not count: this workflow has no such label, it is a class here."
        )
    return names, said


def _nnunet_names(folder: Path) -> dict[int, str]:
    """{label: name} of the dataset.json that nnU-Net's folders have, whose `labels` are {name: label} or, earlier, {label: name};
    {} without one that can be read. Regions of several labels have no label of their own."""
    try:
        stored = json.loads((folder / "dataset.json").read_text())["labels"].items()
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return {}
    pairs = [(key, value) if isinstance(value, str) else (value, key) for key, value in stored]
    named = {int(label): str(name) for label, name in pairs if re.fullmatch(r"\d+", str(label))}
    return named if len(set(named.values())) == len(named) else {}


def _group(found: Found) -> tuple[dict[str, Any] | None, list[str]]:
    """`group` of a target, and the comments on it."""
    images = [case.image for case in found.cases]
    names = [case.case for case in found.cases]
    if group := group_from_tables(found.folder, names, labelled=found.labelled):
        return group, [f"Patients: column {group['column']!r} of {group['table']}."]
    if named_by(None, images) == "sub-folders":
        patients = {name.split("/")[0] for name in names}
        return None, [
            f"Patients: the {len(patients)} sub-folders of images/, for example {shortened(sorted(patients))}.",
            *_few(patients),
        ]
    if pattern := pattern_from_names(names):
        matches = [re.search(pattern, name) for name in names]
        patients = {match.group(1) for match in matches if match}
        return {"pattern": pattern}, [
            f"Patients: {len(patients)}, by the names of the files: {shortened(sorted(names)[:3])} are "
            f"{shortened([match.group(1) for match in matches[:3] if match])}. CHECK: a patient in two splits is leakage.",
            *_few(patients),
        ]
    return None, [
        "Patients: the names do not show them, so that each image counts as its own. CHECK: where a patient has several,",
        "  add group: {table: t.csv, key: <column of file names>, column: <of patients>}, or a regular expression whose first",
        "  (...) is the patient, in single quotes: group: {pattern: '^(case\\d+)_'}.",
    ]


def _few(patients: Sequence[str] | set[str]) -> list[str]:
    return [f"{len(patients)} patients are few: expect wide intervals."] if len(patients) < FEW else []


def _window(found: Found) -> tuple[list[int] | None, list[str]]:
    """`window` of CT volumes, and the comments on it."""
    if not found.volumes or np.median([low for low, _ in found.intensities]) > AIR:
        return None, []
    if not found.inside:
        return [-160, 240], ["Window: soft tissue, as the intensities are those of CT. For lungs: [-1000, 400]."]
    low, high = np.median(found.inside, axis=0)
    margin = 0.25 * (high - low)
    window = [10 * round(value / 10) for value in (low - margin, high + margin)]
    return window, [
        f"Window: CT, by the intensities of labelled voxels ({low:.0f} to {high:.0f} HU), and a quarter more on each side."
    ]


def _about_resize(found: Found) -> list[str]:
    """Which lesions survive the resize to the network's size, and which slices of volumes show any."""
    if not found.lesions:
        return []
    said, lost = [], {size: found.lost[size] for size in SIZES if found.lost[size]}
    if not lost.get(SIZES[0]):
        said.append(f"At {SIZES[0]} pixels, none of {found.lesions.total():,} lesions (connected regions) is lost.")
    else:
        counts = ", ".join(f"{n:,} of {found.lesions[k]:,} of label {k}" for k, n in sorted(lost[SIZES[0]].items()))
        enough = next((size for size in SIZES if not lost.get(size)), None)
        more = f"image_size: {enough} keeps all" if enough else f"image_size: {SIZES[-1]} still loses some"
        said.append(
            f"At {SIZES[0]} pixels the resize LOSES lesions (connected regions): {counts}; {more}, or set crop."
        )
    share = float(np.mean(found.labelled_slices))
    if found.volumes and share < 0.9:
        said.append(
            f"{100 * share:.0f} % of the slices show a label: `slices: labelled` trains on these alone, and is faster."
        )
    return said
