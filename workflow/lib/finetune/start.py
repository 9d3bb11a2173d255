"""The network that a fine-tuning starts from: what it takes from a checkpoint, and how its encoder is frozen."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from workflow.lib.job.run import read_json, sha256_of
from workflow.lib.networks.build import Segmenter, build_classifier, load_decoder, load_encoder
from workflow.lib.networks.norms import calibrate
from workflow.lib.study.checkpoints import DECODER, ENCODER


class FrozenEncoder(nn.Module):
    """An encoder that never changes and needs no gradients: batch-norm and stochastic depth stay in evaluation mode."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "FrozenEncoder":
        return self

    @torch.no_grad()
    def forward(self, x: Tensor) -> list[Tensor]:
        return self.encoder(x)


def freeze(network: Segmenter, how: str, calibration: list[Tensor]) -> None:
    """Freeze the encoder in place.

    how: `gradients_off`, nothing else: batch-norm statistics still move and stochastic depth stays on, as in the study.
    `evaluation`: really frozen, after batch-norm statistics were set once to those of the target's training images
    (`calibration`: batches (n, 3, s, s)), for random and pretrained encoders alike: with untouched statistics a random
    encoder collapses, which flatters pretraining.
    """
    if how == "gradients_off":
        network.encoder.requires_grad_(False)
        return
    calibrate(network.encoder, calibration)
    network.encoder = FrozenEncoder(network.encoder)


def transfer(
    network: Segmenter, what: str, weights: Path, encoder: Mapping[str, Any], seed: int, image_size: int
) -> None:
    """Load `what` a fine-tuning takes from a checkpoint (encoder | decoder | both); the encoder of a decoder alone
    is the random one of the seed, as for length 0. Raises `UserError` for a checkpoint that does not fit."""
    if what != DECODER:
        load_encoder(network.encoder, weights)
    else:
        drawn = build_classifier(encoder, 1, image_size=image_size, use="simple", seed=seed)
        network.encoder.load_state_dict(drawn.encoder.state_dict())
    if what != ENCODER:
        load_decoder(network.decoder, weights)


def starting_card(encoder: Mapping[str, Any], weights: Path) -> dict[str, Any]:
    """The card beside a checkpoint; of a given network, which has none, the same entries."""
    if "class" in encoder:
        return {"sha256": sha256_of(weights), "epoch": None, "accuracy": None}
    return read_json(weights.with_suffix(".json"))
