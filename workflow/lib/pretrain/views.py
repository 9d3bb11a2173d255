"""What a pretraining sees: items of an epoch that depend on seed, epoch and index alone, and images as tensors."""

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.data import Dataset

from workflow.lib.data.source import ImageList
from workflow.lib.job.run import derive_seed
from workflow.lib.networks.build import seeded


@dataclasses.dataclass
class Views(Dataset[tuple[Tensor, Tensor]]):
    """Items of one epoch: what the network sees, and what it is to put out, as the task's `item` makes them.

    An item depends on `seed`, `epoch` and its index alone, not on workers or order. size: side in pixels; inputs: unchanged |
    standardised.
    """

    item: Callable[["Views", int], tuple[Tensor, Tensor]]
    images: ImageList
    size: int
    augmentation: str
    inputs: str
    seed: int
    epoch: int

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        with seeded(derive_seed(self.seed, "image", self.epoch, index)):
            return self.item(self, index)


def as_float(images: ImageList, index: int) -> Tensor:
    """Image `index` as float32 (3, h, w) in 0..1."""
    return torch.tensor(images.read(index)).permute(2, 0, 1).float() / 255
