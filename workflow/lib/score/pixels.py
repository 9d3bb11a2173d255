"""The pixels whose features label scores use: drawn once per target, the same for every checkpoint."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from workflow.lib.data.prepared import Prepared, inside
from workflow.lib.job.run import UserError, derive_seed
from workflow.lib.score.applies import Array

SAMPLES = ("balanced", "natural")
PADDING = 255  # label of pixels around the image


@dataclass(frozen=True)
class TargetImages:
    """Training images of a target as fine-tuning sees them.

    images: (n, 3, s, s) in 0..1, but where the protocol leaves intensities raw; statistics: (n, 2) float32, mean and SD of the
    volume or picture that each is of; masks: (n, s, s) uint8, 0 the background, `PADDING` around the image, or None; groups:
    (n,) patients.
    """

    images: Tensor
    statistics: Tensor
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

    Chosen as `choose` says. Of sets that are trained in windows, the centre of each image. Raises `UserError` for fewer than
    two images.
    """
    rows = data.items[data.items["part"] == "train"]
    if len(rows) < 2:
        raise UserError(
            f"too few training images of {data.card['target']} to score",
            found=len(rows),
            expected="2 or more",
            where="split.csv of this target",
            next="add images of more patients, or remove train_cases of this target from the config",
        )
    size, classes = data.card["image_size"], len(data.card["classes"])
    top, left = (data.images.shape[2] - size) // 2, (data.images.shape[3] - size) // 2
    centre = (..., slice(top, top + size), slice(left, left + size))
    shown = np.zeros((len(rows), classes), dtype=bool)
    for i, row in enumerate(rows.index if classes else []):
        shown[i] = np.bincount(data.masks[row][centre].ravel(), minlength=classes + 1)[1:] > 0
    rows = rows.iloc[choose(shown, rows["group"].to_numpy(), count, np.random.default_rng(seed))]
    images = torch.from_numpy(np.array([data.images[row][centre] for row in rows.index])).float()
    scale = torch.tensor(rows["scale"].to_numpy(), dtype=torch.float32).view(-1, 1, 1, 1)
    padded = [np.where(inside(data, row), data.masks[row], PADDING)[centre] for row in rows.index]
    return TargetImages(
        (images / scale).expand(-1, 3, -1, -1).contiguous(),
        torch.from_numpy(data.statistics[rows.index]),
        np.array(padded, np.uint8) if classes else None,
        rows["group"].to_numpy(),
    )


def choose(shown: Array, groups: Array, count: int, rng: np.random.Generator) -> Array:
    """Numbers of `count` images, or all, in random order, of images that show these classes (N, K) of these patients (N,).

    One in K + 1 is wanted to show each class, as far as there are such images, and one in K + 1 whatever comes; each is of a
    patient with the fewest images so far. At random alone, a small set of volumes may show next to nothing.
    """
    _, members = np.unique(groups, return_inverse=True)
    # Patients in random order, then images.
    ties = rng.permutation(members.max() + 1)[members] + rng.random(len(members))
    left, taken = np.ones(len(members), dtype=bool), np.zeros(members.max() + 1, dtype=int)
    chosen: list[int] = []
    for slot in range(min(count, len(members))):
        want = slot % (shown.shape[1] + 1)
        able = left & shown[:, want] if want < shown.shape[1] else left
        images = np.flatnonzero(able if able.any() else left)
        images = images[taken[members[images]] == taken[members[images]].min()]
        chosen.append(images[ties[images].argmin()])
        left[chosen[-1]] = False
        taken[members[chosen[-1]]] += 1
    return rng.permutation(chosen)


def shares(total: int, available: Array) -> Array:
    """How many of `total` come from each, as even as what is available (n,) allows: what one lacks, the others give."""
    given = np.zeros_like(available)
    while rest := min(total, available.sum()) - given.sum():
        able = np.flatnonzero(given < available)[:rest]
        given[able] += np.minimum(available[able] - given[able], max(1, rest // len(able)))
    return given


def sample_pixels(masks: Array, groups: Array, count: int, sample: str, seed: int) -> Pixels:
    """`count` pixels of masks (n, s, s), or all but padding, without repeats; more where `count` is below the number of patients.

    sample: `natural`, as many of every image, at random; `balanced`, as many of every class, of every patient who has it, and of
    every image of this patient that shows it. What one lacks, the others give.
    """
    rng = np.random.default_rng(derive_seed(seed, sample))
    flat = masks.reshape(len(masks), -1)
    names = np.setdiff1d(flat, PADDING)
    if sample == "natural":
        wanted = [(None, i, n) for i, n in enumerate(shares(count, (flat != PADDING).sum(axis=1)))]
    else:
        found = np.array([np.bincount(row, minlength=names[-1] + 1)[names] for row in flat])
        wanted = [
            (name, i, n)
            for name, of_class, total in zip(names, found.T, shares(count, found.sum(axis=0)), strict=True)
            for i, n in enumerate(_by_patient(of_class, groups, int(total)))
        ]
    return _drawn(masks, groups, wanted, rng)


def sample_points(masks: Array, groups: Array, most: int, seed: int) -> Pixels:
    """Pixels of masks (n, s, s): of every image `most` of every class that it shows, or all of these."""
    rng = np.random.default_rng(derive_seed(seed, "points"))
    wanted = [
        (name, i, min(most, n))
        for i, mask in enumerate(masks)
        for name, n in zip(*np.unique(mask[mask != PADDING], return_counts=True), strict=True)
    ]
    return _drawn(masks, groups, wanted, rng)


def _drawn(
    masks: Array, groups: Array, wanted: Sequence[tuple[int | None, int, int]], rng: np.random.Generator
) -> Pixels:
    """Pixels by what is wanted: a class or None, the number of an image, how many."""
    flat = masks.reshape(len(masks), -1)
    picks: list[tuple[int, Array]] = []
    for name, i, n in wanted:
        places = np.flatnonzero(flat[i] != PADDING if name is None else flat[i] == name)
        picks.append((i, rng.choice(places, n, replace=False)))
    image = np.concatenate([np.full(len(places), i) for i, places in picks])
    place = np.concatenate([places for _, places in picks])
    order = np.argsort(image, kind="stable")
    image, place = image[order], place[order]
    y, x = np.divmod(place, masks.shape[2])
    return Pixels(image, (y + 0.5) / masks.shape[1], (x + 0.5) / masks.shape[2], flat[image, place], groups[image])


def _by_patient(available: Array, groups: Array, total: int) -> Array:
    """How many of `total` pixels each image (n,) gives, of the patients `groups` (n,): as even over patients, then over their
    images, as what is available (n,) allows, and one pixel at least of every patient who has any."""
    _, members = np.unique(groups, return_inverse=True)
    patients = np.bincount(members, available).astype(int)
    given = np.zeros_like(available)
    for patient, share in enumerate(shares(max(total, int((patients > 0).sum())), patients)):
        given[members == patient] = shares(share, available[members == patient])
    return given


def at_pixels(level: Tensor, pixels: Pixels) -> Array:
    """Features (n, C) float64 of a level, maps (images, C, h, w) or tokens (images, h * w, C) of square maps, in the cells
    that hold the pixels."""
    if level.ndim == 3:
        side = round(level.shape[1] ** 0.5)
        level = level.transpose(1, 2).unflatten(2, (side, side))
    rows = torch.from_numpy((pixels.y * level.shape[2]).astype(np.int64))
    columns = torch.from_numpy((pixels.x * level.shape[3]).astype(np.int64))
    return level[torch.from_numpy(pixels.image), :, rows, columns].double().numpy()
