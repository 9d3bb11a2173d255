"""The same image in two places, also as JPEG or of another size: what is tested was trained on then. Only warned of.

Images are compared by the differences between neighbouring pixels of a thumbnail, as a difference hash does, but without its
rounding to bits, which makes noise of dark, flat regions.
"""

import logging
import os
from collections.abc import Callable, Hashable, Iterable, Mapping
from contextlib import suppress
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from workflow.lib.data.cases import image_place
from workflow.lib.data.images import is_image, read_image
from workflow.lib.data.other_files import is_rubbish
from workflow.lib.data.pictures import shortened
from workflow.lib.job.csv import read_table
from workflow.lib.job.run import read_json, sha256_of

log = logging.getLogger("medseg")

SIDE = 16  # of the thumbnail, in pixels
EQUAL = 0.98  # least correlation of copies; measured: docs/own-data.md
MANY = 50_000  # images of a source: more are compared byte by byte only, as reading them takes hours
ROWS = 256  # compared at a time
ENOUGH = 10_000  # pairs for a warning

Pairs = list[tuple[str, str]]


class Prints(NamedTuple):
    """What images look like: their names, and (n, 2 (SIDE - 1)^2) differences of norm 1, or 0 for an image of one value; a volume
    has a row for each slice."""

    names: list[str]
    values: np.ndarray


def print_of(image: np.ndarray) -> np.ndarray:
    """The rows of `Prints.values` of an image (slices, C, H, W)."""
    rows = []
    for picture in image:
        grey = Image.fromarray(picture.mean(axis=0, dtype=np.float32))
        small = np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BOX))
        row = np.stack([np.diff(small, axis=0)[:, 1:], np.diff(small, axis=1)[1:]]).ravel()
        length = float(np.linalg.norm(row))
        rows.append(row / length if length > 1e-5 * np.abs(small).max() else 0 * row)
    return np.array(rows, np.float32)


def prints_of(images: Iterable[tuple[str, np.ndarray]]) -> Prints:
    """The prints of names and what `print_of` gave for them."""
    names, values = list[str](), [np.zeros((0, 2 * (SIDE - 1) ** 2), np.float32)]
    for name, rows in images:
        names += [name] * len(rows)
        values.append(rows)
    return Prints(names, np.concatenate(values))


def copies(one: Prints, other: Prints) -> Pairs:
    """The pairs of names, sorted, whose images are copies of each other; of volumes it is enough that two slices are."""
    return _pairs(one, other, lambda start: np.True_)


def copies_apart(prints: Prints, places: Mapping[str, Hashable]) -> Pairs:
    """The pairs of names of different places (a patient, a part) whose images are copies, each pair once."""
    numbers = {place: number for number, place in enumerate(dict.fromkeys(places.values()))}
    place = np.array([numbers[places[name]] for name in prints.names])
    pairs = _pairs(prints, prints, lambda start: place[start : start + ROWS, None] < place)
    return sorted((min(pair), max(pair)) for pair in pairs)


def _pairs(one: Prints, other: Prints, counts: Callable[[int], np.ndarray | np.bool_]) -> Pairs:
    """See `copies`; counts: which pairs of `ROWS` rows, from the given one on, do so. About `ENOUGH` are looked for: frames of
    films are alike by millions."""
    found = set[tuple[str, str]]()
    for start in range(0, len(one.names), ROWS):
        alike = np.argwhere((one.values[start : start + ROWS] @ other.values.T > EQUAL) & counts(start))
        found |= {(one.names[start + i], other.names[j]) for i, j in alike[:ENOUGH].tolist()}
        if len(found) >= ENOUGH:
            break
    return sorted(found)


def read_prints(paths: Iterable[Path], axes: Iterable[str] = ()) -> Prints:
    """The prints of image files, named by their paths; what cannot be read is passed over, and reported elsewhere. axes: of
    NIfTI volumes, see `read_image`."""
    found = []
    for path, turned in zip_longest(paths, axes, fillvalue=""):
        with suppress(ValueError):
            found.append((str(path), print_of(read_image(Path(path), turned)[0])))
    return prints_of(found)


def images_of(folder: str | Path) -> list[Path]:
    """All image files below a folder."""
    found = (Path(where, name) for where, _, names in os.walk(folder) for name in sorted(names) if is_image(name))
    return [path for path in found if not is_rubbish(path.name) and path.is_file()]


def images_below(folder: str | Path) -> list[Path]:
    """All images of a target's folder, masks apart."""
    return images_of(image_place(Path(folder)))


def warn_of_copies(target: str, prints: Prints, source: str, folder: str | Path) -> None:
    """Warn of images of a target, named by their paths in `prints`, that are below the folder of a source too.

    Of a source of more than `MANY` images, only files that are equal byte by byte are found, and a warning says so."""
    files = images_of(folder)
    if len(files) > MANY:
        text = "%s has %d images: whether some are copies of %s is looked up byte by byte only, not for re-encoded ones"
        log.warning(text, source, len(files), target)
        pairs = _equal_files(prints.names, files)
    else:
        pairs = copies(prints, read_prints(files))
    warn_of_pairs(
        f"images of target {target} are in the pretraining source {source} too", pairs, "remove them from the source"
    )


def warn_of_pairs(what: str, pairs: Pairs, next: str) -> None:
    """The warning about copies, unless there are none; the first of each pair is counted."""
    if pairs:
        shown = shortened([f"{one} = {other}" for one, other in pairs], 3)
        more = " or more" * (len(pairs) >= ENOUGH)
        log.warning("leakage: %d%s %s: %s; next: %s", len({one for one, _ in pairs}), more, what, shown, next)


def _equal_files(names: Iterable[str], files: Iterable[Path]) -> Pairs:
    sizes: dict[int, set[str]] = {}
    for name in names:
        sizes.setdefault(Path(name).stat().st_size, set()).add(name)
    pairs, hash_of = Pairs(), cache(sha256_of)
    for path in files:
        alike = sizes.get(path.stat().st_size, set())
        pairs += [(name, str(path)) for name in alike if hash_of(Path(name)) == hash_of(path)]
    return sorted(pairs)


def prints_of_parts(source: str | Path, cases: str | Path, split: str | Path, parts: Iterable[str]) -> Prints:
    """The prints of a target's images as they were before any crop, from its source.json, images.csv and split.csv; of these
    parts of the split."""
    text: dict[str, Any] = {"dtype": str, "keep_default_na": False}
    chosen = read_table(split, **text).query("part in @parts")["case"]
    rows = read_table(cases, **text).set_index("case").loc[list(chosen)]
    folder = Path(read_json(source)["folder"])
    return read_prints([folder / name for name in rows["image"]], rows["axes"])
