"""Reading of images and masks: NIfTI volumes and the usual picture files. Nothing here imports torch.

Every reader raises `ValueError` with a short reason when a file cannot be used; the callers name the file.
"""

import math
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from PIL import ExifTags, Image

from workflow.lib.run import reason

NIFTI = (".nii.gz", ".nii")
PICTURE = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
VOXELS = (
    1 << 31
)  # of a volume, at most: what a damaged header claims is never reserved in memory (Pillow has such a limit)


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


def read_image(path: Path) -> tuple[np.ndarray, tuple[float, float, float]]:
    """Read an image as (slices, C, H, W) and the (z, y, x) spacing of its pixels.

    NIfTI: float32, C = 1, slices along the third axis, rows along the second, columns along the first; spacing in mm.
    Pictures: one slice, uint8, C = 1 (grey) or 3 (RGB); 16-bit and float pictures: float32, C = 1; spacing 1 (unknown).
    """
    if is_nifti(path):
        volume, spacing = _read_volume(path)
        return volume[:, None], spacing
    picture = _read_picture(path)
    if picture.mode.startswith(("I", "F")):
        array = np.asarray(picture, dtype=np.float32)[None]
        if not np.isfinite(array).all():
            raise ValueError("has values that are not finite")
    elif picture.mode in ("1", "L", "LA"):
        array = np.asarray(picture.convert("L"))[None]
    else:
        array = np.asarray(picture.convert("RGB")).transpose(2, 0, 1)
    return array[None], (1.0, 1.0, 1.0)


def read_mask(path: Path, *, binary: bool) -> np.ndarray:
    """Read a mask as (slices, H, W) int32: the labels as stored, or (`binary`) 1 where any colour channel is above 0."""
    if is_nifti(path):
        labels = _read_volume(path)[0]
    else:
        labels = _picture_labels(_read_picture(path), binary)[None]
    if not np.array_equal(labels, np.round(labels)):
        raise ValueError("labels are not whole numbers")
    return (labels > 0).astype(np.int32) if binary else labels.astype(np.int32)


def _picture_labels(picture: Image.Image, binary: bool) -> np.ndarray:
    if picture.mode == "P" and not binary:
        return np.asarray(picture)
    if picture.mode.startswith(("I", "F")) or picture.mode in ("1", "L"):
        return np.asarray(picture).astype(np.float32)
    colours = np.asarray(picture.convert("RGB"))
    if not binary and (colours != colours[..., :1]).any():
        raise ValueError("a colour mask, expected a grey or palette image whose values are the labels")
    return colours.max(axis=-1)


def _read_picture(path: Path) -> Image.Image:
    try:
        with Image.open(path) as picture:
            if picture.format == "TIFF" and (pages := getattr(picture, "n_frames", 1)) > 1:
                raise ValueError(f"{pages} pages, expected one: save them as single files, or as a NIfTI volume")
            picture.load()
            return picture
    except Exception as error:  # a damaged file can raise anything
        raise ValueError(f"unreadable ({reason(error)})") from error


def orientation_problems(path: Path) -> list[str]:
    """One line where a picture is stored turned or mirrored, and EXIF says how to show it: programs heed that, or do not, so
    that nobody knows which way its mask lies."""
    try:
        with Image.open(path) as picture:
            turned = picture.getexif().get(ExifTags.Base.Orientation, 1) not in (0, 1)
    except Exception:  # unreadable: found elsewhere
        return []
    return [f"{path.name}: EXIF says that it is to be turned; save it upright, without that"] if turned else []


def geometry_problems(image: Path, mask: Path) -> list[str]:
    """Differences in position, orientation or spacing between a NIfTI image and its mask, one line each."""
    headers: list[Any] = [nib.load(path) for path in (image, mask)]
    if np.allclose(headers[0].affine, headers[1].affine, atol=1e-3):
        return []
    shown = [np.array2string(header.affine[:3], precision=3, separator=" ").replace("\n", "") for header in headers]
    return [f"{image.name}: affine of the image {shown[0]}, of the mask {shown[1]}"]


def _read_volume(path: Path) -> tuple[np.ndarray, tuple[float, float, float]]:
    """(slices, H, W) float32 and the (z, y, x) spacing in mm (1 where the header has none)."""
    try:
        image: Any = nib.load(path)
        if not 0 < math.prod(image.shape) <= VOXELS:
            raise ValueError(f"{' x '.join(map(str, image.shape))} voxels, expected 1 to {VOXELS}")
        data = np.asarray(image.dataobj, dtype=np.float32)
        x, y, z = (float(zoom) or 1.0 for zoom in [*image.header.get_zooms()[:3], 1.0][:3])
    except Exception as error:  # a damaged file can raise anything
        raise ValueError(f"unreadable ({reason(error)})") from error
    if data.ndim == 4 and data.shape[3] == 1:
        data = data[..., 0]
    if data.ndim not in (2, 3):
        raise ValueError(f"has {data.ndim} axes, expected 2 or 3")
    if not np.isfinite(data).all():
        raise ValueError("has values that are not finite")
    return np.atleast_3d(data).T, (z, y, x)
