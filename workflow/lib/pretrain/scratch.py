"""Images of a pretraining on the compute node's own disk: read there, a busy shared file system slows nobody down."""

import dataclasses
import fcntl
import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from workflow.lib.data.source import ImageList
from workflow.lib.job.run import Progress, UserError, atomic_path, hash_of

log = logging.getLogger("medseg")


def on_scratch(lists: Sequence[ImageList], scratch: str) -> list[ImageList]:
    """The same images below the folder `scratch`, whose ~ and $VARIABLES are this node's; files are copied if they are not
    there yet in this size and of this time. Raises `UserError` for an unset variable, or a disk that is too small."""
    root = Path(os.path.expanduser(os.path.expandvars(scratch)))
    if "$" in str(root) or not root.is_dir():
        raise UserError(
            "no such scratch folder on this node",
            found=root,
            expected="a folder on the node's local disk",
            where=f"config: pretraining.scratch, node {os.uname().nodename}",
            next="correct it, or set scratch: null to read the images in place",
        )
    with open(root / f"medseg-{os.getuid()}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # jobs that share the node: one copies, the others wait and find it done
        return [dataclasses.replace(images, folder=_copied(images, root)) for images in lists]


def _copied(images: ImageList, root: Path) -> Path:
    target = root / f"medseg-{hash_of({'folder': str(images.folder)})}"
    names = [os.fsdecode(name) for name in np.unique([*images.files, *images.masks]) if name]
    known = {name: (images.folder / name).stat() for name in names}
    missing = [name for name in names if not _is_there(target / name, known[name])]
    needed, free = sum(known[name].st_size for name in missing), shutil.disk_usage(root).free
    if needed > free:
        raise UserError(
            "scratch folder is too small",
            found=f"{free / 1e9:.1f} GB free",
            expected=f"{needed / 1e9:.1f} GB for {len(missing)} files of {images.folder}",
            where=root,
            next="choose a larger disk, or set pretraining: {scratch: null} to read the images in place",
        )
    progress = Progress(max(1, needed >> 20), "MiB copied to scratch")
    copied = 0
    for name in missing:
        with atomic_path(target / name) as temporary:
            shutil.copy2(images.folder / name, temporary)  # with its time of change
        copied += known[name].st_size
        progress.step((copied >> 20) - progress.done)
    return target


def _is_there(path: Path, known: os.stat_result) -> bool:
    if not path.exists():
        return False
    here = path.stat()
    return here.st_size == known.st_size and abs(here.st_mtime - known.st_mtime) < 1  # file systems round times
