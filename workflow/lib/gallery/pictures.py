"""Items of a prepared target as pictures: what the network sees, its masks, and what a prediction has wrong."""

from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patheffects import withStroke

from workflow.lib.data.prepared import Prepared
from workflow.lib.paper import style

COVER = 0.55  # of a mask over its image


class View(NamedTuple):
    """A part of an item: its row, and rows and columns of the arrays."""

    row: int
    rows: slice
    columns: slice


def whole(data: Prepared, row: int) -> View:
    """An item as a network sees it, padding included."""
    height, width = data.masks.shape[1:]
    return View(row, slice(0, height), slice(0, width))


def of_interest(data: Prepared, row: int) -> View:
    """An item without its padding; where networks see windows of a larger picture, the window with most labelled pixels."""
    windows = data.card["windows"]
    if not windows:
        top, left, height, width = data.boxes[row]
        return View(row, slice(top, top + height), slice(left, left + width))
    side, (height, width) = windows["window"], data.masks.shape[1:]
    corners = [
        (top, left) for top in range(0, height - side + 1, side // 2) for left in range(0, width - side + 1, side // 2)
    ]
    mask = np.asarray(data.masks[row])
    top, left = max(corners, key=lambda c: np.count_nonzero(mask[c[0] : c[0] + side, c[1] : c[1] + side]))
    return View(row, slice(top, top + side), slice(left, left + side))


def picture(data: Prepared, view: View) -> np.ndarray:
    """(h, w, 3) float in 0..1: the image divided by the range of its case, and clipped."""
    image = np.asarray(data.images[view.row])[:, view.rows, view.columns] / data.items["range"].iat[view.row]
    return np.broadcast_to(image.clip(0, 1).transpose(1, 2, 0), (*image.shape[1:], 3)).astype(float)


def truth(data: Prepared, view: View) -> np.ndarray:
    """(h, w) uint8 labels of the mask, at the network's size."""
    return np.asarray(data.masks[view.row])[view.rows, view.columns]


def covered(image: np.ndarray, colours: dict[str, np.ndarray]) -> np.ndarray:
    """The picture (h, w, 3) with a colour over each mask (h, w) bool; the picture itself becomes grey, that colours stand out."""
    shown = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2)
    for colour, mask in colours.items():
        shown[mask] = (1 - COVER) * shown[mask] + COVER * np.array(to_rgb(colour))
    return shown


def masks_over(image: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """The picture with every class of `labels` in its colour."""
    return covered(image, {style.class_colour(label): labels == label for label in range(1, classes + 1)})


def errors_over(image: np.ndarray, labels: np.ndarray, true: np.ndarray) -> np.ndarray:
    """The picture with what a prediction has right and wrong, in `style.ERROR_COLOURS`."""
    masks = {
        "correct": (labels == true) & (true > 0),
        "missed": (labels == 0) & (true > 0),
        "extra": (labels > 0) & (true == 0),
        "another class": (labels > 0) & (true > 0) & (labels != true),
    }
    return covered(image, {style.ERROR_COLOURS[kind]: mask for kind, mask in masks.items()})


def outline(axis: Axes, labels: np.ndarray, classes: int) -> None:
    """Draw the outline of every class; one that fills the panel has none."""
    for label in range(1, classes + 1):
        mask = labels == label
        if mask.any() and not mask.all():
            framed = np.pad(mask, 1)  # closed at the edges too
            ends = np.arange(-1, mask.shape[1] + 1), np.arange(-1, mask.shape[0] + 1)
            line = axis.contour(*ends, framed, [0.5], colors=[style.class_colour(label)], linewidths=0.8)
            line.set_path_effects([withStroke(linewidth=1.5, foreground="black")])  # to be seen on every colour
