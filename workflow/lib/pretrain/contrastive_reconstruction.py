"""Contrastive pretraining and repair of corrupted views together: ConRec (Dippel et al., arXiv 2104.04323 and 2207.14508)."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from workflow.lib.data.source import ImageList
from workflow.lib.networks.build import build_segmenter, channels_of, seeded
from workflow.lib.pretrain import contrastive, reconstruction
from workflow.lib.pretrain.corruptions import corrupt
from workflow.lib.pretrain.views import Views

RECONSTRUCTION = 100  # weight of the squared error; that of NT-Xent, whose two directions ConRec adds, is 2


class ContrastAndRepair(nn.Module):
    """Encoder and decoder, and a projection head on the deepest map, pooled by attention.

    Views (n, 2, 3, s, s) to embeddings (n, 2, 128) and logits of the colours (n, 2, 3, s, s).
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        channels = channels_of(encoder)[-1]
        widths = [channels, *(max(1, channels // 2**step) for step in (1, 2, 3))]
        layers: list[nn.Module] = [nn.Dropout(0.5)]
        for inputs, outputs in zip(widths, widths[1:], strict=False):
            layers += [nn.Conv2d(inputs, outputs, 1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
        self.attention = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 1), nn.Sigmoid())
        self.projection = contrastive.projection_head(channels)

    def forward(self, views: Tensor) -> tuple[Tensor, Tensor]:
        features = self.encoder(views.flatten(0, 1))
        deepest = features[-1]
        if deepest.ndim == 3:
            side = math.isqrt(deepest.shape[1])  # of Swin's tokens
            deepest = deepest.transpose(1, 2).unflatten(2, (side, side))
        weight = self.attention(deepest)
        pooled = (weight * deepest).sum(dim=(2, 3)) / weight.sum(dim=(2, 3)).clamp(min=1e-6)
        embeddings = self.projection(pooled).view(*views.shape[:2], -1)
        return embeddings, self.decoder(features).view(views.shape)


def network(encoder: Mapping[str, Any], images: ImageList, **building: Any) -> ContrastAndRepair:
    """The network of `reconstruction`, and what the contrast needs beside it."""
    both = build_segmenter(encoder, 3, **building)
    with seeded(building["seed"]):
        return ContrastAndRepair(both.encoder, both.decoder)


def item(views: Views, index: int) -> tuple[Tensor, Tensor]:
    """Two corrupted views (2, 3, s, s), and the views themselves (2, 3, s, s) in 0..1."""
    both = contrastive.two_views(views, index)
    return torch.stack([corrupt(view) for view in both]), both


def loss(outputs: tuple[Tensor, Tensor], views: Tensor, recipe: Mapping[str, Any]) -> Tensor:
    """100 times the squared error plus NT-Xent, both directions added."""
    embeddings, logits = outputs
    repaired = reconstruction.loss(logits, views, recipe)
    return RECONSTRUCTION * repaired + 2 * contrastive.loss(embeddings, views, recipe)
