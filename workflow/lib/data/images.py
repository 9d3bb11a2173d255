"""Reading of images and masks: NIfTI volumes and the usual picture files. Nothing here imports torch.

Every reader raises `ValueError` with a short reason when a file cannot be used; the callers name the file.
"""

import gzip
import math
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from workflow.lib.data.orientation import turn_to_axes, turn_to_image, turned
from workflow.lib.data.pictures import open_picture, picture_labels, shortened
from workflow.lib.job.run import reason

NIFTI = (".nii.gz", ".nii")
PICTURE = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif")
# Of a volume, at most: what a damaged header claims is never reserved in memory (Pillow has such a limit).
VOXELS = 1 << 31
MILLIMETRES = {"meter": 1000.0, "micron": 0.001}  # by NIfTI's units
ONE_OF_SERIES = "save the one to use, for example nibabel.load(file).slicer[..., 0]"


def is_nifti(path: str | Path) -> bool:
    """True for .nii and .nii.gz."""
    return str(path).lower().endswith(NIFTI)


def is_image(path: str | Path) -> bool:
    """True for file names that the readers of this module accept."""
    return str(path).lower().endswith(NIFTI + PICTURE)


def stem_of(path: str | Path) -> str:
    """File name without its suffix, .nii.gz counting as one."""
    name = Path(path).name
    return name[: -len(".nii.gz")] if name.lower().endswith(".nii.gz") else Path(name).stem


def read_image(path: Path, axes: str = "") -> tuple[np.ndarray, tuple[float, float, float]]:
    """Read an image as (slices, C, H, W) and the (z, y, x) spacing of its pixels.

    NIfTI: float32, C = 1, slices along the third axis, rows along the second, columns along the first; spacing in mm. These are
    the axes as stored, or (`axes`, for example "RAS") after the volume was turned to these.
    Pictures: one slice, uint8, C = 1 (grey) or 3 (RGB); 16-bit and float pictures: float32, C = 1; spacing 1 (unknown).
    """
    if is_nifti(path):
        volume, spacing = _read_volume(path, axes)
        return volume[:, None], spacing
    picture = open_picture(path)
    if picture.mode.startswith(("I", "F")):
        array = np.asarray(picture, dtype=np.float32)[None]
        _check_finite(array)
    elif picture.mode in ("1", "L", "LA"):
        array = np.asarray(picture.convert("L"))[None]
    else:
        array = np.asarray(picture.convert("RGB")).transpose(2, 0, 1)
    return array[None], (1.0, 1.0, 1.0)


def read_mask(
    path: Path, *, binary: bool, image: Path | None = None, axes: str = "", labels: list[int] | None = None
) -> np.ndarray:
    """Read a mask as (slices, H, W) int32: the labels as stored, or (`binary`) 1 where any colour channel is above 0.

    NIfTI: turned to the axes of `image`, if given, and with it to `axes`. labels: the stored values of classes 1..K, which
    become 1..K; any other but 0 is an error.
    """
    stored = _read_volume(path, axes, image)[0] if is_nifti(path) else picture_labels(open_picture(path), binary)[None]
    mask = np.round(stored).astype(np.int32)
    if np.abs(stored - mask).max() > 1e-3:  # scaling by a header leaves rounding noise
        raise ValueError("labels are not whole numbers")
    if binary:
        return (mask > 0).astype(np.int32)
    if labels:
        known = [0, *labels]
        if wrong := sorted(set(np.unique(mask).tolist()) - set(known)):
            raise ValueError(f"label {shortened(wrong)} (expected {', '.join(map(str, known))}, by `classes`)")
        return sum((mask == label) * np.int32(number) for number, label in enumerate(known))
    return mask


def _read_volume(path: Path, axes: str = "", like: Path | None = None) -> tuple[np.ndarray, tuple[float, float, float]]:
    """(slices, H, W) float32 and the (z, y, x) spacing in mm (1 where the header has none), turned to the axes of `like`
    (whose mask it is), then with it to `axes`."""
    try:
        image: Any = nib.load(path)
        if not 0 < math.prod(image.shape) <= VOXELS:
            raise ValueError(f"{' x '.join(map(str, image.shape))} voxels, expected 1 to {VOXELS}")
        if image.get_data_dtype().kind not in "iuf":
            raise ValueError(
                "voxels of colour or complex numbers, expected one real number for each: save a grey volume"
            )
        if len(image.shape) < 2:
            raise ValueError(f"has {len(image.shape)} axes, expected 2 or 3")
        if math.prod(image.shape[3:]) > 1:
            raise ValueError(
                f"{math.prod(image.shape[3:])} volumes (shape {image.shape}), expected one: {ONE_OF_SERIES}"
            )
        if path.suffix.lower() == ".gz":
            with gzip.open(path) as file:  # to its end, where its checksum is, which nibabel does not read
                image = type(image).from_bytes(file.read())
        data = np.atleast_3d(np.asarray(image.dataobj, dtype=np.float32))
        data = data.reshape(data.shape[:3])
        unit = MILLIMETRES.get(image.header.get_xyzt_units()[0], 1.0)
        spacing = [unit * float(zoom) or 1.0 for zoom in [*image.header.get_zooms()[:3], 1.0][:3]]
        affine = image.affine
        if like:
            other: Any = nib.load(like)
            data, spacing = turned(data, spacing, turn_to_image(affine, other.affine))
            affine = other.affine
        if axes:
            data, spacing = turned(data, spacing, turn_to_axes(affine, axes))
    except Exception as error:  # a damaged file can raise anything
        raise ValueError(f"unreadable ({reason(error)})") from error
    _check_finite(data)
    x, y, z = spacing
    return data.T, (z, y, x)


def _check_finite(array: np.ndarray) -> None:
    if number := array.size - int(np.isfinite(array).sum()):
        raise ValueError(
            f"has values that are not finite: {number} of {array.size} (NaN outside of the body?); "
            "set them to the background's value"
        )
