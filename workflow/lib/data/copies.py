"""Images that lie in a target and in a pretraining source: what is tested was trained on then."""

import logging
import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from workflow.lib.data.images import is_image
from workflow.lib.data.pictures import shortened
from workflow.lib.job.run import sha256_of

log = logging.getLogger("medseg")


def warn_of_copies(target: str, images: Iterable[Path], source: str, folder: str | Path) -> None:
    """Warn of images of a target that are equal, byte for byte, to a file below the folder of a source."""
    sizes: dict[int, list[Path]] = {}
    for image in images:
        sizes.setdefault(image.stat().st_size, []).append(image)
    pairs, hash_of = [], cache(sha256_of)
    for where, _, names in os.walk(folder, followlinks=False):
        for path in sorted(Path(where, name) for name in names if is_image(name)):
            alike = sizes.get(path.stat().st_size, []) if path.exists() else []
            content = hash_of(path) if alike else ""
            pairs += [(image, path) for image in alike if hash_of(image) == content]
    if pairs:
        log.warning(
            "leakage: %d images of target %s are in the pretraining source %s too: %s; next: remove them from the source",
            *(len({image for image, _ in pairs}), target, source, shortened([f"{a} = {b}" for a, b in pairs], 3)),
        )


def images_below(folder: str | Path) -> list[Path]:
    """All images of a target's folder, masks apart."""
    place = Path(folder, "images") if Path(folder, "images").is_dir() else Path(folder)
    return [Path(where, name) for where, _, names in os.walk(place) for name in sorted(names) if is_image(name)]
