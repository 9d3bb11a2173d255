"""Features of a segmentation network's decoder, in 2-D or 3-D, for CC-FV, which was made for them.

ImageNet checkpoints have no decoder: `snakemake pool` calls this for networks that were trained to segment.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from monai.inferers.utils import sliding_window_inference
from torch import Tensor, nn
from torch.nn.functional import interpolate

from workflow.lib.job.run import UserError
from workflow.lib.score.applies import Array
from workflow.lib.score.ccfv import Layer


def decoder_layers(
    network: nn.Module,
    modules: Sequence[str],
    images: Sequence[Tensor],
    masks: Sequence[Array],
    *,
    window: Sequence[int],
    points: Sequence[int],
    seed: int,
    channels_last: bool = False,
) -> list[Layer]:
    """For each of `modules` (names as in `network.named_modules()`) what `ccfv_published` and `ccfv_code` take: its output at
    sampled voxels of every class of every image.

    images: (C, H, W) or (C, D, H, W), of any size, as the network wants them; masks: (H, W) or (D, H, W), classes 0..K. The
    network sees windows of the size `window` (pixels or voxels), which MONAI slides without overlap, and pads where an image is
    smaller.
    An output is interpolated linearly to its window; a voxel in two windows, as the last ones reach back, has the first one's.
    channels_last: whether the modules put out (n, h, w, c), as Swin's do.
    points: for each module the most voxels of a class and image that are drawn, without replacement. They depend on `seed` and
    the masks alone, so that all networks are compared at the same ones. Raises `UserError` for a module that is not there.
    """
    found: list[list[dict[int, Array]]] = [[] for _ in modules]
    rng = np.random.default_rng(seed)
    device = next(network.parameters()).device
    with _outputs(network.eval(), modules, channels_last) as outputs, torch.inference_mode():
        for image, mask in zip(images, masks, strict=True):
            chosen = [_sample(mask, most, rng) for most in points]
            values = _at(network, outputs, modules, image.to(device), tuple(window), chosen)
            for layer, (places, features) in zip(found, zip(chosen, values, strict=True), strict=True):
                classes = mask[tuple(places.T)]
                layer.append({int(name): features[classes == name] for name in np.unique(classes)})
    return list(found)


@contextmanager
def _outputs(network: nn.Module, modules: Sequence[str], channels_last: bool) -> Iterator[dict[str, Tensor]]:
    """What the modules put out in the latest forward pass, (n, C, ...)."""
    known = dict(network.named_modules())
    if missing := [name for name in modules if name not in known]:
        raise UserError(
            "no such module in the network",
            found=", ".join(missing),
            expected=f"names among {', '.join(filter(None, known))}",
            where=type(network).__name__,
            next="choose the stages of its decoder",
        )
    seen: dict[str, Tensor] = {}

    def keep(name: str, output: Tensor) -> None:
        seen[name] = output.movedim(-1, 1) if channels_last else output

    hooks = [known[name].register_forward_hook(lambda *io, name=name: keep(name, io[2])) for name in modules]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _sample(mask: Array, most: int, rng: np.random.Generator) -> Array:
    """Places (n, dimensions) of at most `most` voxels of every class."""
    parts = []
    for name in np.unique(mask):
        places = np.argwhere(mask == name)
        parts.append(places[rng.choice(len(places), min(most, len(places)), replace=False)])
    return np.concatenate(parts)


def _at(
    network: nn.Module,
    outputs: dict[str, Tensor],
    modules: Sequence[str],
    image: Tensor,
    window: tuple[int, ...],
    chosen: Sequence[Array],
) -> list[Array]:
    """Features (n, C) of every module at its places (n, dimensions) of one image."""
    padding = np.array([max(side - size, 0) // 2 for side, size in zip(window, image.shape[1:], strict=True)])
    mode = "bilinear" if len(window) == 2 else "trilinear"
    values: list[Array] = [np.empty(0)] * len(modules)
    waiting = [np.ones(len(places), dtype=bool) for places in chosen]

    def predictor(windows: Tensor, where: Sequence[Sequence[slice]]) -> Tensor:
        network(windows)
        start = np.array([axis.start for axis in where[0][2:]])
        for i, name in enumerate(modules):
            maps = interpolate(outputs[name].float(), size=window, mode=mode, align_corners=False)[0].cpu().numpy()
            local = chosen[i] + padding - start
            here = waiting[i] & ((local >= 0) & (local < window)).all(axis=1)
            if not values[i].size:
                values[i] = np.empty((len(chosen[i]), len(maps)))
            values[i][here] = maps[(slice(None), *local[here].T)].T
            waiting[i] &= ~here
        return windows[:, :1]  # MONAI puts together what it is given, and nobody looks at that

    sliding_window_inference(image[None], window, 1, predictor, overlap=0.0, with_coord=True)
    return values
