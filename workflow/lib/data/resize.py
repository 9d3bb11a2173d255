"""Images and masks at the size that networks see."""

import numpy as np
import torch
from torch.nn.functional import interpolate


def resize_image(image: np.ndarray, size: tuple[int, int], *, antialias: bool) -> np.ndarray:
    """Images (N, C, h, w) at `size` (height, width): bilinear, corners not aligned, type kept; the study does without
    `antialias`."""
    resized = _interpolate(image, size, "bilinear", antialias=antialias)
    if image.dtype == np.uint8:
        return resized.round().clip(0, 255).astype(np.uint8)
    # Rounding may leave the range. Initial values: of a volume, no slice may be left.
    return resized.clip(image.min(initial=np.inf), image.max(initial=-np.inf))


def resize_mask(mask: np.ndarray, size: tuple[int, int], rule: str) -> np.ndarray:
    """Masks (N, h, w) at `size` (height, width), uint8.

    `nearest`: labels stay as they are. The study interpolated labels as numbers: `truncate` cuts the result down to
    whole numbers (a border between 0 and 3 gets false labels 1 and 2, a binary mask shrinks a little), `any` sets 1
    wherever the result is above 0 (the mask grows).
    """
    if rule == "nearest":
        return _interpolate(mask[:, None], size, "nearest-exact")[:, 0].astype(np.uint8)
    values = _interpolate(mask[:, None], size, "bilinear")[:, 0]
    return (values > 0).astype(np.uint8) if rule == "any" else values.astype(np.uint8)


def _interpolate(array: np.ndarray, size: tuple[int, int], mode: str, *, antialias: bool = False) -> np.ndarray:
    tensor = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
    aligned = {"align_corners": False} if mode == "bilinear" else {}
    return interpolate(tensor, size=size, mode=mode, antialias=antialias, **aligned).numpy()


def cut(array: np.ndarray, fraction: float, crop: int | None) -> np.ndarray:
    """Cut the `fraction` of the columns on each side, then to the central square of side `crop`."""
    columns = round(array.shape[-1] * fraction)
    array = array[..., columns : array.shape[-1] - columns]
    if crop is None:
        return array
    height, width = (min(crop, n) for n in array.shape[-2:])
    top, left = (array.shape[-2] - height) // 2, (array.shape[-1] - width) // 2
    return array[..., top : top + height, left : left + width]


def pad(array: np.ndarray, box: tuple[int, int, int, int], size: tuple[int, int]) -> np.ndarray:
    """The array (..., h, w) in its `box` (top, left, height, width) of an array of `size`; around it zeros, or its minimum where
    that is lower."""
    top, left, height, width = box
    edges = ((top, size[0] - top - height), (left, size[1] - left - width))
    lowest = array.min(initial=0)
    return np.pad(array, [(0, 0)] * (array.ndim - 2) + list(edges), constant_values=lowest)
