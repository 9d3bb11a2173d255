"""Pictures by Pillow, with every bit of an image and every label of a mask. Light: pretraining reads its images with this."""

import re
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import ExifTags, Image

from workflow.lib.job.run import reason

SAMPLES, PHOTOMETRIC = 277, 262  # tags of TIFF: SamplesPerPixel, PhotometricInterpretation (0: white is zero)


def open_picture(file: Path | BinaryIO) -> Image.Image:
    """The decoded picture of a file. Raises `ValueError` for a damaged one, several pages, and for bits or channels that
    Pillow would drop."""
    try:
        with Image.open(file) as picture:
            pages = getattr(picture, "n_frames", 1)
            if pages > 1 and picture.format != "MPO":  # a photograph and its preview
                raise ValueError(f"{pages} pages, expected one: save them as single files, or as a NIfTI volume")
            if re.search(";16[BLN]", str(picture.tile)) and picture.mode[0] not in "IF":
                raise ValueError(
                    "16 bits a channel in colour or with alpha, of which Pillow reads 8: save as 16-bit grey, or 8 bits"
                )
            samples, read = getattr(picture, "tag_v2", {}).get(SAMPLES, 1), len(picture.getbands())
            if samples > read:
                raise ValueError(
                    f"{samples} channels, of which Pillow reads {read}: save the three to use as RGB, or one"
                )
            if getattr(picture, "tag_v2", {}).get(PHOTOMETRIC) == 0 and picture.mode[0] in "IF":
                raise ValueError("a negative, in which 0 is white, that Pillow would read as it is: save it inverted")
            picture.load()
            return picture
    except Exception as error:  # a damaged file can raise anything
        raise ValueError(f"unreadable ({reason(error)})") from error


def bright(image: np.ndarray, least: float) -> float:
    """The 99.5th percentile of an image; where that is not above 0, the maximum, or `least` if it is higher."""
    top = float(np.percentile(image, 99.5))
    return top if top > 0 else max(float(image.max()), least)


def to_bytes(image: np.ndarray) -> np.ndarray:
    """An image of more than 8 bits as uint8: 0 to its 99.5th percentile (of an image with few bright pixels: its maximum) become
    0..255, the rest is clipped."""
    return (image / bright(image, least=1) * 255).round().clip(0, 255).astype(np.uint8)


def picture_labels(picture: Image.Image, binary: bool) -> np.ndarray:
    """Values (H, W) of a mask: labels as stored, or (`binary`) the brightest colour channel. Where it has transparency, labels of
    what is opaque; of a mask that is drawn in transparency only, the opacity (0 or 255). Raises `ValueError`."""
    if picture.mode == "P" and not binary:
        return _palette_labels(picture)
    if picture.mode.startswith(("I", "F")) or picture.mode in ("1", "L"):
        return np.asarray(picture).astype(np.float32)
    colours = np.asarray(picture.convert("RGB"))
    if binary:
        return colours.max(axis=-1)
    if (colours != colours[..., :1]).any():
        raise ValueError("a colour mask, expected a grey or palette image whose values are the labels")
    grey = colours[..., 0]
    alpha = np.asarray(picture.convert("RGBA"))[..., 3]
    if (alpha == 255).all():
        return grey
    if grey.min() == grey.max() and grey.min() in (0, 255):  # nothing is drawn but transparency
        return alpha
    if set(np.unique(alpha)) <= {0, 255}:
        return np.where(alpha == 255, grey, 0)
    raise ValueError("a mask with half transparent pixels, expected a grey image whose values are the labels")


def _palette_labels(picture: Image.Image) -> np.ndarray:
    """Numbers of the palette; of black on white (white 0, black 1) the values shown, as white is the foreground."""
    numbers, palette = np.asarray(picture), _palette(picture)
    if palette[:2] == [(255, 255, 255), (0, 0, 0)] and numbers.max() <= 1:
        return np.where(numbers == 0, 255, 0)
    used = [palette[number] for number in np.unique(numbers) if number < len(palette)]
    grey = all(len(set(colour)) == 1 for colour in used)
    if (grey and used != sorted(used)) or ((0, 0, 0) in used and palette[0] != (0, 0, 0)):
        raise ValueError(
            f"a palette that numbers colours unlike labels (0, the background, is {palette[0]}; black or darker greys come "
            "later): save a grey image whose values are the labels"
        )
    return numbers


def _palette(picture: Image.Image) -> list[tuple[int, ...]]:
    values = picture.getpalette("RGB") or []
    return [tuple(values[i : i + 3]) for i in range(0, len(values), 3)]


def palette_of(path: Path) -> dict[int, tuple[int, ...]]:
    """{label: colour} of the labels that a palette mask shows; {} for other files, and for black and white."""
    try:
        with Image.open(path) as header:
            if header.mode != "P":
                return {}
        picture = open_picture(path)
    except Exception:  # unreadable: found elsewhere
        return {}
    palette = _palette(picture)
    shown = {int(number): palette[number] for number in np.unique(np.asarray(picture)) if number < len(palette)}
    return shown if set(shown.values()) - {(0, 0, 0), (255, 255, 255)} else {}


def orientation_problems(path: Path) -> list[str]:
    """One line where a picture is stored turned or mirrored, and EXIF says how to show it: software follows that, or does not, so
    that nobody knows which way its mask lies."""
    try:
        with Image.open(path) as picture:
            turned = picture.getexif().get(ExifTags.Base.Orientation, 1) not in (0, 1)
    except Exception:  # unreadable: found elsewhere
        return []
    return [f"{path.name}: EXIF asks for a rotation; save it upright, without EXIF orientation"] if turned else []


def opacity(path: Path) -> tuple[int, int] | None:
    """The lowest and the highest opacity (0 to 255) of a picture; None without transparency."""
    try:
        with Image.open(path) as picture:
            if not picture.has_transparency_data:
                return None
            alpha = np.asarray(picture.convert("RGBA"))[..., 3]
    except Exception:  # unreadable: found elsewhere
        return None
    return int(alpha.min()), int(alpha.max())


def shortened(values: list[Any], shown: int = 5) -> str:
    """The first of many values, for messages."""
    return ", ".join(map(str, values[:shown])) + (", ..." if len(values) > shown else "")
