"""Encoders, classifiers and segmentation networks by name, with the study's initialisation and strict loading."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from workflow.lib.job.run import UserError
from workflow.lib.networks.resnet50 import AttentionDecoder, ResNet50Encoder
from workflow.lib.networks.unet import UNetDecoder, UNetEncoder
from workflow.lib.networks.weights import mismatches, read_checkpoint

Network = TypeVar("Network", bound=nn.Module)
Settings = Mapping[str, Any]  # one entry of the config's `encoders`
TIMM = "timm/"  # what architectures from timm begin with; these keep timm's and MONAI's initialisation

# Largest rate of stochastic depth, from the study's configs: in pretraining (simple, advanced), and downstream.
DROP = {
    "unet": {"simple": 0.0, "advanced": 0.0, "downstream": 0.0},
    "resnet50": {"simple": 0.0, "advanced": 0.1, "downstream": 0.1},
    "swin": {"simple": 0.1, "advanced": 0.1, "downstream": 0.2},
}


class Classifier(nn.Module):
    """Encoder, mean over positions, linear layer: images (n, 3, s, s) to class logits (n, classes)."""

    def __init__(self, encoder: nn.Module, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(channels_of(encoder)[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(mean_over_positions(self.encoder(x)[-1]))


class Segmenter(nn.Module):
    """Encoder and decoder: images (n, 3, s, s) to logits (n, outputs, s, s)."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))


def mean_over_positions(features: Tensor) -> Tensor:
    """Maps (n, c, h, w), or tokens (n, l, c), to (n, c)."""
    return features.mean(dim=1) if features.ndim == 3 else features.mean(dim=(2, 3))


def build_encoder(settings: Settings, *, use: str, image_size: int = 224) -> nn.Module:
    """An encoder of the config, weights uninitialised by the study's rule; `use` is the pretraining's augmentation
    (simple, advanced) or `downstream`, and sets the rate of stochastic depth. image_size: side in pixels, of importance
    for some of timm's models only."""
    architecture = settings["architecture"]
    if architecture.startswith(TIMM):
        from workflow.lib.networks.pyramid import TimmEncoder  # here, as timm takes a second to import

        return TimmEncoder(architecture.removeprefix(TIMM), image_size, settings.get("mean"), settings.get("std"))
    width, drop = settings["width"], DROP[architecture][use]
    if architecture == "swin":
        from workflow.lib.networks.swin import SwinEncoder  # torchvision's blocks take two seconds

        return SwinEncoder(width, settings["window"], drop)
    return UNetEncoder(width) if architecture == "unet" else ResNet50Encoder(width, drop)


def build_classifier(settings: Settings, classes: int, *, use: str, seed: int, image_size: int = 224) -> Classifier:
    """Encoder with a linear classifier, initialised from `seed`; the encoder does not depend on the number of classes."""
    with seeded(seed):
        classifier = Classifier(build_encoder(settings, use=use, image_size=image_size), classes)
    with seeded(seed):  # again, as the classifier's own draws depend on its size
        return classifier if settings["architecture"].startswith(TIMM) else initialise(classifier)


def build_segmenter(
    settings: Settings, outputs: int, *, use: str = "downstream", seed: int, image_size: int = 224
) -> Segmenter:
    """The segmentation network that belongs to the encoder, initialised from `seed`; its last layer has `outputs` channels."""
    with seeded(seed):
        encoder = build_encoder(settings, use=use, image_size=image_size)
        if settings["architecture"].startswith(TIMM):
            from workflow.lib.networks.pyramid import PyramidDecoder

            return Segmenter(encoder, PyramidDecoder(channels_of(encoder), encoder.reductions, outputs))  # type: ignore[arg-type]
        return initialise(Segmenter(encoder, _decoder(settings, channels_of(encoder), outputs)))


def _decoder(settings: Settings, channels: list[int], outputs: int) -> nn.Module:
    if settings["architecture"] == "swin":
        from workflow.lib.networks.swin import SwinDecoder

        return SwinDecoder(channels, outputs, settings["window"])
    return (UNetDecoder if settings["architecture"] == "unet" else AttentionDecoder)(channels, outputs)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Run a block with torch's CPU generator set to `seed`; the generator's state is restored afterwards."""
    # Not torch.manual_seed, which visits every accelerator and takes milliseconds: this runs once an image.
    generator = torch.default_generator
    state = generator.get_state()
    generator.manual_seed(seed)
    try:
        yield
    finally:
        generator.set_state(state)


def initialise(network: Network) -> Network:
    """Initialise in place as the study does: Kaiming normal (fan-in, ReLU) and zero biases for convolutional networks;
    truncated normal (0.02) linear layers for Swin, whose convolutions keep PyTorch's default."""
    attention = any(isinstance(module, nn.LayerNorm) for module in network.modules())
    for module in network.modules():
        if attention and isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
        elif not attention and isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    return network


def load_encoder(encoder: nn.Module, path: str | Path) -> None:
    """Load the `encoder.*` tensors of a checkpoint into `encoder`, strictly.

    Raises `UserError` when the file differs from the hash in its card, or any tensor is missing, left over or of another
    shape; the encoder is then unchanged, and no training continues with random weights.
    """
    _load(encoder, "encoder.", path, f"the tensors of {type(encoder).__name__} with channels {channels_of(encoder)}")


def load_decoder(decoder: nn.Module, path: str | Path) -> None:
    """Load the `decoder.*` tensors of a checkpoint into `decoder`, strictly, but for the last layer, `decoder.head`, which
    stays as it is: it belongs to the task.

    Raises `UserError` as `load_encoder`, and for a checkpoint without a decoder.
    """
    _load(decoder, "decoder.", path, f"the tensors of {type(decoder).__name__}, of this encoder and width", but="head.")


def _load(module: nn.Module, prefix: str, path: str | Path, expected: str, but: str = "-") -> None:
    """The tensors of a checkpoint below `prefix`, without those of the submodule `but`."""
    names = {name.removeprefix(prefix): t for name, t in read_checkpoint(path).items() if name.startswith(prefix)}
    found = {name: tensor for name, tensor in names.items() if not name.startswith(but)}
    wanted = {name: tensor for name, tensor in module.state_dict().items() if not name.startswith(but)}
    if problems := mismatches(found, wanted):
        shown = "; ".join(problems[:5]) if found else f"no tensor below {prefix}"
        raise UserError(
            "checkpoint does not fit the network",
            found=f"{len(problems)} of {len(wanted)} tensors differ: {shown}",
            expected=expected,
            where=path,
            next="give the encoder in the config the architecture and width it was pretrained with, or pretrain it again"
            + ("; a decoder is learnt by some tasks only (docs/transfer.md)" if prefix == "decoder." else ""),
        )
    module.load_state_dict(found, strict=but == "-")


def channels_of(encoder: nn.Module) -> list[int]:
    """Channels of an encoder's maps, shallow to deep."""
    return encoder.channels  # type: ignore[return-value]
