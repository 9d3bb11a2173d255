"""The training images of a target as a pretraining source: its test images are never among them."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from workflow.lib.data.copies import copies, prints_of_parts, warn_of_pairs
from workflow.lib.data.prepared import hash_of_tested, load_prepared
from workflow.lib.job.run import UserError, atomic_path, read_json, write_json

PARTS = {"train": "train", "validation": "val"}  # of the target, and of the source


def list_training_images(
    *,
    data_folder: str | Path,
    images: str | Path,
    source: str | Path,
    index: str | Path,
    others: Sequence[tuple[str, str, str]] = (),
) -> None:
    """Write the images of a prepared target that are not in its test split, with their masks, to the folder `images`, and the
    source's card and index.

    Images have 8 bits: they are divided by their range, as for scores. Without a validation split, training images are those
    of validation too, where nothing but the loss is shown. The class of an image is of no use: it is the target's name. Warns of
    those that are in the test split of another target too; others: source.json, images.csv and split.csv of this one and of
    these. Raises `UserError` for a target without training images.
    """
    data, folder = load_prepared(data_folder), Path(images)
    labelled = bool(data.card["classes"])
    rows = []
    for number, item in enumerate(data.items.itertuples()):
        if item.part not in PARTS:
            continue
        part = PARTS[item.part]
        place = np.s_[item.top : item.top + item.height, item.left : item.left + item.width]
        share = np.clip(np.asarray(data.images[number][:, *place], np.float32) / item.range, 0, 1)
        picture = np.rint(255 * np.broadcast_to(share, (3, *share.shape[1:]))).astype(np.uint8).transpose(1, 2, 0)
        name, mask = f"{part}/{number}.png", f"masks/{number}.png" if labelled else ""
        _save(picture, folder / name)
        if labelled:
            _save(np.asarray(data.masks[number][place]), folder / mask)
        content = hashlib.sha256(picture.tobytes() + (data.masks[number].tobytes() if labelled else b"")).hexdigest()
        rows.append([name, -1, -1, 0, part, data.card["target"], mask, content])
    # content: the index stands for the images in cards, and other ones may have the same names.
    table = pd.DataFrame(rows, columns=["file", "offset", "size", "label", "part", "class", "mask", "content"])
    if not (table["part"] == "train").any():
        raise UserError(
            f"target {data.card['target']} has no training images to pretrain on",
            found=f"splits {data.items['part'].value_counts().to_dict()}",
            expected="images in split train",
            where=Path(data_folder) / "items.csv",
            next="choose another source for this scheme",
        )
    if not (table["part"] == "val").any():
        table = pd.concat([table, table.assign(part="val")], ignore_index=True)
    _warn_of_tested(data.card["target"], others)
    with atomic_path(index) as temporary:
        table.drop(columns=[] if labelled else "mask").to_csv(
            temporary, index=False, compression={"method": "gzip", "mtime": 0}
        )
    card = {"dataset": data.card["target"], "origin": "target", "layout": "target", "folder": os.path.abspath(folder)}
    held_out = {data.card["target"]: hash_of_tested(data)}
    write_json(source, card | {"files": [], "mask_classes": data.card["classes"], "held_out": held_out})


def _warn_of_tested(target: str, others: Sequence[tuple[str, str, str]]) -> None:
    """Warn of images to pretrain on that another target is evaluated on; others: as of `list_training_images`."""
    if len(others) > 1:
        trained = prints_of_parts(*others[0], [*PARTS])
    for files in others[1:]:
        name, pairs = read_json(files[0])["dataset"], copies(prints_of_parts(*files, ["test"]), trained)
        what = f"test images of target {name} are training images of target {target}, a pretraining source, too"
        warn_of_pairs(what, pairs, f"remove them from one of the two, or take another source for {name}")


def _save(picture: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)
