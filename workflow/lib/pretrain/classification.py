"""Pretraining by image classification, as in the study: its items, its loss, and accuracy on validation images."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from workflow.lib.data.source import ImageList
from workflow.lib.job.run import derive_seed
from workflow.lib.networks.build import Classifier, build_classifier, seeded
from workflow.lib.pretrain import augment
from workflow.lib.pretrain.views import Item, Views, network_inputs, pixels
from workflow.lib.training.device import autocast
from workflow.lib.training.distributed import sum_over_processes


def network(encoder: Mapping[str, Any], images: ImageList, **building: Any) -> Classifier:
    """The encoder with a linear classifier of the source's classes."""
    return build_classifier(encoder, len(images.classes), **building)


def item(views: Views, index: int) -> Item:
    """An augmented image (3, s, s) and its soft label (classes,); of scheme advanced before it is `mixed`."""
    image = augment.crop_and_flip(views.size)(pixels(views.images, index))
    label = augment.soft_label(int(views.images.labels[index]), len(views.images.classes))
    return augment.rand_augment(image) if views.augmentation == "advanced" else image, label


def mixed(views: Views, indices: Sequence[int], items: list[Item]) -> list[Item]:
    """Scheme advanced: each image with another one of the micro-batch, then erasing.

    A micro-batch holds images in random order, so that the partner of each is any other image of the source, as likely as all.
    To draw it from the whole source would double what is read and decoded.
    """
    if views.augmentation != "advanced":
        return items
    found = []
    for place, (index, (image, label)) in enumerate(zip(indices, items, strict=True)):
        seed = derive_seed(views.seed, "mix", views.epoch, index)
        rng = torch.Generator().manual_seed(seed)
        further = int(torch.randint(1, max(2, len(items)), (1,), generator=rng))
        image, label = augment.mix(image, label, *items[(place + further) % len(items)], rng)
        with seeded(derive_seed(seed, "erase")):
            image = augment.random_erasing()(image)
        found.append((image, label))
    return found


def loss(logits: Tensor, labels: Tensor, recipe: Mapping[str, Any]) -> Tensor:
    """Soft cross-entropy with label smoothing."""
    return F.cross_entropy(logits, labels, label_smoothing=recipe["label_smoothing"])


@dataclasses.dataclass
class ValidationImages(Dataset[tuple[Tensor, int]]):
    """Validation images (3, s, s) in 0..1 and class numbers."""

    images: ImageList
    size: int

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = augment.evaluation_crop(self.size)(pixels(self.images, index))
        return image, int(self.images.labels[index])


def validate(model: nn.Module, loader: DataLoader[Any], inputs: str, precision: str) -> tuple[float, float]:
    """Top-1 accuracy (0..1) and mean cross-entropy over the images of all processes' loaders."""
    device = next(model.parameters()).device
    model.eval()
    sums = torch.zeros(3, device=device)  # right, loss, count
    with torch.inference_mode():
        for images, labels in loader:
            labels = labels.to(device)
            with autocast(device, precision):
                logits = model(network_inputs(images.to(device), inputs)).float()
            right, loss = (logits.argmax(dim=1) == labels).sum(), F.cross_entropy(logits, labels, reduction="sum")
            sums += torch.stack([right.float(), loss, torch.tensor(float(len(labels)), device=device)])
    sum_over_processes([sums])
    right, loss, count = sums.tolist()
    return right / count, loss / count
