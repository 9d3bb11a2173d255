"""Whether weights from a file are used as they were made: the inputs of their name, and batch norm's stored statistics."""

import logging
import math
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import timm
import torch
from torch import Tensor, nn

from workflow.lib.job.run import UserError
from workflow.lib.networks.inputs import numbers
from workflow.lib.networks.pyramid import TimmEncoder
from workflow.lib.networks.timm_models import config_of

log = logging.getLogger("medseg")

IMAGES, SIZE = 8, 224  # generated ones, and their side in pixels: smaller ones are mostly padding in deep layers
BETTER = (
    0.9  # another name fits better if its shift is less than this times that of the given one; measured: docs/rank.md
)
FOREIGN = 5.0  # natural logarithm: the first layer's variance is wrong by 150 times or more; measured: docs/rank.md


def check_inputs_known(name: str) -> None:
    """Raises `UserError` for a name of timm's whose pretrained weights, by their tags, were made with different inputs."""
    if "." in name:
        return
    inputs: dict[str, list[str]] = defaultdict(list)
    for tagged in timm.list_pretrained(f"{name}.*"):
        config = config_of(tagged)
        inputs[f"mean {numbers(config.mean)}, std {numbers(config.std)}"].append(tagged)
    if len(inputs) > 1:
        raise UserError(
            "which inputs these weights were made for is not known",
            found=f"architecture timm/{name}, whose weights differ in it",
            expected="; ".join(f"{said}: {', '.join(names)}" for said, names in inputs.items()),
            where="the encoder's entry in the config",
            next="name those that these are, or were trained from, with their tag; or give `mean` and `std` of their inputs",
        )


def check_statistics(name: str, encoder: TimmEncoder, image_size: int) -> dict[str, float]:
    """How far batch norm's stored means are from those of generated images (`shift_of`), for a network of timm's and for its
    twin, with or without tf_ in its name, which takes the same weights but pads otherwise and has another epsilon.

    Raises `UserError` where the twin fits better and the name has no tag, or where the first layer's variance is off as it is
    with inputs in 0..255. Empty for networks without batch norm. It does not see those, nor another order of channels, nor
    inputs that are wrong by a smaller factor, nor other names that take the same weights.
    """
    if not any(isinstance(module, nn.BatchNorm2d) for module in encoder.modules()):
        return {}
    size = SIZE if _takes(encoder, name, SIZE) else image_size
    mean, std = (tensor.flatten().tolist() for tensor in (encoder.mean, encoder.std))
    images, state, base = generated_images(IMAGES, size), encoder.state_dict(), name.partition(".")[0]
    twin = base.removeprefix("tf_") if base.startswith("tf_") else f"tf_{base}"
    shifts = {}
    for each in (name, twin) if twin in timm.list_models() and _takes(encoder, twin, size) else (name,):
        network = TimmEncoder(each, size, mean, std)
        network.load_state_dict(state)
        shifts[each], first = shift_of(network, images)
        if math.isnan(first):
            return {}
        if each == name and abs(first) > FOREIGN:
            raise UserError(
                "weights that were made for inputs of another range",
                found=f"variances {math.exp(first):.2g} times those stored in the first batch norm",
                expected=f"less than {math.exp(FOREIGN):.0f} times more or less",
                where=f"mean and std of timm/{name}, or of the encoder's entry in the config",
                next="give `mean`, `std` and `range` (1 or 255) of the inputs that these weights were made for",
            )
    if shifts.get(twin, math.inf) < BETTER * shifts[name]:
        found = (
            f"batch norm's means are off by {shifts[name]:.3f} SD in timm/{name}, by {shifts[twin]:.3f} in timm/{twin}"
        )
        if "." in name:
            log.warning("%s: the latter may be the network of these weights", found)
        else:
            tags = ", ".join(timm.list_pretrained(f"{name}.*"))
            raise UserError(
                "weights that fit another network of timm's better",
                found=found,
                expected=f"at most {1 / BETTER:.2f} times the other one's",
                where=f"the encoder timm/{name} in the config",
                next=f"name timm/{twin}"
                + (f"; or, where you know better, this one with its tag ({tags})" if tags else ""),
            )
    return shifts


def _takes(encoder: nn.Module, name: str, image_size: int) -> bool:
    """Whether a model of timm's exists for images of this size, and takes the weights of `encoder`."""
    try:
        with torch.device("meta"):  # names and shapes alone
            shapes = {key: tensor.shape for key, tensor in TimmEncoder(name, image_size).state_dict().items()}
    except UserError:
        return False
    return shapes == {key: tensor.shape for key, tensor in encoder.state_dict().items()}


def generated_images(number: int, size: int) -> Tensor:
    """Images (number, 3, size, size) in 0..1 of noise with the spectrum of photographs (amplitude 1 / frequency)."""
    generator = torch.Generator().manual_seed(0)
    frequency = torch.fft.fftfreq(size)
    amplitude = 1 / (frequency[:, None].square() + frequency.square()).sqrt().clamp(min=1 / size)
    noise = torch.randn(number, 1, size, size, generator=generator)
    noise = noise + 0.4 * torch.randn(number, 3, size, size, generator=generator)
    images = torch.fft.ifft2(torch.fft.fft2(noise) * amplitude).real
    images = images - images.mean(dim=(1, 2, 3), keepdim=True)
    return (0.45 + 0.25 * images / images.std(dim=(1, 2, 3), keepdim=True)).clamp(0, 1)


@torch.no_grad()
def shift_of(encoder: nn.Module, images: Tensor) -> tuple[float, float]:
    """Distance between found and stored means of batch norm, in stored standard deviations (root mean square over channels, mean
    over layers); and log(found / stored variance) in the first layer, median over channels. nan, nan where nothing is stored:
    without batch norm, or with statistics as they are before any training."""
    rows: list[tuple[float, float]] = []
    training = encoder.training
    with _as_stored(encoder.eval(), rows):
        encoder(images)
    encoder.train(training)
    return (sum(shift for shift, _ in rows) / len(rows), rows[0][1]) if rows else (math.nan, math.nan)


@contextmanager
def _as_stored(encoder: nn.Module, rows: list[tuple[float, float]]) -> Iterator[None]:
    """Make every batch norm give what it would of inputs with the stored statistics; note how far its inputs are from them."""

    def hook(norm: Any, inputs: tuple[Tensor], _: Tensor) -> Tensor:
        x, stored = inputs[0], norm.running_var + norm.eps
        mean, variance = x.mean(dim=(0, 2, 3)), x.var(dim=(0, 2, 3))
        shift = (mean - norm.running_mean).square() / stored
        ratio = (variance + 1e-12) / (norm.running_var + 1e-12)
        rows.append((shift.mean().sqrt().item(), ratio.log().median().item()))
        scale = (norm.running_var / stored / (variance + 1e-12)).sqrt()
        if norm.affine:
            scale = scale * norm.weight
        y = (x - mean.view(-1, 1, 1)) * scale.view(-1, 1, 1)
        y = y + norm.bias.view(-1, 1, 1) if norm.affine else y
        return norm.act(y) if hasattr(norm, "act") else y  # of timm's BatchNormAct2d

    norms: list[Any] = [
        module for module in encoder.modules() if isinstance(module, nn.BatchNorm2d) and module.track_running_stats
    ]
    if all((norm.running_mean == 0).all() and (norm.running_var == 1).all() for norm in norms):
        norms = []
    hooks = [norm.register_forward_hook(hook) for norm in norms]
    try:
        yield
    finally:
        for each in hooks:
            each.remove()
