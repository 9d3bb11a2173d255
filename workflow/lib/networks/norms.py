"""Batch-norm statistics of the images at hand, for encoders that are used as they are."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


@torch.no_grad()
def calibrate(encoder: nn.Module, batches: Iterable[Tensor]) -> None:
    """Set the batch-norm statistics of `encoder` to their mean over `batches` (n, 3, s, s), in place, and leave it in
    evaluation mode. Batches should be of about equal size, 2 images or more; nothing else changes."""
    norms = [module for module in encoder.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average over the batches
    encoder.eval()  # no stochastic depth, only the norms depend on the batch
    for norm in norms:
        norm.train()
    for batch in batches if norms else []:
        encoder(batch)
    encoder.eval()
