"""A target's images and masks at the size that networks see, as two arrays, and the masks as they were."""

import hashlib
import logging
import math
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd

from workflow.lib.data.geometry import BOX, Geometry, box_of, geometry
from workflow.lib.data.images import is_nifti, read_image, read_mask
from workflow.lib.data.layouts import BINARY, Classes, class_labels, class_names, group_source
from workflow.lib.data.lost import check_losses, check_values, lesions_left, pixels_of
from workflow.lib.data.pictures import bright
from workflow.lib.data.resize import cut, pad, resize_image, resize_mask
from workflow.lib.data.volumes import chosen_slices, only_for_volumes, windowed
from workflow.lib.job.csv import read_table
from workflow.lib.job.run import Progress, UserError, atomic_path, read_json, sha256_of, write_json
from workflow.lib.study.protocol import Protocol

log = logging.getLogger("medseg")


def prepare_target(
    *,
    source: str | Path,
    cases: str | Path,
    split: str | Path,
    images: str | Path,
    masks: str | Path,
    truth: str | Path,
    items: str | Path,
    card: str | Path,
    target: str,
    protocol: Protocol,
    image_size: int,
    classes: Classes = None,
    group: dict[str, Any] | None = None,
    crop: int | None = None,
    window: list[float] | None = None,
    slices: str | int | None = None,
) -> None:
    """Write `images` (N, C, H, W), `masks` (N, H, W), `truth`, `items` and `card` as described in `prepared.Prepared`.

    Every slice of every case in `split` becomes an item: centre crop of side `crop` pixels (None: whole), then
    `resize_image` and `resize_mask`, and zeros around it where the aspect is kept; masks of a target without any are zeros.
    Of NIfTI volumes: `window` [low, high] of intensities becomes 0..1; `slices` limits the training volumes, see
    `chosen_slices`. Warns of what the crop cuts away, of lesions that vanish in resizing, and of images of one grey level.
    `UserError` where no training image keeps a class, or every image is of one grey level; for these two settings with pictures;
    and for a file that changed since `verify_target` passed it.
    """
    described = read_json(source)
    folder, layout = Path(described["folder"]), described["layout"]
    names, labels = class_names(target, layout, classes, folder), class_labels(classes)
    shape = geometry(layout, protocol["aspect"], image_size)
    table = _join(split, cases)
    settings: dict[str, Any] = {"window": window, "slices": slices}
    if any(settings.values()) and not is_nifti(table["image"][0]):
        raise only_for_volumes(target, {key: value for key, value in settings.items() if value})
    kept = {row["case"]: _kept(folder, row, labels, slices) for row in table.to_dict("records")}
    counts, content = list[tuple[np.ndarray, np.ndarray]](), hashlib.sha256()
    with atomic_path(images) as image_path, atomic_path(masks) as mask_path, atomic_path(truth) as truth_path:
        (channels, kind), total = _common_type(folder, list(table["image"])), sum(map(len, kept.values()))
        sides, rows = (shape.height, shape.width), list[dict[str, Any]]()
        progress = Progress(len(table), f"{target}: cases prepared")
        # Written, not memory-mapped: where the disk fills up under a map, the process dies without an error message.
        with (
            open(image_path, "wb") as image_file,
            open(mask_path, "wb") as mask_file,
            zipfile.ZipFile(truth_path, "w", zipfile.ZIP_DEFLATED) as truth_file,
        ):
            _write_header(image_file, (total, channels, *sides), kind)
            _write_header(mask_file, (total, *sides), np.dtype(np.uint8))
            for row in table.to_dict("records"):
                pair = _read_case(folder, row, labels, binary=layout in BINARY)
                image, mask, original, numbers, left = _prepare_case(
                    *pair, row, layout, protocol, len(names), shape, crop, window, kept[row["case"]]
                )
                if len(original):
                    with truth_file.open(f"{len(truth_file.namelist())}.npy", "w") as entry:
                        np.lib.format.write_array(entry, original)
                    content.update(original.tobytes())
                counts.append(left)
                image_file.write(np.broadcast_to(image, (len(image), channels, *sides)).astype(kind).tobytes())
                mask_file.write(mask.tobytes())
                rows += _items(row, kept[row["case"]], numbers)
                progress.step()
        lesions, pixels = map(np.array, zip(*counts, strict=True))
        parts = table["part"].to_numpy()
        vanished = check_losses(target, names, lesions, pixels, parts, slices=slices, crop=crop, image_size=image_size)
        check_values(target, pd.DataFrame(rows), window, crop)
        arrays = {"images": _describe(image_path), "masks": _describe(mask_path)}
    facts = {"target": target, "protocol": protocol, "image_size": image_size, "classes": names, **settings}
    facts |= {"groups": group_source(layout, group, table["image"]), "windows": shape.windows}
    facts |= {
        "copies": int((table["copy_of"] != "").sum()),
        "lost_lesions": vanished,
        "arrays": arrays,
        "truth": {"sha256": content.hexdigest()},
    }
    _write_tables(items, card, rows, facts)


def _kept(folder: Path, row: dict[str, Any], labels: list[int] | None, slices: str | int | None) -> np.ndarray:
    """The slices of a case that become items; all outside of the training split, as metrics are those of whole volumes."""
    reader = partial(read_mask, binary=False, labels=labels, image=folder / row["image"], axes=row.get("axes", ""))
    read = partial(_read, reader, folder / row["mask"])
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
    image: np.ndarray,
    mask: np.ndarray,
    row: dict[str, Any],
    layout: str,
    protocol: Protocol,
    classes: int,
    shape: Geometry,
    crop: int | None,
    window: list[float] | None,
    kept: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, float], tuple[np.ndarray, np.ndarray]]:
    """Images (slices, C, H, W) and masks (slices, H, W) of the slices `kept`, these masks before the resize, numbers of one
    case (a row of items.csv); and of its classes the lesions (4, classes) that are left, and the pixels (2, classes) before and
    after the crop, see `check_losses`."""
    mask = (mask > 0).astype(mask.dtype) if classes == 1 else mask  # one class: stored as 1 or as 255
    if window:
        image, scale, top = windowed(image, window), 1.0, 1.0
    else:
        image = _above_zero(image) if protocol["intensities"] == "scaled" else image
        scale, top = intensity_scale(image, protocol["intensities"], nifti=is_nifti(row["image"]))
    whole, cropped = mask, partial(cut, fraction=shape.cut, crop=crop)
    image, mask = cropped(image), cropped(mask)
    mean, sd = mean_and_sd(image)
    numbers = {"scale": scale, "range": top, "mean": _rounded(mean / scale), "sd": _rounded(sd / scale)}
    image, mask = image[kept], mask[kept].astype(np.uint8)
    sides = (mask.shape[1] * row["spacing_y"], mask.shape[2] * row["spacing_x"])  # mm of NIfTI, else pixels
    box, size = box_of(shape, *sides), (shape.height, shape.width)
    numbers |= dict(zip(BOX, box, strict=True)) | {"spacing_z": row["spacing_z"]}
    numbers |= {
        f"spacing_{a}": round(row[f"spacing_{a}"] * mask.shape[i] / box[i + 1], 6) for i, a in ((1, "y"), (2, "x"))
    }
    rule = "nearest" if protocol["masks"] == "nearest" else "any" if layout == "idrid" else "truncate"
    small = resize_image(image, box[2:], antialias=protocol["images"] == "antialiased")
    small_mask = resize_mask(mask, box[2:], rule)
    pixels = np.array([pixels_of(whole[kept], classes), pixels_of(mask, classes)])
    left = lesions_left(whole, classes, kept, cropped, small_mask), pixels
    return pad(small, box, size), pad(small_mask, box, size), mask, numbers, left


def mean_and_sd(image: np.ndarray) -> tuple[float, float]:
    """Mean and SD of an image or volume (slices, C, H, W), slice by slice: a copy as float64 may not fit into memory."""
    mean = float(np.mean([part.mean(dtype=np.float64) for part in image]))
    return mean, math.sqrt(np.mean([np.square(part - mean, dtype=np.float64).mean() for part in image]))


def _rounded(value: float) -> float:
    """To six digits, whatever its size."""
    return float(f"{value:.6g}")


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
    top = _rounded(bright(image, least=1e-6))
    return top, top


def _common_type(folder: Path, images: list[str]) -> tuple[int, np.dtype]:
    """Channels (3 if any image has colour) and type (float32 if any image has more than 8 bits) of the array."""
    if is_nifti(images[0]):
        return 1, np.dtype(np.float32)
    found = {(image.shape[1], image.dtype) for image in (_read(read_image, folder / name)[0] for name in images)}
    return max(channels for channels, _ in found), np.result_type(*(kind for _, kind in found))


def _read_case(
    folder: Path, row: dict[str, Any], labels: list[int] | None, *, binary: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Image (slices, C, H, W) and mask (slices, H, W) of a case, of the size that was verified."""
    axes = row["axes"]
    image = _read(partial(read_image, axes=axes), folder / row["image"])[0]
    verified = (row["slices"], row["height"], row["width"])
    reader = partial(read_mask, binary=binary, labels=labels, image=folder / row["image"], axes=axes)
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
        next="put the file back, then run the same command again; or check the target again: -R verify_target",
    )


def _write_header(file: BinaryIO, shape: tuple[int, ...], kind: np.dtype) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def _describe(path: Path) -> dict[str, Any]:
    array = np.load(path, mmap_mode="r")
    return {"shape": list(array.shape), "dtype": str(array.dtype), "sha256": sha256_of(path)}
