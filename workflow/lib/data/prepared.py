"""A prepared target: arrays of equal size, ready for training and scoring."""

import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workflow.lib.data.geometry import BOX
from workflow.lib.job.csv import read_table
from workflow.lib.job.run import UserError, hash_of, read_json


@dataclass(frozen=True)
class Prepared:
    """A target after rule `prepare_target`; row i of `items` describes `images[i]` and `masks[i]`.

    images: (N, C, H, W), C 1 or 3, uint8 (0..255) or float32 (raw intensities).
    masks: (N, H, W) uint8, 0 background, 1..K the classes `card["classes"]`, which is [] for a target without masks.
    items: columns item, case, group, part (train | validation | test), scale, range, mean, sd, top, left, height, width,
        spacing_z, spacing_y, spacing_x. Training divides an image by `scale`, after which its whole case (volume or picture)
        has `mean` and `sd`; image / `range`, clipped, lies in 0..1. The image lies at top, left, height, width of its array,
        in pixels; around it are zeros. Spacings are those of the prepared pixels: mm for NIfTI, pixels of the original image
        for all other files.
    truth: zip file with the masks of every case before the resize, see `truths_of`.
    card: target, protocol, image_size, classes, window and slices (of NIfTI volumes, as in the config), groups (layout |
        table | pattern | sub-folders, what names the patients; unknown: each image counts as its own), windows (None or
        window, stride, crop in pixels), copies (number of cases whose image another patient or split has too), lost_lesions
        (class: part: lesions that vanish by resizing, and all), counts, arrays, truth.
    """

    images: np.ndarray
    masks: np.ndarray
    items: pd.DataFrame
    truth: Path
    card: dict[str, Any]

    @cached_property
    def statistics(self) -> np.ndarray:
        """(N, 2) float32: mean and SD of the case that each item is of."""
        return self.items[["mean", "sd"]].to_numpy(np.float32)

    @cached_property
    def boxes(self) -> np.ndarray:
        """(N, 4): top, left, height, width of the image in each item."""
        return self.items[list(BOX)].to_numpy(int)


def load_prepared(folder: str | Path) -> Prepared:
    """Open a prepared target read-only, its arrays memory-mapped.

    Raises `UserError` when an array is unreadable or differs from the card in shape or type.
    """
    folder = Path(folder)
    card = read_json(folder / "card.json")
    names: dict[str, Any] = {"item": str, "case": str, "group": str, "part": str}
    items = read_table(folder / "items.csv", dtype=names, keep_default_na=False)  # a case may be called NA
    arrays = {name: _open_array(folder / f"{name}.npy", card["arrays"][name]) for name in ("images", "masks")}
    if len(items) != len(arrays["images"]):
        raise UserError(
            "items and images of a prepared target differ in number",
            found=f"{len(items)} items",
            expected=f"{len(arrays['images'])} items",
            where=folder / "items.csv",
            next=f"rm -r {folder}, then run the same command again",
        )
    return Prepared(arrays["images"], arrays["masks"], items, folder / "truth.npz", card)


def truths_of(data: Prepared) -> Callable[[str], np.ndarray]:
    """A function of a case that gives its masks (slices, h, w) uint8 before the resize, cropped as its images are; of training
    volumes, of the slices used. The file is opened once.

    Raises `UserError`, and so does the function, when the file is absent, damaged or of other cases.
    """
    numbers = {name: f"{number}" for number, name in enumerate(dict.fromkeys(data.items["case"]))}
    try:
        stored = np.load(data.truth)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise _wrong_array(data.truth, error, "the masks of all cases") from error
    if len(stored.files) != len(numbers):
        raise _wrong_array(data.truth, f"masks of {len(stored.files)} cases", f"masks of {len(numbers)} cases")

    def truth(case: str) -> np.ndarray:
        try:
            return stored[numbers[case]]
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise _wrong_array(data.truth, error, f"the masks of {case}") from error

    return truth


def inside(data: Prepared, row: int) -> np.ndarray:
    """(H, W) bool: which pixels of an item are of its image, and not padding."""
    top, left, height, width = data.boxes[row]
    mask = np.zeros(data.masks.shape[1:], bool)
    mask[top : top + height, left : left + width] = True
    return mask


def shown_rows(data: Prepared, case: str) -> list[int]:
    """The items by which a case is shown: of a volume its middle slice and, if that is another, the one with most labelled
    pixels."""
    rows = np.flatnonzero(data.items["case"] == case)
    labelled = [np.count_nonzero(data.masks[row]) for row in rows]
    middle, most = rows[len(rows) // 2], rows[np.argmax(labelled)]
    return list(dict.fromkeys(map(int, [middle, most] if any(labelled) else [middle])))


def _open_array(path: Path, described: dict[str, Any]) -> np.ndarray:
    expected = f"{tuple(described['shape'])} {described['dtype']}"
    try:
        array = np.load(path, mmap_mode="r")
        found = f"{array.shape} {array.dtype}"
    except (OSError, ValueError, EOFError) as error:
        raise _wrong_array(path, error, expected) from error
    if found != expected:
        raise _wrong_array(path, found, expected)
    return array


def _wrong_array(path: Path, found: object, expected: str) -> UserError:
    return UserError(
        "a file of a prepared target does not match the others",
        found=found,
        expected=expected,
        where=path,
        next=f"rm -r {path.parent}, then run the same command again",
    )


def hash_of_tested(data: Prepared) -> str:
    """A hash of the cases in the test split."""
    return hash_of({"test": sorted(data.items.loc[data.items["part"] == "test", "case"].astype(str).unique())})
