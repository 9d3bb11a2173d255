"""Any timm encoder as a feature pyramid, and one decoder that fits every such pyramid.

The decoder is the UNetDecoder of MONAI's FlexibleUNet.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from workflow.lib.networks.timm_models import config_of, create, for_size, refused

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
            self.network = for_size(name, self.side, features_only=True, **chosen)
            with torch.no_grad():
                found: Any = [tuple(x.shape[1:]) for x in self.eval()(torch.zeros(1, 3, image_size, image_size))]
            self.train()
        except Exception as error:  # assertions, shape errors and others: every model has its own
            found, other_size = repr(error), f", or the size it was made for, {config.input_size[-1]} pixels"
        if found != sizes:
            raise refused(
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


def _feature_info(name: str, image_size: int) -> Any:
    """timm's table of a model's maps. Raises `UserError` when the pyramid or the image size is not supported."""
    try:
        with torch.device("meta"):  # no memory, and no draws from the generator
            info: Any = create(name, features_only=True).feature_info
    except Exception as error:  # timm has no one error for it
        raise refused(
            f"timm's encoder {name} gives no feature maps",
            found=repr(error),
            expected="a model that timm.create_model(..., features_only=True) supports",
            next="use another encoder",
        ) from error
    reductions = list(PLAIN) if _is_plain(info) else info.reduction()
    deepest = reductions[-1]
    if any(reduction.bit_count() != 1 for reduction in reductions):
        raise refused(
            f"timm's encoder {name} gives no pyramid of x2 steps",
            found=f"maps of 1/{', 1/'.join(map(str, reductions))} of the image's size",
            expected="powers of two: the decoder goes up to full resolution in steps of x2",
            next="use another encoder",
        )
    if image_size % deepest:
        below = max(image_size // deepest, 1) * deepest
        raise refused(
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
