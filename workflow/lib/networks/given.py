"""Segmentation networks of any class, with weights from elsewhere: members of a pool."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from workflow.lib.job.run import UserError, reason
from workflow.lib.networks.build import seeded
from workflow.lib.networks.fit import prefixes
from workflow.lib.networks.weights import mismatches, read_weights


class Grey(nn.Module):
    """A network of one input channel, which sees the mean of three."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.network(x.mean(dim=1, keepdim=True))
        return found


def starting_network(network: Mapping[str, Any], weights: Path, outputs: int, seed: int, image_size: int) -> nn.Module:
    """A given 2-D network as a start of fine-tuning: (n, 3, s, s) to logits (n, outputs, s, s). Its last layer, the convolution
    named `head`, is drawn from `seed`.

    Raises `UserError` as `given_network`, for a head that is no 2-D convolution, and for a network that puts out something else.
    """
    model = given_network(network, weights)
    parts = dict(model.named_modules())
    old = parts.get(network["head"])
    if not isinstance(old, nn.Conv2d):
        convolutions = [name for name, part in parts.items() if isinstance(part, nn.Conv2d)]
        raise UserError(
            f"network {network['class']} has no such last layer",
            found=f"head {network['head']}: {'no module' if old is None else type(old).__name__}",
            expected=f"a convolution, in the end of {', '.join(convolutions[-3:])}",
            where="config: pool.given",
            next="name the layer that makes the logits; or leave out `head`: the network is then only scored",
        )
    with seeded(seed):
        new = nn.Conv2d(
            old.in_channels,
            outputs,
            old.kernel_size,  # type: ignore[arg-type]
            old.stride,  # type: ignore[arg-type]
            old.padding,  # type: ignore[arg-type]
            bias=old.bias is not None,
        )
    place, _, name = network["head"].rpartition(".")
    setattr(parts[place], name, new)
    check_output(model, network["channels"], [image_size] * 2, torch.device("cpu"), network["class"], outputs)
    return (Grey(model) if network["channels"] == 1 else model).train()


def given_network(network: Mapping[str, Any], weights: Path) -> nn.Module:
    """Any network class with its weights. network: `class` (importable) and `arguments`. Raises `UserError` for a class that
    can't be imported or built, and weights that fit it only in part."""
    module, _, name = network["class"].rpartition(".")
    try:
        model = getattr(importlib.import_module(module), name)(**network["arguments"])
        problem = "" if isinstance(model, nn.Module) else f"a {type(model).__name__}"
    except Exception as error:  # imports and constructors can raise anything
        problem = reason(error)
    if problem:
        raise UserError(
            f"network {network['class']} cannot be built",
            found=problem,
            expected="an importable torch module and its keyword arguments",
            where="config: pool.given",
            next="correct `class` and `arguments`, or install the package",
        )
    tensors = read_weights(weights, next="save the network's state_dict again")
    places = [
        prefix
        for prefix in prefixes(tensors, len(model.state_dict()))
        if f"{prefix}{next(iter(model.state_dict()))}" in tensors
    ]
    place = places[0] if places else ""
    fill(model, {name.removeprefix(place): t for name, t in tensors.items() if name.startswith(place)}, weights)
    return model.eval()


def fill(model: nn.Module, tensors: Mapping[str, Tensor], weights: Path) -> None:
    """Load the tensors, all of the network's. Raises `UserError` where they do not fit."""
    wanted = model.state_dict()
    if problems := mismatches(tensors, wanted):
        raise UserError(
            "weights do not fit the network",
            found=f"{len(problems)} of {len(wanted)} tensors differ: {'; '.join(problems[:5])}",
            expected=f"the tensors of this {type(model).__name__}, encoder and decoder",
            where=weights,
            next="give the class and arguments that the weights were trained with; a pool holds networks with a decoder",
        )
    model.load_state_dict(dict(tensors))


def check_output(
    model: nn.Module, channels: int, window: Sequence[int], place: torch.device, name: str, outputs: int | None = None
) -> None:
    """Raises `UserError` unless the network makes a map of the window's size from a window."""
    with torch.inference_mode():
        try:
            found = model(torch.zeros(1, channels, *window, device=place))
            fits = isinstance(found, Tensor) and found.shape[2:] == tuple(window)
            fits = fits and outputs in (None, found.shape[1])
            problem = "" if fits else str(getattr(found, "shape", type(found)))
        except Exception as error:  # networks can raise anything
            problem = reason(error)
    if problem:
        raise UserError(
            f"network {name} does not segment windows of {list(window)}",
            found=problem,
            expected=f"logits (1, {outputs or 'classes'}, {', '.join(map(str, window))})",
            where="config: pool.given",
            next="correct `window`, `dimensions` or `channels`, or choose a network that returns one tensor of logits",
        )
