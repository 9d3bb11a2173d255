"""What a target's config says about volumes: the window of their intensities, and the slices to learn from."""

from collections.abc import Callable
from typing import Any

import numpy as np

from workflow.lib.job.run import UserError


def windowed(image: np.ndarray, window: list[float]) -> np.ndarray:
    """Intensities as float32 with `window` [low, high] brought to 0..1; what lies outside is clipped."""
    low, high = window
    return ((image - np.float32(low)) / np.float32(high - low)).clip(0, 1)


def chosen_slices(number: int, slices: str | int | None, read_labels: Callable[[], np.ndarray]) -> np.ndarray:
    """Indices of the slices, ascending, of a volume of `number` slices that are used.

    slices: None, all; n, the middles of n equal parts of the volume (all, where there are fewer); `labelled`, those whose
    mask shows anything. read_labels: returns the mask (slices, H, W), and is called for `labelled` only.
    """
    if slices == "labelled":
        return np.flatnonzero(read_labels().any(axis=(1, 2)))
    if slices is None or int(slices) >= number:
        return np.arange(number)
    return ((np.arange(int(slices)) + 0.5) * number / int(slices)).astype(int)


def only_for_volumes(target: str, settings: dict[str, Any]) -> UserError:
    """The error for `settings` of volumes on a target of pictures."""
    return UserError(
        f"target {target} has 2-D images, but settings for volumes",
        found=", ".join(f"{key}: {value}" for key, value in settings.items()),
        expected="window and slices with NIfTI volumes only",
        where=f"config: targets.{target}",
        next=f"remove {' and '.join(settings)}, or give the volumes",
    )
