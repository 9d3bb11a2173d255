"""A target's images and masks at the size that networks see, as two arrays."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd

from workflow.lib.data.images import is_nifti, read_image, read_mask
from workflow.lib.data.layouts import BINARY, class_names, group_source
from workflow.lib.data.resize import Geometry, cut, geometry, resize_image, resize_mask
from workflow.lib.data.table import read_table
from workflow.lib.data.volumes import chosen_slices, only_for_volumes, windowed
from workflow.lib.protocol import Protocol
from workflow.lib.run import Progress, UserError, atomic_path, read_json, sha256_of, write_json

log = logging.getLogger("medseg")


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
    group: dict[str, Any] | None = None,
    crop: int | None = None,
    window: list[float] | None = None,
    slices: str | int | None = None,
) -> None:
    """Write `images` (N, C, H, W), `masks` (N, H, W), `items` and `card` as described in `prepared.Prepared`.

    Every slice of every case in `split` becomes an item: centre crop of side `crop` pixels (None: whole), then
    `resize_image` and `resize_mask`; masks of a target without any are zeros. Of NIfTI volumes: `window` [low, high] of
    intensities becomes 0..1; `slices` limits the training volumes, see `chosen_slices`. `UserError` for these two with
    pictures, and for a file that changed since `verify_target` passed it.
    """
    described = read_json(source)
    folder, layout = Path(described["folder"]), described["layout"]
    names = class_names(target, layout, classes, folder)
    shape = geometry(layout, protocol["aspect"], image_size)
    table = _join(split, cases)
    settings: dict[str, Any] = {"window": window, "slices": slices}
    if any(settings.values()) and not is_nifti(table["image"][0]):
        raise only_for_volumes(target, {key: value for key, value in settings.items() if value})
    kept = {row["case"]: _kept(folder, row, slices) for row in table.to_dict("records")}
    with atomic_path(images) as image_path, atomic_path(masks) as mask_path:
        (channels, kind), number = _common_type(folder, list(table["image"])), sum(map(len, kept.values()))
        sides, rows = (shape.height, shape.width), list[dict[str, Any]]()
        progress = Progress(len(table), f"{target}: cases prepared")
        # Written, not memory-mapped: where the disk fills up under a map, the process dies without a word.
        with open(image_path, "wb") as image_file, open(mask_path, "wb") as mask_file:
            _write_header(image_file, (number, channels, *sides), kind)
            _write_header(mask_file, (number, *sides), np.dtype(np.uint8))
            for row in table.to_dict("records"):
                image, mask, numbers = _prepare_case(
                    folder, row, layout, protocol, len(names), shape, crop, window, kept[row["case"]]
                )
                image_file.write(np.broadcast_to(image, (len(image), channels, *sides)).astype(kind).tobytes())
                mask_file.write(mask.tobytes())
                rows += _items(row, kept[row["case"]], numbers)
                progress.step()
        arrays = {"images": _describe(image_path), "masks": _describe(mask_path)}
    facts = {"target": target, "protocol": protocol, "image_size": image_size, "classes": names, **settings}
    facts |= {"groups": group_source(layout, group, table["image"]), "windows": shape.windows, "arrays": arrays}
    _write_tables(items, card, rows, facts)


def _kept(folder: Path, row: dict[str, Any], slices: str | int | None) -> np.ndarray:
    """The slices of a case that become items; all outside of the training part, as metrics are those of whole volumes."""
    read = partial(_read, partial(read_mask, binary=False), folder / row["mask"])
    return chosen_slices(row["slices"], slices if row["part"] == "train" else None, read)


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


def _items(row: dict[str, Any], slices: np.ndarray, numbers: dict[str, float]) -> list[dict[str, Any]]:
    """Rows of items.csv for the slices of one case; a picture's item is named as its case."""
    names = [f"{row['case']}_z{z:02d}" for z in slices] if is_nifti(row["image"]) else [row["case"]]
    return [{"item": name} | {key: row[key] for key in ("case", "group", "part")} | numbers for name in names]


def _prepare_case(
    folder: Path,
    row: dict[str, Any],
    layout: str,
    protocol: Protocol,
    classes: int,
    shape: Geometry,
    crop: int | None,
    window: list[float] | None,
    kept: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
    """Images (slices, C, H, W), masks (slices, H, W) of the slices `kept`, and scale, range and spacing of one case."""
    image, mask = _read_case(folder, row, binary=layout in BINARY)
    mask = (mask > 0).astype(mask.dtype) if classes == 1 else mask  # one class: stored as 1 or as 255
    if window:
        image, scale, top = windowed(image, window), 1.0, 1.0
    else:
        image = _above_zero(image) if protocol["intensities"] == "scaled" else image
        scale, top = intensity_scale(image, protocol["intensities"], nifti=is_nifti(row["image"]))
    image, mask = (cut(array[kept], shape.cut, crop) for array in (image, mask))
    spacing_y = row["spacing_y"] * image.shape[-2] / shape.height
    spacing_x = row["spacing_x"] * image.shape[-1] / shape.width
    numbers = {"scale": scale, "range": top, "spacing_z": row["spacing_z"]}
    numbers |= {"spacing_y": round(spacing_y, 6), "spacing_x": round(spacing_x, 6)}
    rule = "nearest" if protocol["masks"] == "nearest" else "any" if layout == "idrid" else "truncate"
    resized = resize_image(image, shape, antialias=protocol["images"] == "antialiased")
    return resized, resize_mask(mask, shape, rule), numbers


def _above_zero(image: np.ndarray) -> np.ndarray:
    """CT, for example, is shifted, as what is jittered must lie in 0..1."""
    return image - np.percentile(image, 0.5).astype(image.dtype) if image.min() < 0 else image


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


def _common_type(folder: Path, images: list[str]) -> tuple[int, np.dtype]:
    """Channels (3 if any image has colour) and type (float32 if any image has more than 8 bits) of the array."""
    if is_nifti(images[0]):
        return 1, np.dtype(np.float32)
    found = {(image.shape[1], image.dtype) for image in (_read(read_image, folder / name)[0] for name in images)}
    return max(channels for channels, _ in found), np.result_type(*(kind for _, kind in found))


def _read_case(folder: Path, row: dict[str, Any], *, binary: bool) -> tuple[np.ndarray, np.ndarray]:
    """Image (slices, C, H, W) and mask (slices, H, W) of a case, of the size that was verified."""
    image = _read(read_image, folder / row["image"])[0]
    verified = (row["slices"], row["height"], row["width"])
    reader = partial(read_mask, binary=binary)
    mask = _read(reader, folder / row["mask"]) if row["mask"] else np.zeros(verified, np.int32)
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
