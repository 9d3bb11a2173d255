"""What is found in a folder of images: files, sizes, labels, intensities, and what the resize to the network's size loses."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from workflow.lib.data.cases import Case, Listing
from workflow.lib.data.geometry import box_of, geometry
from workflow.lib.data.images import is_nifti, read_image, read_mask
from workflow.lib.data.layouts import BINARY, list_cases
from workflow.lib.data.lost import lesions_of, seen_lesions
from workflow.lib.data.orientation import common_axes
from workflow.lib.data.pictures import opacity
from workflow.lib.data.resize import resize_mask
from workflow.lib.data.verify import mismatch
from workflow.lib.job.run import UserError

READ = 40  # images that are read, evenly spaced; of masks ten times as many
SIZES = (224, 320, 448, 640)  # pixels, at which classes are looked for
MANY = 20  # labels; more are smoothed or damaged masks
AIR = -500  # HU; volumes with lower intensities are CT, as most are


@dataclass
class Found:
    """A folder of images in layout `layout`, some of whose images were read.

    sizes: (slices, height, width, channels); spacings: mm (z, y, x) of volumes; alpha: how many have an alpha channel;
    intensities: lowest and highest; inside: for volumes, intensities (0.5th and 99.5th percentile) of labelled voxels; labels:
    how many masks show each; lesions, lost: connected regions of each label, and {size: those that the resize loses};
    labelled_slices: shares of slices with labels; doubts: what is usable, but may be wrong.
    """

    folder: Path
    layout: str
    cases: list[Case]
    problems: list[str]
    labelled: bool
    axes: str = ""  # to which volumes are turned, see `common_axes`
    sizes: list[tuple[int, int, int, int]] = field(default_factory=list)
    spacings: list[tuple[float, float, float]] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    alpha: int = 0
    intensities: list[tuple[float, float]] = field(default_factory=list)
    inside: list[tuple[float, float]] = field(default_factory=list)
    labels: Counter[int] = field(default_factory=Counter)
    lesions: Counter[int] = field(default_factory=Counter)
    lost: dict[int, Counter[int]] = field(default_factory=lambda: {size: Counter() for size in SIZES})
    labelled_slices: list[float] = field(default_factory=list)
    unreadable: set[str] = field(default_factory=set)  # images
    doubts: list[str] = field(default_factory=list)
    values: int = 0  # distinct ones in the first image that could be read

    @property
    def volumes(self) -> bool:
        return is_nifti(self.cases[0].image)

    @property
    def swapped(self) -> bool:
        """Whether images look like masks, and masks like images."""
        return len(self.labels) > MANY >= self.values

    @property
    def classes(self) -> list[int]:
        """Labels of the masks but the background."""
        return sorted(label for label in self.labels if label)


def look(folder: Path) -> Found:
    """Look at a folder. Raises `UserError` where it has no layout that is known, or no image that can be read."""
    if not folder.is_dir():
        raise UserError(
            "no such folder",
            found=folder,
            expected="a folder with images/ and masks/, or with images alone",
            where="command line: images",
            next="snakemake init --config images=/path/to/folder",
        )
    try:
        layout, (cases, problems), labelled = _listed(folder)
    except UserError as error:
        if any(folder.glob("*/images")):  # the folder above
            raise _nothing_to_read(folder, [str(error).partition("\n")[0]]) from error
        raise
    if not cases:
        raise _nothing_to_read(folder, problems)
    axes = common_axes(folder / case.image for case in cases if is_nifti(case.image))
    found = Found(folder, layout, cases, list(problems), labelled, axes)
    for case in _spread(cases, READ):
        _look_at(found, case)
    if labelled:
        for case in _spread(cases, 10 * READ if not found.volumes else READ):
            _look_at_mask(found, case)
    if not found.sizes:
        raise _nothing_to_read(folder, found.problems)
    return found


def _nothing_to_read(folder: Path, problems: Sequence[str]) -> UserError:
    below = sorted(path.parent for kind in ("images", "imagesTr") for path in folder.glob(f"*/{kind}") if path.is_dir())
    return UserError(
        "no image that can be used",
        found="; ".join(problems[:3]) or "no images",
        expected="PNG, JPEG, TIFF, GIF, BMP or NIfTI; where there are masks, one of the same name for each image",
        where=folder,
        next=f"snakemake init --config images={below[0]}, which has images"
        if below
        else "rename, convert or repair the files, then run the same command again",
    )


def _listed(folder: Path) -> tuple[str, Listing, bool]:
    """The layout of a folder, its cases, and whether they have masks."""
    for layout in ("acdc", "idrid", "covid_qu") if not (folder / "images").is_dir() else ():
        with suppress(UserError):
            if (listing := list_cases(folder, layout))[0]:
                return layout, listing, True
    labelled = any((folder / name).is_dir() for name in ("masks", "labelsTr"))
    pair = None if labelled else _pair(folder)
    if not pair:
        anyone = {"pattern": ".+"}  # who is whose is guessed later
        return "folder", list_cases(folder, "folder", anyone, labelled=labelled), labelled
    images, masks = pair
    raise UserError(
        "images and masks are in folders of other names",
        found=f"{images.name}/ and {masks.name}/",
        expected="images/ and masks/, with equal file names",
        where=folder,
        next=f"mkdir mine; ln -s {images.absolute()} mine/images; ln -s {masks.absolute()} mine/masks; "
        "snakemake init --config images=mine",
    )


def _pair(folder: Path) -> tuple[Path, Path] | None:
    """Folders of images and of masks, where they are not called so."""
    inside = sorted(path for path in folder.iterdir() if path.is_dir())
    images, masks = (
        [path for path in inside if path.name.lower().startswith(begins)]
        for begins in (("image", "img", "scan"), ("mask", "label", "seg", "annot", "gt", "ground"))
    )
    return (images[0], masks[0]) if images and masks else None


def _spread(cases: Sequence[Case], number: int) -> Iterator[Case]:
    """At most so many cases, evenly spaced."""
    for place in np.unique(np.linspace(0, len(cases) - 1, min(number, len(cases))).round().astype(int)):
        yield cases[place]


def _look_at(found: Found, case: Case) -> None:
    """Add an image's size, type and intensities to what is found."""
    try:
        image, spacing = read_image(found.folder / case.image, found.axes)
    except ValueError as error:
        found.problems.append(f"{case.image}: {error}")
        found.unreadable.add(case.image)
        return
    found.values = found.values or len(np.unique(image))
    slices, channels, height, width = image.shape
    found.sizes.append((slices, height, width, channels))
    found.spacings.append(spacing)
    if not is_nifti(case.image):
        alpha = opacity(found.folder / case.image)
        found.alpha += alpha is not None
        if alpha and alpha[0] < 255:
            found.doubts.append(
                f"{case.image}: transparent in parts, where colours may mean nothing; they are used as stored"
            )
    found.kinds["8 bits" if image.dtype == np.uint8 else "more than 8 bits"] += 1
    found.intensities.append((float(image.min()), float(image.max())))
    if found.labelled:
        with suppress(ValueError):  # of its mask, which is read once more
            mask = _read_mask(found, case)
            problem, _ = mismatch(found.folder, case, image, mask)
            if problem:
                found.problems.append(f"{case.image}: {problem}")
            elif is_nifti(case.image) and mask.any():
                low, high = np.percentile(image[:, 0][mask > 0], [0.5, 99.5])
                found.inside.append((float(low), float(high)))


def _read_mask(found: Found, case: Case) -> np.ndarray:
    """The labels of a case (slices, h, w), turned as its image is. Raises `ValueError`."""
    image = found.folder / case.image if is_nifti(case.image) else None
    return read_mask(found.folder / case.mask, binary=found.layout in BINARY, image=image, axes=found.axes)


def _look_at_mask(found: Found, case: Case) -> None:
    """Add a mask's labels to what is found, and which of their lesions the resize loses."""
    if case.image in found.unreadable:
        return
    try:
        mask = _read_mask(found, case)
    except ValueError as error:
        found.problems.append(f"{case.mask}: {error}")
        return
    labels = np.unique(mask).tolist()
    found.labels.update(labels)
    if len(found.labels) > MANY:
        return
    found.labelled_slices.append(float(mask.any(axis=(1, 2)).mean()))
    numbered = (np.searchsorted(labels, mask) + (0 not in labels)).astype(np.int32)
    lesions, owners = lesions_of(numbered, int(numbered.max()))
    names = np.array(labels if 0 in labels else [0, *labels])[owners]
    found.lesions.update(names[1:].tolist())
    for size in SIZES:
        if max(mask.shape[1:]) > size:
            box = box_of(geometry("folder", "kept", size), *mask.shape[1:])
            seen = seen_lesions(lesions, owners, resize_mask(numbered, box[2:], "nearest"))
            found.lost[size].update(np.delete(names, [0, *seen]).tolist())
