"""The pixels at which label scores look at features: drawn once per target, the same for every checkpoint."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from workflow.lib.data.prepared import Prepared
from workflow.lib.run import UserError, derive_seed
from workflow.lib.score.applies import Array

SAMPLES = ("balanced", "natural")


@dataclass(frozen=True)
class TargetImages:
    """Training images of a target as fine-tuning sees them.

    images: (n, 3, s, s) in 0..1, but where the protocol leaves intensities raw; masks: (n, s, s) uint8, 0 the background, or
    None; groups: (n,) patients.
    """

    images: Tensor
    masks: Array | None
    groups: Array


@dataclass(frozen=True)
class Pixels:
    """A sample of n pixels, sorted by image: number of the image, place in 0..1, class (0: background), patient; all (n,)."""

    image: Array
    y: Array
    x: Array
    label: Array
    group: Array


def target_images(data: Prepared, count: int, seed: int) -> TargetImages:
    """`count` training images (all, if there are fewer): chosen and ordered by `seed`, the same for every checkpoint.

    Of sets that are trained in windows, the centre of each image. Raises `UserError` for fewer than two images.
    """
    rows = data.items[data.items["part"] == "train"]
    rows = rows.sample(min(count, len(rows)), random_state=seed % 2**32)
    if len(rows) < 2:
        raise UserError(
            f"too few training images of {data.card['target']} to score",
            found=len(rows),
            expected="2 or more",
            where="split.csv of this target",
            next="add images, or raise train_cases in the config",
        )
    size = data.card["image_size"]
    images = torch.from_numpy(np.array([data.images[row] for row in rows.index])).float()
    masks = np.array([data.masks[row] for row in rows.index])
    top, left = (images.shape[2] - size) // 2, (images.shape[3] - size) // 2
    centre = (..., slice(top, top + size), slice(left, left + size))
    scale = torch.tensor(rows["scale"].to_numpy(), dtype=torch.float32).view(-1, 1, 1, 1)
    return TargetImages(
        (images[centre] / scale).expand(-1, 3, -1, -1).contiguous(),
        masks[centre] if data.card["classes"] else None,
        rows["group"].to_numpy(),
    )


def sample_pixels(masks: Array, groups: Array, count: int, sample: str, seed: int) -> Pixels:
    """About `count` pixels of masks (n, s, s), without repeats.

    sample: `natural`, as many of every image, at random; `balanced`, as many of every class as far as there are, spread
    evenly over the images that have it.
    """
    rng = np.random.default_rng(derive_seed(seed, sample))
    flat = masks.reshape(len(masks), -1)
    picks: list[tuple[int, Array]] = []
    classes = np.unique(flat) if sample == "balanced" else [None]
    for name in classes:
        having = [i for i in range(len(flat)) if name is None or (flat[i] == name).any()]
        share = -(-count // (len(classes) * len(having)))
        for i in having:
            places = np.arange(flat.shape[1]) if name is None else np.flatnonzero(flat[i] == name)
            picks.append((i, rng.choice(places, min(share, len(places)), replace=False)))
    image = np.concatenate([np.full(len(places), i) for i, places in picks])
    place = np.concatenate([places for _, places in picks])
    order = np.argsort(image, kind="stable")
    image, place = image[order], place[order]
    y, x = np.divmod(place, masks.shape[2])
    return Pixels(image, (y + 0.5) / masks.shape[1], (x + 0.5) / masks.shape[2], flat[image, place], groups[image])


def at_pixels(level: Tensor, pixels: Pixels) -> Array:
    """Features (n, C) float64 of a level, maps (images, C, h, w) or tokens (images, h * w, C) of square maps, in the cells
    that hold the pixels."""
    if level.ndim == 3:
        side = round(level.shape[1] ** 0.5)
        level = level.transpose(1, 2).unflatten(2, (side, side))
    rows = torch.from_numpy((pixels.y * level.shape[2]).astype(np.int64))
    columns = torch.from_numpy((pixels.x * level.shape[3]).astype(np.int64))
    return level[torch.from_numpy(pixels.image), :, rows, columns].double().numpy()
