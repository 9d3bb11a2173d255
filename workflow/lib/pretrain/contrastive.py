"""Contrastive pretraining: two views of an image are alike, views of others are not (SimCLR, Chen et al., ICML 2020)."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms import v2

from workflow.lib.data.source import ImageList
from workflow.lib.networks.build import (
    TIMM,
    build_encoder,
    channels_of,
    initialise,
    mean_over_positions,
    seeded,
)
from workflow.lib.pretrain import augment
from workflow.lib.pretrain.views import Views, pixels

TEMPERATURE = 0.5
HIDDEN, EMBEDDED = 512, 128  # channels of the projection head
CROPPED = (0.2, 1.0)  # share of the image's area in a view


class Contrast(nn.Module):
    """Encoder, mean over positions, projection head: views (n, 2, 3, s, s) to embeddings (n, 2, 128)."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.projection = projection_head(channels_of(encoder)[-1])

    def forward(self, views: Tensor) -> Tensor:
        deepest = self.encoder(views.flatten(0, 1))[-1]
        return self.projection(mean_over_positions(deepest)).view(*views.shape[:2], -1)


def projection_head(channels: int) -> nn.Sequential:
    """Three linear layers with batch-norm, as in ConRec (arXiv 2104.04323): (n, channels) to (n, 128)."""
    return nn.Sequential(
        *(nn.Linear(channels, HIDDEN, bias=False), nn.BatchNorm1d(HIDDEN), nn.ReLU(inplace=True)),
        *(nn.Linear(HIDDEN, HIDDEN, bias=False), nn.BatchNorm1d(HIDDEN), nn.ReLU(inplace=True)),
        *(nn.Linear(HIDDEN, EMBEDDED, bias=False), nn.BatchNorm1d(EMBEDDED)),
    )


def network(encoder: Mapping[str, Any], images: ImageList, *, use: str, seed: int, image_size: int) -> Contrast:
    """The encoder with a projection head."""
    with seeded(seed):
        model = Contrast(build_encoder(encoder, use=use, image_size=image_size))
        return model if encoder["architecture"].startswith(TIMM) else initialise(model)


def two_views(views: Views, index: int) -> Tensor:
    """Two random crops (2, 3, s, s) in 0..1 with colour jitter, some of them grey or blurred."""
    image = pixels(views.images, index)
    return torch.stack([_view(views.size)(image).clamp(0, 1) for _ in range(2)])


@cache
def _view(size: int) -> v2.Transform:
    jitter = v2.ColorJitter(brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2)
    blur = v2.GaussianBlur(kernel_size=max(3, size // 10 // 2 * 2 + 1), sigma=(0.1, 2.0))
    return v2.Compose(
        [
            augment.RandomCrop(size, scale=CROPPED, antialias=True),
            v2.RandomHorizontalFlip(),
            v2.RandomApply([jitter], p=0.8),
            v2.RandomGrayscale(p=0.2),
            v2.RandomApply([blur], p=0.5),
        ]
    )


def item(views: Views, index: int) -> tuple[Tensor, Tensor]:
    """Two views (2, 3, s, s), and nothing: the other images are the labels."""
    return two_views(views, index), torch.empty(0)


def loss(embeddings: Tensor, nothing: Tensor, recipe: Mapping[str, Any]) -> Tensor:
    """NT-Xent at temperature 0.5 over a micro-batch of embeddings (n, 2, d): the mean over its 2n views."""
    z = F.normalize(embeddings, dim=-1).flatten(0, 1)
    similar = (z @ z.T / TEMPERATURE).fill_diagonal_(-torch.inf)
    partner = torch.arange(len(z), device=z.device).view(-1, 2).flip(1).flatten()
    return F.cross_entropy(similar, partner)
