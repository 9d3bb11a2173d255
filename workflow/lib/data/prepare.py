"""A target's images and masks at the size that networks see, as two arrays."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
import torch
from torch.nn.functional import interpolate

from workflow.lib.data.images import is_nifti, read_image, read_mask
from workflow.lib.data.layouts import BINARY, class_names
from workflow.lib.data.table import read_table
from workflow.lib.protocol import Protocol
from workflow.lib.run import Progress, UserError, atomic_path, read_json, sha256_of, write_json

log = logging.getLogger("medseg")


@dataclass(frozen=True)
class Geometry:
    """How a layout is brought to size: columns cut on each side (fraction), size after the resize, windows."""

    cut: float
    height: int
    width: int
    windows: dict[str, int] | None


def geometry(layout: str, aspect: str, size: int) -> Geometry:
    """The study's geometry in units of the image size; aspect `kept` nearly keeps that of IDRiD (4096:2848)."""
    if layout != "idrid":
        return Geometry(0.0, size, size, None)
    windows = {"window": 2 * size, "stride": size // 2, "crop": size}
    return Geometry(96 / 4288, 5 * size, (10 if aspect == "squeezed" else 7) * size, windows)


def prepare_target(
    *,
    source: str | Path,
    cases: str | Path,
    split: str | Path,
    images: str | Path,
    masks: str | Path,
    items: str | Path,
    card: str | Path,
    target: str,
    protocol: Protocol,
    image_size: int,
    classes: list[str] | None = None,
    crop: int | None = None,
) -> None:
    """Write `images` (N, C, H, W), `masks` (N, H, W), `items` and `card` as described in `prepared.Prepared`.

    Every slice of every case in `split` becomes an item: centre crop of side `crop` pixels (None: whole), then
    `resize_image` and `resize_mask`. The files have passed `verify_target`: `UserError` for one that changed since.
    """
    described = read_json(source)
    folder, layout = Path(described["folder"]), described["layout"]
    names = class_names(target, layout, classes)
    shape = geometry(layout, protocol["aspect"], image_size)
    table = _join(split, cases)
    with atomic_path(images) as image_path, atomic_path(masks) as mask_path:
        (channels, kind), number = _common_type(folder, list(table["image"])), int(sum(table["slices"]))
        sides, rows = (shape.height, shape.width), list[dict[str, Any]]()
        progress = Progress(len(table), f"{target}: cases prepared")
        # Written, not memory-mapped: where the disk fills up under a map, the process dies without a word.
        with open(image_path, "wb") as image_file, open(mask_path, "wb") as mask_file:
            _write_header(image_file, (number, channels, *sides), kind)
            _write_header(mask_file, (number, *sides), np.dtype(np.uint8))
            for row in table.to_dict("records"):
                image, mask, numbers = _prepare_case(folder, row, layout, protocol, len(names), shape, crop)
                image_file.write(np.broadcast_to(image, (len(image), channels, *sides)).astype(kind).tobytes())
                mask_file.write(mask.tobytes())
                rows += _items(row, len(image), numbers)
                progress.step()
        arrays = {"images": _describe(image_path), "masks": _describe(mask_path)}
    facts = {"target": target, "protocol": protocol, "image_size": image_size, "classes": names}
    _write_tables(items, card, rows, facts | {"windows": shape.windows, "arrays": arrays})


def _join(split: str | Path, cases: str | Path) -> pd.DataFrame:
    """The rows of `split`, in its order, with what `cases` says about them."""
    text: Any = {"case": str, "group": str, "part": str}
    facts = read_table(cases, dtype=text, keep_default_na=False).drop(columns=["group", "part"])
    parts = read_table(split, dtype=text, keep_default_na=False)
    if lost := sorted(set(parts["case"]) - set(facts["case"])):
        raise _changed(
            cases, f"no row for {len(lost)} cases of the split, the first {lost[0]}", "the cases of the split"
        )
    return parts.merge(facts, on="case")


def _write_tables(items: str | Path, card: str | Path, rows: list[dict[str, Any]], facts: dict[str, Any]) -> None:
    """items.csv, and card.json with the numbers of groups, cases and items in each part."""
    table = pd.DataFrame(rows)
    with atomic_path(items) as temporary:
        table.to_csv(temporary, index=False)
    counts = {
        str(part): {"groups": len(set(chosen["group"])), "cases": len(set(chosen["case"])), "items": len(chosen)}
        for part, chosen in table.groupby("part", sort=False)
    }
    write_json(card, facts | {"counts": counts})


def _items(row: dict[str, Any], slices: int, numbers: dict[str, float]) -> list[dict[str, Any]]:
    """Rows of items.csv for the slices of one case; a picture's item is named as its case."""
    names = [f"{row['case']}_z{z:02d}" for z in range(slices)] if is_nifti(row["image"]) else [row["case"]]
    return [{"item": name} | {key: row[key] for key in ("case", "group", "part")} | numbers for name in names]


def _prepare_case(
    folder: Path, row: dict[str, Any], layout: str, protocol: Protocol, classes: int, shape: Geometry, crop: int | None
) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
    """Images (slices, C, H, W), masks (slices, H, W) and scale, range and spacing of one case."""
    image, mask = _read_case(folder, row, binary=layout in BINARY)
    mask = (mask > 0).astype(mask.dtype) if classes == 1 else mask  # one class: stored as 1 or as 255
    if protocol["intensities"] == "scaled" and image.min() < 0:  # CT, for example: what is jittered must lie in 0..1
        image = image - np.percentile(image, 0.5).astype(image.dtype)
    scale, top = intensity_scale(image, protocol["intensities"], nifti=is_nifti(row["image"]))
    image, mask = (_cut(array, shape.cut, crop) for array in (image, mask))
    spacing_y = row["spacing_y"] * image.shape[-2] / shape.height
    spacing_x = row["spacing_x"] * image.shape[-1] / shape.width
    numbers = {"scale": scale, "range": top, "spacing_z": row["spacing_z"]}
    numbers |= {"spacing_y": round(spacing_y, 6), "spacing_x": round(spacing_x, 6)}
    rule = "nearest" if protocol["masks"] == "nearest" else "any" if layout == "idrid" else "truncate"
    resized = resize_image(image, shape, antialias=protocol["images"] == "antialiased")
    return resized, resize_mask(mask, shape, rule), numbers


def intensity_scale(image: np.ndarray, intensities: str, *, nifti: bool) -> tuple[float, float]:
    """(scale, range) of an image or volume: 255 for 8 bits; of NIfTI with `raw` intensities 1 and its maximum.

    NIfTI with `scaled` intensities, and pictures of more than 8 bits: the 99.5th percentile for both.
    """
    if image.dtype == np.uint8:
        return 255.0, 255.0
    if nifti and intensities == "raw":
        return 1.0, max(float(image.max()), 1e-6)
    top = float(np.percentile(image, 99.5))
    top = top if top > 0 else max(float(image.max()), 1e-6)
    return round(top, 6), round(top, 6)


def resize_image(image: np.ndarray, shape: Geometry, *, antialias: bool) -> np.ndarray:
    """Bilinear, corners not aligned, type kept; the study does without `antialias`."""
    resized = _interpolate(image, shape, "bilinear", antialias=antialias)
    return resized.round().clip(0, 255).astype(np.uint8) if image.dtype == np.uint8 else resized


def resize_mask(mask: np.ndarray, shape: Geometry, rule: str) -> np.ndarray:
    """Resize masks (N, H, W) to uint8.

    `nearest`: labels stay as they are. The study interpolated labels as numbers: `truncate` cuts the result down to
    whole numbers (a border between 0 and 3 gets false labels 1 and 2, a binary mask shrinks a little), `any` sets 1
    wherever the result is above 0 (the mask grows).
    """
    if rule == "nearest":
        return _interpolate(mask[:, None], shape, "nearest-exact")[:, 0].astype(np.uint8)
    values = _interpolate(mask[:, None], shape, "bilinear")[:, 0]
    return (values > 0).astype(np.uint8) if rule == "any" else values.astype(np.uint8)


def _interpolate(array: np.ndarray, shape: Geometry, mode: str, *, antialias: bool = False) -> np.ndarray:
    tensor = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
    aligned = {"align_corners": False} if mode == "bilinear" else {}
    return interpolate(tensor, size=(shape.height, shape.width), mode=mode, antialias=antialias, **aligned).numpy()


def _cut(array: np.ndarray, cut: float, crop: int | None) -> np.ndarray:
    """Cut the fraction `cut` of the columns on each side, then to the central square of side `crop`."""
    columns = round(array.shape[-1] * cut)
    array = array[..., columns : array.shape[-1] - columns]
    if crop is None:
        return array
    height, width = (min(crop, n) for n in array.shape[-2:])
    top, left = (array.shape[-2] - height) // 2, (array.shape[-1] - width) // 2
    return array[..., top : top + height, left : left + width]


def _common_type(folder: Path, images: list[str]) -> tuple[int, np.dtype]:
    """Channels (3 if any image has colour) and type (float32 if any image has more than 8 bits) of the array."""
    if is_nifti(images[0]):
        return 1, np.dtype(np.float32)
    found = {(image.shape[1], image.dtype) for image in (_read(read_image, folder / name)[0] for name in images)}
    return max(channels for channels, _ in found), np.result_type(*(kind for _, kind in found))


def _read_case(folder: Path, row: dict[str, Any], *, binary: bool) -> tuple[np.ndarray, np.ndarray]:
    """Image (slices, C, H, W) and mask (slices, H, W) of a case, of the size that was verified."""
    image = _read(read_image, folder / row["image"])[0]
    mask = _read(partial(read_mask, binary=binary), folder / row["mask"])
    verified = (row["slices"], row["height"], row["width"])
    for name, found in {"image": (len(image), *image.shape[2:]), "mask": mask.shape}.items():
        if found != verified:
            raise _changed(folder / row[name], f"size {found}", f"size {verified} (slices, height, width)")
    return image, mask


def _read(reader: Callable[[Path], Any], path: Path) -> Any:
    try:
        return reader(path)
    except ValueError as error:
        raise _changed(path, error, "a readable file") from error


def _changed(path: str | Path, found: object, expected: str) -> UserError:
    return UserError(
        "a file changed since the target was verified",
        found=found,
        expected=expected,
        where=path,
        next="put the file back, then run the same command again; or check the target anew: -R verify_target",
    )


def _write_header(file: BinaryIO, shape: tuple[int, ...], kind: np.dtype) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def _describe(path: Path) -> dict[str, Any]:
    array = np.load(path, mmap_mode="r")
    return {"shape": list(array.shape), "dtype": str(array.dtype), "sha256": sha256_of(path)}
