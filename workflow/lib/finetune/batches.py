"""What fine-tuning sees: augmented training items and evaluation tiles of a prepared target."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from workflow.lib.data.prepared import Prepared
from workflow.lib.job.run import derive_seed
from workflow.lib.networks.build import seeded
from workflow.lib.training.device import standardise

DARK = 0.01  # windows of a lower mean (0..1) are dropped: outside the fundus


class Patch(NamedTuple):
    """A square of an item: its row in the arrays and its upper left corner in pixels."""

    row: int
    top: int
    left: int


def as_input(image: Tensor, data: Prepared, patch: Patch, inputs: str) -> Tensor:
    """An image (3, s, s) of `square` as the network sees it."""
    return standardise(image[None], inputs, torch.from_numpy(data.statistics[patch.row, None]))[0]


def square(data: Prepared, patch: Patch, side: int) -> tuple[Tensor, Tensor]:
    """The square at `patch`: image (3, side, side) float32 divided by its scale, and mask (side, side) uint8."""
    part = (..., slice(patch.top, patch.top + side), slice(patch.left, patch.left + side))
    image = torch.from_numpy(np.array(data.images[patch.row][part])).float() / float(data.items["scale"].iat[patch.row])
    return image.expand(3, -1, -1), torch.from_numpy(np.array(data.masks[patch.row][part]))


def training_patches(data: Prepared) -> list[Patch]:
    """Whole training items, or their windows that are not dark."""
    rows = np.flatnonzero(data.items["part"] == "train")
    windows = data.card["windows"]
    if windows is None:
        return [Patch(int(row), 0, 0) for row in rows]
    return _windows(data, rows, windows["window"], windows["stride"])


def evaluation_patches(data: Prepared, part: str, evaluation: str) -> list[Patch]:
    """Tiles of the network's input size. evaluation: `whole` covers every image; `windows` cuts windows side by side as
    the study does, drops dark ones and what is left over at the bottom, and cuts each window into four tiles."""
    rows = np.flatnonzero(data.items["part"] == part)
    size, windows = data.card["image_size"], data.card["windows"]
    if windows is None or evaluation == "whole":
        height, width = data.masks.shape[1:]
        corners = [(top, left) for top in range(0, height, size) for left in range(0, width, size)]
        return [Patch(int(row), top, left) for row in rows for top, left in corners]
    return [
        Patch(patch.row, patch.top + down, patch.left + right)
        for patch in _windows(data, rows, windows["window"], windows["window"])
        for down in (0, size)
        for right in (0, size)
    ]


def _windows(data: Prepared, rows: np.ndarray, side: int, stride: int) -> list[Patch]:
    height, width = data.masks.shape[1:]
    patches = []
    for row in rows:
        image = np.asarray(data.images[row]).mean(axis=0) / float(data.items["range"].iat[row])
        for top in range(0, height - side + 1, stride):
            for left in range(0, width - side + 1, stride):
                if image[top : top + side, left : left + side].mean() >= DARK:
                    patches.append(Patch(int(row), top, left))
    return patches


def rotated_crop(image: Tensor, mask: Tensor, angle: float, size: int) -> tuple[Tensor, Tensor]:
    """A random axis-parallel crop of `size` pixels from a square window turned by `angle` degrees, nearest neighbour, that
    is entirely inside the window. image (3, w, w), mask (w, w); uses torch's generator."""
    side = image.shape[-1]
    turn = math.radians(angle)
    reach = size / 2 * (abs(math.cos(turn)) + abs(math.sin(turn)))  # half the crop's bounding box in the window
    centre = reach + torch.rand(2) * (side - 2 * reach)
    y, x = torch.meshgrid(torch.arange(size) - (size - 1) / 2, torch.arange(size) - (size - 1) / 2, indexing="ij")
    rows = (centre[0] + y * math.cos(turn) - x * math.sin(turn)).floor().clamp(0, side - 1).long()
    columns = (centre[1] + y * math.sin(turn) + x * math.cos(turn)).floor().clamp(0, side - 1).long()
    return image[:, rows, columns], mask[rows, columns]


def augmented(
    image: Tensor, mask: Tensor, window: Mapping[str, int] | None, *, rotation: float, flip: bool
) -> tuple[Tensor, Tensor]:
    """The study's augmentation: rotation, and with `flip` a vertical flip of half of the images; windows also lose their
    margin and get colour jitter."""
    angle = float(torch.empty(1).uniform_(-rotation, rotation))
    if window is not None:
        image, mask = rotated_crop(image, mask, math.floor(angle), window["crop"])
        from torchvision.transforms.v2 import ColorJitter  # here, as its import takes seconds

        image = ColorJitter(brightness=0.1, contrast=0.05, saturation=0.1, hue=0.05)(image)
    elif rotation:
        from torchvision.transforms.v2 import InterpolationMode, functional

        image = functional.rotate(image, angle, interpolation=InterpolationMode.BILINEAR)
        mask = functional.rotate(mask[None], angle)[0]
    if flip and torch.rand(1) < 0.5:
        image, mask = image.flip(-2), mask.flip(-2)
    return image, mask


@dataclasses.dataclass
class TrainItems(Dataset[tuple[Tensor, Tensor]]):
    """Augmented items by epoch, from 1, and number, from 0: image (3, s, s) float32, mask (s, s) int64.

    Of an epoch, `count` items are drawn in a seeded order, going round when there are fewer patches; None: each patch once.
    """

    data: Prepared
    patches: list[Patch]
    inputs: str
    rotation: float
    flip: bool
    seed: int
    count: int | None

    def __post_init__(self) -> None:
        self._orders: dict[int, np.ndarray[Any, Any]] = {}  # of the latest epoch alone

    def __len__(self) -> int:
        """Items of an epoch."""
        return self.count or len(self.patches)

    def order(self, epoch: int) -> np.ndarray[Any, Any]:
        """The numbers of the patches in this epoch, (items,)."""
        if epoch not in self._orders:
            rng = np.random.default_rng(derive_seed(self.seed, "order", epoch))
            rounds = [rng.permutation(len(self.patches)) for _ in range(-(-len(self) // len(self.patches)))]
            self._orders = {epoch: np.concatenate(rounds)[: len(self)]}
        return self._orders[epoch]

    def __getitem__(self, place: tuple[int, int]) -> tuple[Tensor, Tensor]:
        epoch, number = place
        patch = self.patches[self.order(epoch)[number]]
        window = self.data.card["windows"]
        image, mask = square(self.data, patch, window["window"] if window else self.data.card["image_size"])
        with seeded(derive_seed(self.seed, "item", epoch, number)):
            image, mask = augmented(image, mask, window, rotation=self.rotation, flip=self.flip)
        return as_input(image, self.data, patch, self.inputs), mask.long()


@dataclasses.dataclass
class Tiles(Dataset[tuple[Tensor, Tensor]]):
    """Evaluation tiles: image (3, s, s), mask (s, s) uint8."""

    data: Prepared
    patches: list[Patch]
    inputs: str

    def __len__(self) -> int:
        return len(self.patches)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        patch = self.patches[index]
        image, mask = square(self.data, patch, self.data.card["image_size"])
        return as_input(image, self.data, patch, self.inputs), mask


def lasting(
    load: Callable[[Iterator[list[tuple[int, int]]]], Iterable[Any]], parts: Sequence[Sequence[int]], epochs: int
) -> Callable[[int, Sequence[int]], Iterator[Any]]:
    """`batches` of a training's `Plan`, from one loader for all epochs: to start its processes takes half a second, more than an
    epoch of few patients.

    load: loads the items at these places (epoch, number), a list a micro-batch; parts: the numbers of each micro-batch.
    """
    everything, stream, upcoming = list(range(len(parts))), iter(()), 0

    def places(epoch: int, chosen: Sequence[int]) -> Iterator[list[tuple[int, int]]]:
        rest = [(later, part) for later in range(epoch + 1, epochs + 1) for part in parts]
        for when, numbers in [*((epoch, parts[number]) for number in chosen), *rest]:
            yield [(when, number) for number in numbers]

    def batches(epoch: int, chosen: Sequence[int]) -> Iterator[Any]:
        nonlocal stream, upcoming
        if epoch != upcoming or list(chosen) != everything:  # the first epoch asked for, of which a part may be done
            stream = iter(load(places(epoch, chosen)))
        upcoming = epoch + 1
        yield from islice(stream, len(chosen))

    return batches


def items_per_epoch(recipe: Mapping[str, Any]) -> int | None:
    """Training items of an epoch that a recipe asks for; None: each patch once."""
    steps = recipe["steps_per_epoch"]
    return steps and steps * recipe["batch"]
