"""Pretraining by repair of corrupted images: a denoising auto-encoder with skip connections, no labels."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from workflow.lib.data.source import ImageList
from workflow.lib.networks.build import Segmenter, build_segmenter
from workflow.lib.pretrain import augment
from workflow.lib.pretrain.corruptions import corrupt
from workflow.lib.pretrain.views import Views, pixels


def network(encoder: Mapping[str, Any], images: ImageList, **building: Any) -> Segmenter:
    """The segmentation network of the encoder; its three outputs are logits of the colours."""
    return build_segmenter(encoder, 3, **building)


def item(views: Views, index: int) -> tuple[Tensor, Tensor]:
    """A corrupted view (3, s, s), and the view itself (3, s, s) in 0..1."""
    view = augment.crop_and_flip(views.size)(pixels(views.images, index)).clamp(0, 1)
    return corrupt(view), view


def loss(logits: Tensor, views: Tensor, recipe: Mapping[str, Any]) -> Tensor:
    """Mean squared error of the colours, of any number of views."""
    return F.mse_loss(logits.sigmoid(), views)
