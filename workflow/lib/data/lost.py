"""What preparing a target loses: classes that are cut away or vanish, and images that show one grey level."""

import logging

import numpy as np
import pandas as pd

from workflow.lib.data.pictures import shortened
from workflow.lib.job.run import UserError

log = logging.getLogger("medseg")


def pixels_of(mask: np.ndarray, classes: int) -> np.ndarray:
    """The number of pixels (classes,) of each class."""
    return np.array([np.count_nonzero(mask == label) for label in range(1, classes + 1)])


def check_losses(
    target: str, names: list[str], pixels: np.ndarray, training: np.ndarray, crop: int | None, image_size: int
) -> dict[str, int]:
    """{class: number of cases in which it vanishes by resizing}, with warnings; pixels: (cases, 3, classes), training: (cases,).

    Raises `UserError` for a class that all training cases lose.
    """
    vanished = {}
    for number, name in enumerate(names):
        stored, cropped, resized = pixels[:, :, number].T
        shown, kept, left = (int((count > 0)[training].sum()) for count in (stored, cropped, resized))
        if shown and not left:
            raise UserError(
                f"no training image of target {target} shows {name} once it is prepared",
                found=f"{shown} training cases show it, {kept} of them after crop {crop or '(none)'}, 0 at {image_size} pixels",
                expected="training images that show every class",
                where=f"config: image_size, targets.{target}.crop",
                next="raise image_size" if kept else "raise crop, or remove it",
            )
        if crop and cropped.sum() < stored.sum():
            log.warning(
                "%s: crop %d cuts away %.1f %% of all pixels of %s, and all of them in %d of the %d cases that show it",
                *(target, crop, 100 - 100 * cropped.sum() / stored.sum(), name),
                *(((stored > 0) & (cropped == 0)).sum(), (stored > 0).sum()),
            )
        if lost := int(((cropped > 0) & (resized == 0)).sum()):
            vanished[name] = lost
            log.warning(
                "%s: %s vanishes at %d pixels in %d of the %d cases that show it; next: raise image_size, or set crop",
                *(target, name, image_size, lost, (cropped > 0).sum()),
            )
    return vanished


def check_values(target: str, items: pd.DataFrame, window: list[float] | None, crop: int | None) -> None:
    """Cases whose image varies by less than a grey level of 255, once it is cropped and clipped: a warning, and an
    error where all have one value, or all do by a window (one in other units than the volumes, for example)."""
    cases = items.drop_duplicates("case")
    blank = list(cases.loc[cases["sd"] * cases["scale"] / cases["range"] < 1 / 255, "case"])
    found = f"{len(blank)} of {len(cases)} images are of one grey level: {shortened(blank)}"
    if len(blank) == len(cases) and (window or not cases["sd"].any()):
        raise UserError(
            f"the images of target {target} show nothing",
            found=found,
            expected="images of several values",
            where=f"config: targets.{target}, window {window or '(none)'}, crop {crop or '(none)'}",
            next="correct window or crop where they are given, else the images",
        )
    if blank:
        log.warning("%s: %s (window %s, crop %s)", target, found, window or "(none)", crop or "(none)")
