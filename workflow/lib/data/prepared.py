"""A prepared target: arrays of equal size, ready for training and scoring."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workflow.lib.data.table import read_table
from workflow.lib.run import UserError, read_json


@dataclass(frozen=True)
class Prepared:
    """A target after rule `prepare_target`; row i of `items` describes `images[i]` and `masks[i]`.

    images: (N, C, H, W), C 1 or 3, uint8 (0..255) or float32 (raw intensities).
    masks: (N, H, W) uint8, 0 background, 1..K the classes `card["classes"]`, which is [] for a target without masks.
    items: columns item, case, group, part (train | validation | test), scale, range, spacing_z, spacing_y, spacing_x.
        Training divides an image by `scale`; image / `range`, clipped, lies in 0..1. Spacings are those of the prepared
        pixels: mm for NIfTI, pixels of the original image for all other files.
    card: target, protocol, image_size, classes, window and slices (of NIfTI volumes, as in the config), groups (layout |
        table | pattern | sub-folders, what names the patients; unknown: each image counts as its own), windows (None or
        window, stride, crop in pixels), counts, arrays.
    """

    images: np.ndarray
    masks: np.ndarray
    items: pd.DataFrame
    card: dict[str, Any]


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
    return Prepared(arrays["images"], arrays["masks"], items, card)


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
        "prepared array does not match its card",
        found=found,
        expected=expected,
        where=path,
        next=f"rm -r {path.parent}, then run the same command again",
    )
