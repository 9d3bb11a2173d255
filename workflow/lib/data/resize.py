"""Images and masks at the size that networks see."""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import interpolate


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


def cut(array: np.ndarray, fraction: float, crop: int | None) -> np.ndarray:
    """Cut the `fraction` of the columns on each side, then to the central square of side `crop`."""
    columns = round(array.shape[-1] * fraction)
    array = array[..., columns : array.shape[-1] - columns]
    if crop is None:
        return array
    height, width = (min(crop, n) for n in array.shape[-2:])
    top, left = (array.shape[-2] - height) // 2, (array.shape[-1] - width) // 2
    return array[..., top : top + height, left : left + width]
