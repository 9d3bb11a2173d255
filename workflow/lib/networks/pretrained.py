"""Pretrained weights for timm encoders: timm's own, or a file's, of which all wanted tensors are found or an error says why."""

import inspect
import logging
from collections.abc import Callable, Mapping
from itertools import zip_longest
from typing import Any
from unittest.mock import patch

import torch
from timm.models import load_state_dict_from_hf
from torch import Tensor, nn

from workflow.lib.job.run import UserError
from workflow.lib.networks.families import family
from workflow.lib.networks.file_kinds import weights_in
from workflow.lib.networks.fit import COUNTER, Fit, Tensors, equal, fit, prefixes
from workflow.lib.networks.hub import unavailable
from workflow.lib.networks.pyramid import TimmEncoder
from workflow.lib.networks.timm_models import SHOWN, config_of, for_size
from workflow.lib.networks.weights import read_weights
from workflow.lib.study.checkpoints import LOCAL_DIR

log = logging.getLogger("medseg")


def find_pretrained(
    name: str, weights: str, image_size: int, part: str | None = None
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The state dict of `TimmEncoder(name, image_size)` from pretrained weights, "timm" (its hub's) or a file's path, and what
    the card says of it: the `prefix` of the names, what else was `ignored`, how many counters were `filled`, and the convolutions
    of one channel that were spread to three (`grey`).

    The prefix is the one below which all tensors of the encoder are, which may be that of a network around it; `part`: what it
    begins with, where several fit. Files of other software and for other image sizes are converted as timm does. Raises
    `UserError` when the weights are not available or unreadable, hold a part of an encoder that this model does not have, lack
    a tensor of the encoder's, or have it in another shape or not finite: no weight is ever a random one.
    """
    with torch.device("meta"):  # names and shapes alone
        encoder = TimmEncoder(name, image_size)
    wanted = encoder.network.state_dict()
    tensors = _download(name) if weights == "timm" else read_weights(weights)
    model, convert = _classifier(name, encoder.side)
    least = sum(not key.endswith(COUNTER) for key in wanted) // 2  # converters may join tensors
    tried = [fit(tensors, prefix, wanted, model, convert) for prefix in prefixes(tensors, least)]
    fits = [found for found in tried if not found.problems]
    if not fits:
        near = min(tried, key=lambda found: found.problems)
        raise _no_fit(name, weights, image_size, wanted, near, tensors)
    asked = [found for found in fits if part is None or f"{found.prefix}.".startswith(f"{part}.")]
    different = [found for i, found in enumerate(asked) if not any(equal(found.tensors, f.tensors) for f in asked[:i])]
    if len(different) != 1:
        names = [repr(found.prefix.removesuffix(".")) for found in different or fits]
        raise UserError(
            "several sets of weights fit the encoder" if different else "no such part of the weights fits the encoder",
            found=", ".join(names),
            expected=f"one below {part}" if part else "one, or equal ones",
            where=weights,
            next=f"choose one in this encoder's entry of the config, for example part: {names[-1]}",
        )
    chosen = asked[-1]  # of equal ones the longest prefix, so that what a converter drops is counted as ignored
    if bad := [key for key, tensor in chosen.tensors.items() if not tensor.isfinite().all()]:
        raise UserError(
            "pretrained weights with values that are not finite",
            found=f"NaN or infinity in {len(bad)} of {len(wanted)} tensors: {', '.join(bad[:SHOWN])}",
            expected="finite numbers",
            where=weights,
            next="take an earlier checkpoint of that training, or one in float32: half precision may have overflowed",
        )
    taken = {"prefix": chosen.prefix, "ignored": chosen.ignored, "filled": chosen.filled, "grey": chosen.grey}
    log.info("%s: %d tensors%s", weights, len(wanted), _told(taken))
    return {f"network.{key}": tensor for key, tensor in chosen.tensors.items()}, taken


def _told(taken: Mapping[str, Any]) -> str:
    """What was taken off and left aside, in words."""
    below = f" below {taken['prefix']}" if taken["prefix"] else ""
    counts = ", ".join(f"{name} ({count})" for name, count in taken["ignored"].items())
    aside = f"; ignored, with their number of tensors: {counts}" if counts else ""
    filled = f"; {taken['filled']} counters of batch norm set to 0" if taken["filled"] else ""
    return (
        below
        + aside
        + filled
        + (f"; {', '.join(taken['grey'])} spread from one channel to three" * bool(taken["grey"]))
    )


def _no_fit(
    name: str, weights: str, image_size: int, wanted: Mapping[str, Tensor], near: Fit, tensors: Mapping[str, Tensor]
) -> UserError:
    """The error about `tensors` of which none fit; `near`: those that come closest."""
    some = zip_longest(near.missing, near.unknown, near.misshaped)
    shown = [problem for problems in some for problem in problems if problem][:SHOWN]
    counts = f"{len(near.missing)} tensors missing, {len(near.unknown)} unknown, {len(near.misshaped)} of another shape"
    below = f" (below {near.prefix})" if near.prefix else ""
    found = f"{counts}{below}: {'; '.join(shown + [near.failure] * bool(near.failure))}"
    whose = family(tensors) or _other_shape(wanted, near, image_size)
    return UserError(
        "pretrained weights do not fit the encoder",
        found=f"{whose[0]}; {found}" if whose else found,
        expected=f"the {len(wanted)} tensors of timm's encoder {name} at {image_size} pixels",
        where=weights,
        next=whose[1] if whose else "name the timm model that the weights belong to, or give other weights",
    )


def _other_shape(wanted: Mapping[str, Tensor], near: Fit, image_size: int) -> tuple[str, str] | None:
    """Of weights for other images (number of channels, or size, as SAM's): what they are, and what to do."""
    for key, tensor in near.tensors.items():
        if (
            tensor.ndim == wanted[key].ndim == 4
            and wanted[key].shape[1] == 3
            and len(near.misshaped) == 1 == near.problems
        ):
            return (
                f"weights for images of {tensor.shape[1]} channels",
                "images have 3 here: name weights for 3 channels, or for 1",
            )
        if key.endswith("pos_embed") and tensor.ndim == wanted[key].ndim == 4 and not near.missing + near.unknown:
            size = image_size * tensor.shape[1] // wanted[key].shape[1]
            return f"weights for images of {size} pixels, as SAM's", f"set image_size: {size} in the config"
    return None


def _classifier(name: str, image_size: int) -> tuple[nn.Module, Callable[[Tensors], Tensors]]:
    """timm's whole model, names and shapes alone, and its converter of checkpoints.

    timm has no public way to the converter. Only timm's loader receives it, which is therefore replaced while the model is
    built. Loading through it (`pretrained_cfg_overlay` with `file` or `state_dict`) would be no check: it lets tensors of some
    models be missing (DLA's, for one), and draws what is missing. A module's `checkpoint_filter_fn` is a habit of some modules.
    """
    # The number of classes does not matter, as the encoder has no classifier; but files may have one.
    with torch.device("meta"), patch("timm.models._builder.load_pretrained") as loader:
        model = for_size(name, image_size, pretrained=True, num_classes=1000)
    convert = loader.call_args.kwargs["filter_fn"]
    if convert is None:
        return model, lambda tensors: tensors
    takes = len(inspect.signature(convert).parameters)
    return model, lambda tensors: convert(*(tensors, model)[:takes])


def _download(name: str) -> dict[str, Tensor]:
    if name.startswith(LOCAL_DIR):
        return read_weights(weights_in(name.removeprefix(LOCAL_DIR)))
    config = config_of(name)
    try:
        filename = {"filename": config.hf_hub_filename} if config.hf_hub_filename else {}
        return load_state_dict_from_hf(config.hf_hub_id, weights_only=True, **filename)
    except Exception as error:  # the hub's client and its HTTP library have errors of their own beside OSError
        raise unavailable(name, config.hf_hub_id, error) from error
