"""Losses of segmentation, from logits (n, outputs, h, w) and masks (n, h, w); one output means two classes."""

import torch
from torch import Tensor
from torch.nn import functional as F

from workflow.lib.data.source import IGNORED


def outputs_for(classes: int) -> int:
    """Channels of the last layer: 1 for one class (sigmoid), else classes + 1 (softmax with background)."""
    return 1 if classes == 1 else classes + 1


def two_sided(logits: Tensor) -> Tensor:
    """Logits with a background channel: one output z becomes (0, z), whose softmax is (1 - sigmoid z, sigmoid z)."""
    return torch.cat([torch.zeros_like(logits), logits], dim=1) if logits.shape[1] == 1 else logits


def probabilities(logits: Tensor) -> Tensor:
    """Class probabilities (n, classes + 1, h, w), background first."""
    return two_sided(logits).softmax(dim=1)


def labels_of(probabilities: Tensor) -> Tensor:
    """Labels (n, h, w) of probabilities (n, K + 1, h, w): at least 0.5 for one class, else the largest."""
    return (probabilities[:, 1] >= 0.5).long() if probabilities.shape[1] == 2 else probabilities.argmax(dim=1)


def dice_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """The study's soft Dice over the whole batch, background included: 1 - mean over classes of
    (2 sum(y p) + 1e-5) / (sum(y) + sum(p^2) + 1e-5). Labels without a channel belong to no class."""
    p = probabilities(logits)
    y = (masks[:, None] == torch.arange(p.shape[1], device=p.device).view(-1, 1, 1)).to(p.dtype)
    axes = (0, 2, 3)
    return 1 - ((2 * (y * p).sum(axes) + 1e-5) / (y.sum(axes) + p.square().sum(axes) + 1e-5)).mean()


def dice_ce_loss(logits: Tensor, masks: Tensor, background_weight: float) -> Tensor:
    """Soft Dice plus cross-entropy in which background pixels weigh `background_weight`."""
    both = two_sided(logits)
    weights = torch.ones(both.shape[1], device=both.device)
    weights[0] = background_weight
    return dice_loss(logits, masks) + F.cross_entropy(both, masks, weight=weights, ignore_index=IGNORED)
