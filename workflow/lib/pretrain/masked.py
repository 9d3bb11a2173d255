"""Pretraining by masked image modelling: hidden patches are predicted from the others (SimMIM, Xie et al., CVPR 2022)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from workflow.lib.data.source import ImageList
from workflow.lib.networks.build import Segmenter
from workflow.lib.pretrain import augment, reconstruction
from workflow.lib.pretrain.views import Views, pixels

HIDDEN = 0.6  # share of the patches
PATCHES = 7  # along each side: 32 pixels each of 224


def network(encoder: Mapping[str, Any], images: ImageList, **building: Any) -> Segmenter:
    """The network of `reconstruction`."""
    return reconstruction.network(encoder, images, **building)


def item(views: Views, index: int) -> tuple[Tensor, Tensor]:
    """A view (3, s, s), its hidden patches at its mean; and (4, s, s): the view in 0..1, and what is hidden."""
    view = augment.crop_and_flip(views.size)(pixels(views.images, index)).clamp(0, 1)
    hidden = torch.zeros(PATCHES**2)
    hidden[torch.randperm(PATCHES**2)[: round(HIDDEN * PATCHES**2)]] = 1
    places = torch.arange(views.size) * PATCHES // views.size
    mask = hidden.view(PATCHES, PATCHES)[places[:, None], places]
    seen = torch.where(mask.bool(), view.mean(dim=(1, 2), keepdim=True), view)
    return seen, torch.cat([view, mask[None]])


def loss(logits: Tensor, wanted: Tensor, recipe: Mapping[str, Any]) -> Tensor:
    """Mean absolute error of the colours of hidden pixels."""
    views, hidden = wanted[:, :3], wanted[:, 3:]
    return ((logits.sigmoid() - views).abs() * hidden).sum() / (3 * hidden.sum()).clamp(min=1)
