"""How NIfTI volumes lie in the patient: their axes, turning them (without resampling), and whether a mask lies on its image.

Axes are named as nibabel does: "RAS" means that columns, rows and slices are counted towards right, anterior and superior.
"""

import logging
from collections import Counter
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform

log = logging.getLogger("medseg")

# Cosine between an axis of a volume and the patient's: below it (37 degrees), it is oblique, as short axes of hearts are.
OBLIQUE = 0.8


def common_axes(volumes: Iterable[Path]) -> str:
    """The axes to which all volumes of a target are turned, for example "RAS"; "" where they are used as stored.

    Volumes of equal axes stay as stored, whichever these are. Otherwise all get the axes that most of them have (RAS before
    others), so that the slices of all are cut along the same direction, and a warning says how many had which. Oblique
    volumes stay as stored, with a warning: which of the patient's axes is the nearest then differs by chance.
    Volumes without an orientation in their header (qform and sform code 0) count as "unknown".
    """
    found, oblique = Counter[str](), 0
    for path in volumes:
        axes, cosine = _axes(path)
        found[axes] += 1
        oblique += cosine < OBLIQUE
    if len(found) <= 1:
        return ""
    text = ", ".join(f"{number} {axes}" for axes, number in found.most_common())
    if oblique or "unknown" in found:
        log.warning(
            "volumes differ in orientation (%s), but %s: all are used as stored, slices along their third axis; "
            "next: if these are not the same view, save all volumes in one orientation",
            *(text, f"{oblique} are oblique" if oblique else "not all headers have one"),
        )
        return ""
    common = max(found, key=lambda axes: (found[axes], axes == "RAS", axes))
    log.warning("volumes differ in orientation (%s): all are turned to %s, slices along %s", text, common, common[2])
    return common


def _axes(path: Path) -> tuple[str, float]:
    """Axes of a volume, and the cosine between the patient's axes and that of its axes which fits them least."""
    try:
        image: Any = nib.load(path)
        if not (image.header["qform_code"] or image.header["sform_code"]):
            return "unknown", 1.0
        directions = image.affine[:3, :3] / np.linalg.norm(image.affine[:3, :3], axis=0)
        return "".join(nib.aff2axcodes(image.affine)), float(np.abs(directions).max(axis=0).min())
    except Exception:  # a damaged file can raise anything; it is reported when it is read
        return "unknown", 1.0


def turn_to_axes(affine: np.ndarray, axes: str) -> np.ndarray:
    """nibabel's orientation array (3, 2) that turns a volume with this affine to `axes`."""
    turn: np.ndarray = ornt_transform(io_orientation(affine), axcodes2ornt(axes))
    return turn


def turn_to_image(mask: np.ndarray, image: np.ndarray) -> np.ndarray:
    """nibabel's orientation array (3, 2) that turns a mask to the axes of its image, from their affines."""
    turn: np.ndarray = io_orientation(np.eye(4) if np.allclose(mask, image) else np.linalg.inv(image) @ mask)
    return turn


def turned(data: np.ndarray, spacing: list[float], turn: np.ndarray) -> tuple[np.ndarray, list[float]]:
    """Data (x, y, z) and its spacing after a turn: axes exchanged and reversed."""
    return apply_orientation(data, turn), [spacing[axis] for axis in np.argsort(turn[:, 0])]


def mask_shift(image: Path, mask: Path) -> float:
    """How far a mask lies from its image: the largest shift of a corner voxel, in voxels of the mask, after it was turned to the
    image's axes. Shapes that differ are another problem: the corners are the image's."""
    volumes: list[Any] = [nib.load(path) for path in (image, mask)]
    affines = [volume.affine for volume in volumes]
    if np.allclose(*affines):
        return 0.0
    shapes = [(*volume.shape, 1, 1)[:3] for volume in volumes]
    corners = np.array([(*corner, 1) for corner in product(*((0, side - 1) for side in shapes[0]))]).T
    stored = inv_ornt_aff(turn_to_image(affines[1], affines[0]), shapes[1]) @ corners
    return float(np.abs(np.linalg.inv(affines[1]) @ affines[0] @ corners - stored).max())
