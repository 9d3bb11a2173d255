"""Index of a pretraining source: where each image lies and which class it has. Archives are read in place."""

import logging
import os
import re
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.io import loadmat

from workflow.lib.data.copies import images_below, read_prints, warn_of_copies
from workflow.lib.data.other_files import described, is_rubbish
from workflow.lib.data.pictures import open_picture
from workflow.lib.data.registry import read_registry
from workflow.lib.data.source import VOC
from workflow.lib.job.csv import UNFIT
from workflow.lib.job.run import Progress, UserError, atomic_path, read_json

log = logging.getLogger("medseg")

SUFFIXES = (".jpeg", ".jpg", ".png")
TRAIN_TAR, VAL_TAR, DEVKIT = (f"ILSVRC2012_{name}" for name in ("img_train.tar", "img_val.tar", "devkit_t12.tar.gz"))

Entry = tuple[str, int, int, str, str, str]  # file, offset, size, class, part, mask ("" without one)


def index_source(
    *, source: str | Path, index: str | Path, registry: str | Path, targets: dict[str, str] | None = None
) -> None:
    """Write the table `index`: file (relative to the source's folder), offset, size, label, part (train | val), class, mask.

    Offset and size are -1 for whole files, else the image's place inside its tar. Labels number the classes (WordNet
    ids, folder names) in sorted order; without masks there is no column of them. Raises `UserError` for unknown layouts,
    classes that only one part has, damaged archives and, for data of the registry, numbers that differ from it. Warns of images
    that a target (`targets`: {name: folder}) has too.
    """
    card = read_json(source)
    folder = Path(card["folder"])
    readers: list[tuple[bool, Callable[[Path], Iterator[Entry]]]] = [
        (card["layout"] == "voc", voc_entries),
        ((folder / "ILSVRC" / "Data" / "CLS-LOC").is_dir(), kaggle_entries),
        ((folder / "train").is_dir() and (folder / "val").is_dir(), folder_entries),
        (all((folder / name).exists() for name in (TRAIN_TAR, VAL_TAR, DEVKIT)), archive_entries),
    ]
    reader = next((reader for fits, reader in readers if fits), None)
    if reader is None:
        raise _bad_source(folder, ", ".join(sorted(os.listdir(folder))[:8]) or "an empty folder")
    try:
        table = pd.DataFrame(reader(folder), columns=["file", "offset", "size", "class", "part", "mask"])
    except OSError as error:  # a folder that can't be listed, a loop of links
        raise _bad_source(folder, str(error)) from error
    if unfit := next((file for file in table["file"] if UNFIT.search(file)), None):
        raise _bad_source(folder, f"{unfit!r}: a name with control characters, or not in UTF-8")
    if card["layout"] != "voc":  # its classes are those of its masks
        _check_classes(folder, table)
    _check_counts(card, table, read_registry(registry))
    table["label"] = np.unique(table["class"], return_inverse=True)[1]
    columns = ["file", "offset", "size", "label", "part", "class", *(["mask"] if table["mask"].any() else [])]
    table = table.sort_values(["part", "label", "file", "offset"])[columns]
    if card["dataset"] not in read_registry(registry):
        for name, place in (targets or {}).items():
            warn_of_copies(name, read_prints(images_below(place)), card["dataset"], folder)
    with atomic_path(index) as temporary:
        table.to_csv(temporary, index=False, compression={"method": "gzip", "mtime": 0})


def folder_entries(folder: Path) -> Iterator[Entry]:
    """Class folders train/<class>/ and val/<class>/; folders without images are an error of `_check_classes`.

    With masks/train/<class>/ and masks/val/<class>/ beside them, of the same names as .png, images have masks.
    """
    for part in ("train", "val"):
        yield from _class_folders(folder, part, part)


def kaggle_entries(folder: Path) -> Iterator[Entry]:
    """Kaggle's layout: class folders for training, flat validation images labelled by LOC_val_solution.csv."""
    base = "ILSVRC/Data/CLS-LOC"
    table = folder / "LOC_val_solution.csv"
    if not table.exists():
        raise _bad_source(folder, "no LOC_val_solution.csv beside ILSVRC/")
    yield from _class_folders(folder, f"{base}/train", "train")
    solution = pd.read_csv(table)
    classes = dict(zip(solution["ImageId"], solution["PredictionString"].str.split().str[0], strict=True))
    for name in sorted(os.listdir(folder / base / "val")):
        if name.lower().endswith(SUFFIXES) and not is_rubbish(name):
            if Path(name).stem not in classes:
                raise _bad_source(table, f"no row {Path(name).stem}")
            yield f"{base}/val/{name}", -1, -1, classes[Path(name).stem], "val", ""


def archive_entries(folder: Path) -> Iterator[Entry]:
    """The official archives: a tar of one tar per class, a flat tar of validation images, the development kit."""
    progress = Progress(1000, "class archives indexed")
    try:
        with tarfile.open(folder / TRAIN_TAR, "r:") as outer:
            for member in outer:
                with tarfile.open(fileobj=outer.extractfile(member), mode="r:") as inner:
                    for image in inner:
                        offset = member.offset_data + image.offset_data
                        yield TRAIN_TAR, offset, image.size, Path(member.name).stem, "train", ""
                progress.step()
        classes = _validation_classes(folder / DEVKIT)
        with tarfile.open(folder / VAL_TAR, "r:") as outer:
            for image in outer:
                number = int(re.findall(r"\d+", image.name)[-1])
                yield VAL_TAR, image.offset_data, image.size, classes[number - 1], "val", ""
    except (tarfile.TarError, EOFError, IndexError, KeyError, StopIteration) as error:
        raise _bad_source(folder, f"damaged archive ({error})") from error


def _mask_of(folder: Path, file: str) -> str:
    """The mask of an image in a class folder; "" where the source has no masks."""
    if not (folder / "masks").is_dir():
        return ""
    mask = Path("masks", file).with_suffix(".png")
    if not (folder / mask).exists():
        raise _bad_source(folder / mask, f"no mask of {file}")
    return str(mask)


def voc_entries(folder: Path) -> Iterator[Entry]:
    """Pascal VOC 2012, [[VOCdevkit/]VOC2012/]{JPEGImages,SegmentationClass,ImageSets}: the images with masks of classes.

    The class of an image is that of which its mask shows most.
    """
    from torchvision.datasets import VOCSegmentation  # here, as its import takes seconds

    root = next((folder / place for place in ("", "..", "../..") if (folder / place / "VOCdevkit").is_dir()), folder)
    progress = Progress(2913, "masks read")
    for part in ("train", "val"):
        try:
            listed = VOCSegmentation(root, year="2012", image_set=part)
        except (RuntimeError, OSError) as error:
            raise _bad_source(folder, f"no complete VOCdevkit/VOC2012 ({error})") from error
        for image, mask in zip(listed.images, listed.masks, strict=True):
            for path in (image, mask):
                if not Path(path).exists():
                    raise _bad_source(Path(path), "a file that its list names is absent")
            counts = np.bincount(np.asarray(open_picture(mask)).ravel(), minlength=256)[1 : len(VOC) + 1]
            name = VOC[int(counts.argmax())]
            yield os.path.relpath(image, folder), -1, -1, name, part, os.path.relpath(mask, folder)
            progress.step()


def _class_folders(folder: Path, place: str, part: str) -> Iterator[Entry]:
    others = []
    for name in sorted(
        entry.name for entry in os.scandir(folder / place) if entry.is_dir() and not is_rubbish(entry.name)
    ):
        for file in sorted(file for file in os.listdir(folder / place / name) if not is_rubbish(file)):
            if file.lower().endswith(SUFFIXES):
                yield f"{place}/{name}/{file}", -1, -1, name, part, _mask_of(folder, f"{place}/{name}/{file}")
            else:
                others.append(folder / place / name / file)
    if others:
        log.warning("%s: left out, not being %s files: %s", folder / place, ", ".join(SUFFIXES), described(others))


def _validation_classes(devkit: Path) -> list[str]:
    """WordNet id of validation images 1, 2, ... in this order."""
    with tarfile.open(devkit) as archive:
        members = {Path(name).name: name for name in archive.getnames()}
        with _extract(archive, members["meta.mat"]) as file:
            synsets = np.atleast_1d(loadmat(file, squeeze_me=True)["synsets"])
        with _extract(archive, members["ILSVRC2012_validation_ground_truth.txt"]) as file:
            numbers = [int(line) for line in file.read().split()]
    names = {int(synset["ILSVRC2012_ID"]): str(synset["WNID"]) for synset in synsets}
    return [names[number] for number in numbers]


def _extract(archive: tarfile.TarFile, name: str) -> Any:
    return archive.extractfile(name)


def _check_classes(folder: Path, table: pd.DataFrame) -> None:
    classes = {part: set(table.loc[table["part"] == part, "class"]) for part in ("train", "val")}
    lonely = sorted(classes["train"] ^ classes["val"])
    if lonely or len(classes["train"]) < 2:
        found = f"{len(classes['train'])} training and {len(classes['val'])} validation classes"
        raise _bad_source(folder, found + (f", {', '.join(lonely[:5])} in one split only" if lonely else ""))


def _check_counts(card: dict[str, Any], table: pd.DataFrame, registry: dict[str, Any]) -> None:
    """Numbers against the registry: an error for its own data, a warning for the user's folder of the same name."""
    row = registry.get(card["dataset"])
    if row is None or card["origin"] == "generated":
        return
    for key, expected in row.counts.items():
        part, what = key.split("_")
        chosen = table[table["part"] == part]
        found = len(set(chosen["class"])) if what == "classes" else len(chosen)
        if found != expected and card["origin"] == "registry":
            raise _bad_source(Path(card["folder"]), f"{found} {part} {what}, the registry says {expected}")
        if found != expected:
            log.warning("%s: %d %s %s, the registry says %d", card["dataset"], found, part, what, expected)


def _bad_source(where: Path, found: str) -> UserError:
    return UserError(
        "the pretraining source cannot be used",
        found=found,
        expected=f"train/<class>/ and val/<class>/ with equal classes; or {TRAIN_TAR}, {VAL_TAR} and {DEVKIT}; "
        "or Kaggle's ILSVRC/Data/CLS-LOC and LOC_val_solution.csv; or, with layout voc, the folder that holds VOCdevkit/VOC2012",
        where=where,
        next="complete the folder, or correct `folder` of the source in the config",
    )
