"""What a pretraining sees: the items of an epoch, which depend on its seeds alone, and how networks see them."""

import dataclasses
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from workflow.lib.data.source import ImageList
from workflow.lib.job.run import derive_seed
from workflow.lib.networks.build import seeded
from workflow.lib.training.device import standardise

Item = tuple[Tensor, Tensor]


@dataclasses.dataclass
class Views(Dataset[Item]):
    """Items of one epoch: what the network sees, and what it is to put out, as the task's `item` makes them.

    An item depends on `seed`, `epoch` and its index alone, not on workers or order. `mixed`, if a task has it, then changes the
    items of a micro-batch by each other; so they depend on what else is in it. size: side in pixels.
    """

    item: Callable[["Views", int], Item]
    images: ImageList
    size: int
    augmentation: str
    seed: int
    epoch: int
    mixed: Callable[["Views", Sequence[int], list[Item]], list[Item]] | None = None

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Item:
        with seeded(derive_seed(self.seed, "image", self.epoch, index)):
            return self.item(self, index)

    def __getitems__(self, indices: Sequence[int]) -> list[Item]:
        """The items of a micro-batch."""
        items = [self[index] for index in indices]
        return self.mixed(self, indices, items) if self.mixed else items


def network_inputs(views: Tensor, inputs: str) -> Tensor:
    """Views (n, 3, s, s) or (n, 2, 3, s, s) in 0..1 as networks see them; inputs: unchanged | standardised."""
    return standardise(views.flatten(0, -4), inputs).view_as(views)


def pixels(images: ImageList, index: int) -> Tensor:
    """Image `index` as uint8 (3, h, w); what is cropped from it becomes float, as a whole photograph takes long."""
    image = images.read(index)
    return torch.from_numpy(image if image.flags.writeable else image.copy()).permute(2, 0, 1)
