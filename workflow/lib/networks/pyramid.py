"""Any timm encoder as a feature pyramid, its pretrained weights, and one decoder that fits every such pyramid.

Encoders: timm (https://github.com/huggingface/pytorch-image-models). Decoder: the UNetDecoder of MONAI's FlexibleUNet.
"""

import difflib
import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import zip_longest
from typing import Any
from unittest.mock import patch

import timm
import torch
from timm.models import load_model_config_from_hf, load_state_dict_from_hf, resolve_pretrained_cfg
from timm.models._hub import load_model_config_from_path
from torch import Tensor, nn
from torch.nn import functional

from workflow.lib.job.run import UserError
from workflow.lib.networks.families import family
from workflow.lib.networks.file_kinds import weights_in
from workflow.lib.networks.fit import COUNTER, Fit, Tensors, equal, fit, prefixes
from workflow.lib.networks.hub import unavailable
from workflow.lib.networks.weights import read_weights
from workflow.lib.study.checkpoints import HUB, LOCAL_DIR

log = logging.getLogger("medseg")

SHOWN = 5  # names in an error
PLAIN = (4, 8, 16, 32)  # reductions of the pyramid that a plain transformer's maps are resampled to


class TimmEncoder(nn.Module):
    """A timm encoder built for square images of `image_size` pixels, initialised from torch's global generator.

    `channels` and `reductions` (input pixels per position, powers of two) describe its maps, shallow to deep. Of maps of one
    size only the deepest is kept. But plain transformers, whose maps are all of one size, give those of four evenly spaced
    `blocks`, resampled to 1/4, 1/8, 1/16 and 1/32 of the image. Where the width of their patches is no power of two, they get
    images of `side` pixels, so that a patch is 16 pixels of the given ones. `mean` and `std` (red, green, blue) are applied to
    the images; None: those that timm's weights of that name were made with.
    Raises `UserError` when timm has no such encoder, or it gives no such pyramid, or not at this image size.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, name: str, image_size: int, mean: Sequence[float] | None = None, std: Sequence[float] | None = None
    ) -> None:
        super().__init__()
        config, info = config_of(name), _feature_info(name, image_size)
        own = {key: (getattr(config, key) * 3)[:3] for key in ("mean", "std")}  # weights of one channel have one number
        levels = {reduction: level for level, reduction in enumerate(info.reduction())}  # the deepest of each size
        self.levels, self.reductions = list(levels.values()), list(levels)
        self.channels = [info.channels()[level] for level in self.levels]
        self.side, self.blocks = image_size, list[int]()
        if _is_plain(info):
            self.levels, self.reductions, self.channels = [0, 1, 2, 3], list(PLAIN), self.channels * 4
            self.blocks = [(info.out_indices[-1] + 1) * (i + 1) // 4 - 1 for i in range(4)]
            patch = info.reduction()[0]
            self.side = image_size if patch.bit_count() == 1 else image_size // 16 * patch
        self.register_buffer("mean", torch.tensor(mean or own["mean"]).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std or own["std"]).view(3, 1, 1), persistent=False)
        sizes = [(c, image_size // r, image_size // r) for c, r in zip(self.channels, self.reductions, strict=True)]
        # timm's tables know neither which sizes a model's attention can take nor how its convolutions round them.
        other_size = ""
        try:
            chosen = {"out_indices": self.blocks} if self.blocks else {}
            self.network = _create(name, self.side, features_only=True, **chosen)
            with torch.no_grad():
                found: Any = [tuple(x.shape[1:]) for x in self.eval()(torch.zeros(1, 3, image_size, image_size))]
            self.train()
        except Exception as error:  # assertions, shape errors and others: every model has its own
            found, other_size = repr(error), f", or the size it was made for, {config.input_size[-1]} pixels"
        if found != sizes:
            raise _refused(
                f"timm's encoder {name} does not work with images of {image_size} pixels",
                found=found,
                expected=f"maps (channels, height, width) {sizes}",
                next=f"use another encoder{other_size}",
            )

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images (n, 3, s, s), in 0..1, to maps (n, c, s / reduction, s / reduction), shallow to deep."""
        size, images = images.shape[-1], (images - self.mean) / self.std
        if size != self.side:
            images = functional.interpolate(images, size=(self.side, self.side), mode="bilinear", antialias=True)
        maps = self.network(images)
        if getattr(self.network, "output_fmt", "NCHW") == "NHWC":  # timm's older extractors, of CNNs, do not say it
            maps = [x.permute(0, 3, 1, 2) for x in maps]
        maps = [maps[level] for level in self.levels]
        if self.blocks:
            maps = [_resampled(x, size // reduction) for x, reduction in zip(maps, self.reductions, strict=True)]
        return maps


class PyramidDecoder(nn.Module):
    """MONAI's UNetDecoder with FlexibleUNet's settings, and a 1x1 convolution to logits, for any pyramid of x2 steps.

    A step to `r` input pixels per position has 16 r channels, at most 256: FlexibleUNet's widths. Steps for which the
    pyramid has no map go without skip connection, and so does UNetDecoder's last step, to full resolution.
    """

    def __init__(self, channels: list[int], reductions: list[int], outputs: int) -> None:
        super().__init__()
        # Here and not above: monai's import takes seconds, and only timm's encoders need it.
        from monai.networks.nets.flexible_unet import UNetDecoder

        steps = reductions[-1].bit_length() - 1
        widths = [min(256, 16 * 2**step) for step in reversed(range(steps))]
        channels_of = dict(zip(reductions, channels, strict=True))
        self.reductions, self.wanted = reductions, [2 ** (step + 1) for step in range(steps)]
        self.decoder = UNetDecoder(
            spatial_dims=2,
            encoder_channels=[0, *(channels_of.get(reduction, 0) for reduction in self.wanted)],
            decoder_channels=widths,
            act=("relu", {"inplace": True}),
            norm=("batch", {"eps": 1e-3, "momentum": 0.1}),
            dropout=0.0,
            bias=False,
            upsample="nontrainable",
            pre_conv="default",
            interp_mode="nearest",
            align_corners=None,
            is_pad=False,
        )
        self.head = nn.Conv2d(widths[-1], outputs, 1)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Maps (n, c, s / reduction, s / reduction), shallow to deep, to logits (n, outputs, s, s)."""
        maps = dict(zip(self.reductions, features, strict=True))
        skips = [maps.get(reduction) for reduction in self.wanted]  # UNetDecoder's blocks take None for no skip
        return self.head(self.decoder(skips, skip_connect=len(skips) - 1))


def pretrained_tensors(name: str, weights: str, image_size: int, part: str | None = None) -> dict[str, Tensor]:
    """The state dict of `TimmEncoder(name, image_size)` from pretrained weights: see `find_pretrained`."""
    return find_pretrained(name, weights, image_size, part)[0]


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


def _refused(what: str, *, found: object, expected: str, next: str) -> UserError:
    where = "the timm encoder's name and image size in the config"
    return UserError(what, found=found, expected=expected, where=where, next=next)


def config_of(name: str) -> Any:
    """timm's record of a model. Raises `UserError` when there is no such model."""
    return _found(name)[0]


def _create(name: str, image_size: int, **arguments: Any) -> Any:
    """A model of timm, for the image size if it needs one."""
    if config_of(name).fixed_input_size:
        arguments["img_size"] = image_size
    return create(name, **arguments)


def create(name: str, **arguments: Any) -> Any:
    """A model of timm for images of three channels."""
    architecture, own = call_of(name)
    return timm.create_model(architecture, **own | arguments)


def call_of(name: str) -> tuple[str, dict[str, Any]]:
    """The name by which timm builds a model without its config.json, and the arguments from there."""
    return _found(name)[1:]


@cache
def _found(name: str) -> tuple[Any, str, dict[str, Any]]:
    """timm's record of a model, its name without a place, and its own arguments. Those of hf-hub:<owner>/<name>[@<revision>] and
    local-dir:<folder> are in the config.json there, in timm's format."""
    if not name.startswith((HUB, LOCAL_DIR)):
        known = [*timm.list_models(), *timm.list_models(include_tags=True)]
        if name in known:
            return timm.get_pretrained_cfg(name), name, {}
        close = difflib.get_close_matches(name, known, n=SHOWN)
        near = f", such as {', '.join(close)}" if close else ""
        raise _refused(
            "unknown timm encoder",
            found=name,
            expected=f"a name that timm knows{near}; or one that begins with {HUB} or {LOCAL_DIR}",
            next="correct the name; python -c 'import timm; print(*timm.list_models())' lists all",
        )
    where, is_folder = name.partition(":")[2], name.startswith(LOCAL_DIR)
    try:
        read = load_model_config_from_path if is_folder else load_model_config_from_hf
        config, architecture, arguments = read(where)
        record = resolve_pretrained_cfg(architecture, config)
        if not timm.is_model(architecture):
            raise ValueError(f"{architecture} is no architecture of timm")
    except Exception as error:  # the hub's client and its HTTP library have errors of their own
        raise unavailable(name, None if is_folder else where, error) from error
    return record, architecture, {key: value for key, value in arguments.items() if key != "in_chans"}


def _feature_info(name: str, image_size: int) -> Any:
    """timm's table of a model's maps. Raises `UserError` when the pyramid or the image size is not supported."""
    try:
        with torch.device("meta"):  # no memory, and no draws from the generator
            info: Any = create(name, features_only=True).feature_info
    except Exception as error:  # timm has no one error for it
        raise _refused(
            f"timm's encoder {name} gives no feature maps",
            found=repr(error),
            expected="a model that timm.create_model(..., features_only=True) supports",
            next="use another encoder",
        ) from error
    reductions = list(PLAIN) if _is_plain(info) else info.reduction()
    deepest = reductions[-1]
    if any(reduction.bit_count() != 1 for reduction in reductions):
        raise _refused(
            f"timm's encoder {name} gives no pyramid of x2 steps",
            found=f"maps of 1/{', 1/'.join(map(str, reductions))} of the image's size",
            expected="powers of two: the decoder goes up to full resolution in steps of x2",
            next="use another encoder",
        )
    if image_size % deepest:
        below = max(image_size // deepest, 1) * deepest
        raise _refused(
            f"timm's encoder {name} cannot take images of {image_size} pixels",
            found=f"image size {image_size}",
            expected=f"a multiple of {deepest}, such as {below} or {below + deepest}",
            next="change the image size, or use another encoder",
        )
    return info


def _is_plain(info: Any) -> bool:
    """Whether the maps of a model are all of one size, after blocks: vision transformers and their like."""
    reductions = info.reduction()
    return len(reductions) > 1 == len(set(reductions)) and all(
        name.startswith("blocks.") for name in info.module_name()
    )


def _resampled(x: Tensor, size: int) -> Tensor:
    """Maps (n, c, s, s) as (n, c, size, size): means of smaller squares, or interpolated."""
    if x.shape[-1] > size:
        return functional.avg_pool2d(x, x.shape[-1] // size)
    return functional.interpolate(x, size=(size, size), mode="bilinear") if x.shape[-1] < size else x


def _classifier(name: str, image_size: int) -> tuple[nn.Module, Callable[[Tensors], Tensors]]:
    """timm's whole model, names and shapes alone, and its converter of checkpoints.

    timm has no public way to the converter. Only timm's loader receives it, which is therefore replaced while the model is
    built. Loading through it (`pretrained_cfg_overlay` with `file` or `state_dict`) would be no check: it lets tensors of some
    models be missing (DLA's, for one), and draws what is missing. A module's `checkpoint_filter_fn` is a habit of some modules.
    """
    # The number of classes does not matter, as the encoder has no classifier; but files may have one.
    with torch.device("meta"), patch("timm.models._builder.load_pretrained") as loader:
        model = _create(name, image_size, pretrained=True, num_classes=1000)
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
