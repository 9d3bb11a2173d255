"""What preparing a target loses: lesions and classes that are cut away or vanish, and images that show one grey level."""

import logging
from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy import ndimage

from workflow.lib.data.pictures import shortened
from workflow.lib.job.run import UserError

log = logging.getLogger("medseg")

Lost = dict[str, dict[str, tuple[int, int]]]  # {class: {part: (lesions that vanish by resizing, all)}}


def pixels_of(mask: np.ndarray, classes: int) -> np.ndarray:
    """The number of pixels (classes,) of each class."""
    return np.array([np.count_nonzero(mask == label) for label in range(1, classes + 1)])


def lesions_of(mask: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Lesions of a mask (slices, H, W) of labels 0..classes: its connected regions of one class, of volumes in three dimensions;
    pixels that touch at a corner are connected. Returns their numbers (slices, H, W), 0 for the background, and the class of
    each number, 0 of 0."""
    numbers, owners = np.zeros(mask.shape, np.int32), [0]
    for label, box in enumerate(ndimage.find_objects(mask, max_label=classes), start=1):
        if box is not None:
            found, count = ndimage.label(mask[box] == label, structure=np.ones((3, 3, 3)))
            numbers[box] += np.where(found, found + len(owners) - 1, 0)
            owners += [label] * count
    return numbers, np.array(owners)


def seen_lesions(numbers: np.ndarray, owners: np.ndarray, small: np.ndarray) -> np.ndarray:
    """Those numbers of `lesions_of` that the mask still shows after a resize, `small` (slices, h, w), by any rule of
    `resize_mask`: a small pixel comes from two by two pixels at most, and those of one class among these are one lesion."""
    rows, columns = (_sources(*sides) for sides in zip(numbers.shape[1:], small.shape[1:], strict=True))
    seen = list[np.ndarray]()
    for row in rows:
        for column in columns:
            some = numbers[:, row[:, None], column]
            seen.append(np.unique(some[(small > 0) & (owners[some] == small)]))
    return np.unique(np.concatenate(seen))


def _sources(side: int, small: int) -> tuple[np.ndarray, np.ndarray]:
    """The two pixels of a side between which the centre of each pixel of the small side lies."""
    first = np.floor((np.arange(small) + 0.5) * side / small - 0.5).astype(int)
    return first.clip(0, side - 1), (first + 1).clip(0, side - 1)


def lesions_left(
    mask: np.ndarray, classes: int, kept: np.ndarray, cropped: Callable[[np.ndarray], np.ndarray], small: np.ndarray
) -> np.ndarray:
    """How many lesions (4, classes) a mask (slices, H, W) shows: on all slices, on those `kept`, after the crop, and after the
    resize, `small`."""
    numbers, owners = lesions_of(mask, classes)
    stages = [numbers, numbers[kept], cropped(numbers[kept])]
    left = [*map(np.unique, stages), seen_lesions(stages[-1], owners, small)]
    return np.array([np.bincount(owners[some], minlength=classes + 1)[1:] for some in left])


def check_losses(
    target: str,
    names: list[str],
    lesions: np.ndarray,
    pixels: np.ndarray,
    parts: np.ndarray,
    *,
    slices: str | int | None,
    crop: int | None,
    image_size: int,
) -> Lost:
    """Which lesions vanish by resizing, of classes that lose any, with warnings.

    lesions: (cases, 4, classes), see `lesions_left`; pixels: (cases, 2, classes), before and after the crop; parts: (cases,).

    Raises `UserError` for a class that all training cases lose.
    """
    vanished: Lost = {}
    for number, name in enumerate(names):
        stored, chosen, cropped, resized = lesions[:, :, number].T
        before, after = pixels[:, :, number].T
        shown = [int((count > 0)[parts == "train"].sum()) for count in (stored, chosen, cropped, resized)]
        if shown[0] and not shown[-1]:
            raise _lost_class(target, name, shown, slices, crop, image_size)
        if crop and after.sum() < before.sum():
            log.warning(
                "%s: crop %d cuts away %.1f %% of all pixels of %s, and all of them in %d of the %d cases that show it",
                *(target, crop, 100 - 100 * after.sum() / before.sum(), name),
                *(((before > 0) & (after == 0)).sum(), (before > 0).sum()),
            )
        if (resized < cropped).any():
            among = {str(part): parts == part for part in dict.fromkeys(parts)}
            vanished[name] = {
                part: (int((cropped - resized)[rows].sum()), int(cropped[rows].sum())) for part, rows in among.items()
            }
            log.warning(
                "%s: at %d pixels, lesions vanish (connected regions): %s; all of them in %d of the %d cases that show "
                "any; next: raise image_size, or set crop",
                *(target, image_size, lost_lesions(vanished)[-1]),
                *(((cropped > 0) & (resized == 0)).sum(), (cropped > 0).sum()),
            )
    return vanished


def lost_lesions(vanished: Lost) -> list[str]:
    """In words, for each class: how many lesions vanish by resizing, in all and in each part."""
    said = []
    for name, parts in vanished.items():
        total = _of(*(sum(counts) for counts in zip(*parts.values(), strict=True)))
        said.append(f"{name} {total} ({', '.join(f'{part} {_of(*counts)}' for part, counts in parts.items())})")
    return said


def _of(lost: int, shown: int) -> str:
    return f"{lost:,} of {shown:,}"


def _lost_class(
    target: str, name: str, shown: list[int], slices: str | int | None, crop: int | None, image_size: int
) -> UserError:
    """The error for a class that no training case shows any longer; shown: training cases that do, see `lesions_left`."""
    stored, chosen, cropped, _ = shown
    ways = {
        "slices": f"{chosen} on slices {slices}",
        "crop": f"{cropped} after crop {crop}",
        "image_size": f"0 at {image_size} pixels",
    }
    culprit = "image_size" if cropped else "crop" if chosen else "slices"
    steps = [way for key, way in ways.items() if {"slices": slices, "crop": crop, "image_size": True}[key]]
    return UserError(
        f"no training image of target {target} shows {name} once it is prepared",
        found=f"{stored} training cases show it, {', '.join(steps)}",
        expected="training images that show every class",
        where=f"config: {'' if culprit == 'image_size' else f'targets.{target}.'}{culprit}",
        next={
            "slices": "set slices: labelled, or leave it out",
            "crop": "raise crop, or remove it",
            "image_size": "raise image_size, or set crop",
        }[culprit],
    )


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
