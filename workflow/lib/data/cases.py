"""A case of a target, and what the readers of all layouts share."""

from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from workflow.lib.job.run import UserError


@dataclass(frozen=True)
class Case:
    """An image (a picture or a volume) with its mask ("": the target has none), both relative to the target's folder.

    group: what must not be split between training and test (a patient).
    part: train or test, "" where there is no official split.
    """

    case: str
    group: str
    part: str
    image: str
    mask: str


PLACES = {"images": "masks", "imagesTr": "labelsTr"}  # of layout folder; the second pair is nnU-Net's

Listing = tuple[list[Case], list[str]]  # cases sorted by name; problems, one line each


def make_case(folder: Path, case: str, group: str, part: str, image: Path, mask: Path | None) -> Case:
    """The case of these files; mask None: the target has none."""
    names = [file.relative_to(folder).as_posix() if file else "" for file in (image, mask)]
    return Case(case, group, part, *names)


def image_place(folder: Path) -> Path:
    """Where the images of a folder of anyone's own are: images/ or imagesTr/, else the folder itself."""
    return next((folder / name for name in PLACES if (folder / name).is_dir()), folder)


def mask_place(folder: Path) -> Path | None:
    """Where its masks are: beside images/, masks/; beside imagesTr/, labelsTr/; None without any."""
    masks = folder / PLACES.get(image_place(folder).name, "masks")
    return masks if masks.is_dir() else None


def below_images(name: str) -> str:
    """A path relative to a target's folder as one below its folder of images."""
    first, _, rest = name.partition("/")
    return rest if first in PLACES and rest else name


def unmatched(folder: Path, images: dict[str, Path], masks: dict[str, Path]) -> list[str]:
    """Problems, one line each: images without a mask of their name, and masks without an image, in turns."""
    lonely_images = [f"{images[stem].relative_to(folder)}: image without mask" for stem in images.keys() - masks.keys()]
    lonely_masks = [f"{masks[stem].relative_to(folder)}: mask without image" for stem in masks.keys() - images.keys()]
    pairs = zip_longest(sorted(lonely_images), sorted(lonely_masks))
    return [line for pair in pairs for line in pair if line]


def glimpse(folder: Path) -> str:
    """The first names in a folder, for error messages."""
    names = sorted(file.name for file in folder.iterdir())
    return (", ".join(names[:8]) + (f", ... ({len(names)} entries)" if len(names) > 8 else "")) or "an empty folder"


def no_layout(where: Path, found: str, expected: str, next: str = "") -> UserError:
    """The error for data at `where` that do not lie as their layout says."""
    return UserError(
        "folder does not have the layout of the target",
        found=found,
        expected=expected,
        where=where,
        next=next or "correct `folder`, `layout` or `group` of the target in the config, or unpack the data again",
    )
