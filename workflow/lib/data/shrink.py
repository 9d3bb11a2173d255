"""A smaller copy of a pretraining source: every image decoded and resized once, in one archive that is read in place."""

import io
import os
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from workflow.lib.data.source import ImageList, load_source
from workflow.lib.job.csv import read_table
from workflow.lib.job.run import Progress, UserError, atomic_path, read_json, write_json

QUALITY = 95  # of JPEG
AT_ONCE = 1024  # images in memory


def smaller(image: np.ndarray, side: int) -> bytes:
    """An image (H, W, 3), 8 bits, with a shorter side of `side` pixels, or as it is where that is not smaller, as JPEG."""
    picture = Image.fromarray(image)
    share = side / min(picture.size)
    if share < 1:
        width, height = (max(side, round(share * length)) for length in picture.size)
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=QUALITY)
    return content.getvalue()


def _all_smaller(images: ImageList, side: int, threads: int) -> Iterator[bytes]:
    with ThreadPoolExecutor(threads) as pool:  # decoding, resizing and encoding let other threads work
        for first in range(0, len(images), AT_ONCE):
            part = range(first, min(first + AT_ONCE, len(images)))
            yield from pool.map(lambda i: smaller(images.read(i), side), part)


def shrink_source(*, source: Path, index: Path, side: int, threads: int, output: Path) -> None:
    """Write a source of the same images, classes and parts to the folder `output`: images.tar, source.json and index.csv.gz.

    side: the shorter side of its images in pixels. Images are in the order of `index`.
    Raises `UserError` for an unreadable image, and for a source with masks, which would have to be resized with them.
    """
    card, table = read_json(source), read_table(index, dtype={"file": str, "class": str}, keep_default_na=False)
    if "mask" in table:
        raise UserError(
            "a source with masks cannot be made smaller",
            found=f"{(table['mask'] != '').sum()} images with masks",
            expected="images without masks",
            where=source,
            next="remove `shorter_side` from this source in the config",
        )
    output = output.absolute()
    places: list[tuple[int, int]] = []
    progress = Progress(len(table), "images made smaller")
    with (
        atomic_path(output / "images.tar") as temporary,
        tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for part in table["part"].unique():
            for content in _all_smaller(load_source(source, index, str(part)), side, threads):
                entry = tarfile.TarInfo(f"{len(places)}.jpg")
                entry.size = len(content)
                places.append((tar.offset + tarfile.BLOCKSIZE, entry.size))  # behind the header of one block
                tar.addfile(entry, io.BytesIO(content))
                progress.step()
    table["file"] = "images.tar"
    table["offset"], table["size"] = np.array(places).T
    with atomic_path(output / "index.csv.gz") as temporary:
        table.to_csv(temporary, index=False, compression={"method": "gzip", "mtime": 0})
    write_json(output / "source.json", card | {"folder": os.fspath(output), "shorter_side": side})
