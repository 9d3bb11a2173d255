"""Scores from features at sampled pixels: with labels, and with the source's classifier."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.special import softmax
from torch import Tensor

from workflow.lib.evidence.intervals import half_width
from workflow.lib.job.run import Progress, derive_seed
from workflow.lib.score.applies import Array, NotApplicable, centred, principal_axes
from workflow.lib.score.ccfv import Layer
from workflow.lib.score.pixels import SAMPLES, Pixels, TargetImages, at_pixels, sample_pixels, sample_points
from workflow.lib.score.registry import SCORES, Sample
from workflow.lib.score.robustness import CHUNK, Features

# Of CC-FV: points of every class in every image, as its authors take (100 to 400), and dimensions. Its distances of Gaussians
# are too large by a tenth or less then, and by more than the distance itself of 8 points (docs/scores.md).
POINTS, POINT_COMPONENTS = 200, 16
NO_LABELS = "needs labels, and this target has no masks"


def label_rows(
    names: Sequence[str],
    features: Features,
    chosen: TargetImages,
    head: tuple[Array, Array] | None,
    *,
    pixels: int,
    samples: int,
    components: int | None,
    seed: int,
) -> Iterator[dict[str, Any]]:
    """Rows of the scores `names`: of every kind of sample and, where they use single levels, of every level. CC-FV has
    points of its own.

    The value is the mean over `samples` samples of `pixels` pixels, with a 95 % t interval over them (none for one sample),
    which says nothing about other images. Rows of scores by group hold the means of groups over the samples, too (`by_group`).
    head: weight (Z, C) and bias (Z,) of the source's classifier.
    """
    if chosen.masks is None:
        yield from ({"score": name, "value": math.nan, "warning": NO_LABELS} for name in names)
        return
    kinds = [(kind, draw) for kind in SAMPLES for draw in range(samples)]
    seeds = [derive_seed(seed, "pixels", draw) for draw in range(samples)]
    sets = [sample_pixels(chosen.masks, chosen.groups, pixels, kind, seeds[draw]) for kind, draw in kinds]
    found = features_at(features, chosen.images, sets)
    on_points = [name for name in names if SCORES[name].of == "points"]
    progress = Progress((len(names) - len(on_points)) * len(SAMPLES) + len(on_points), "scores")
    for kind in SAMPLES:
        drawn = [
            _levels(found[i], sets[i], head, components, derive_seed(seed, "score", draw))
            for i, (of, draw) in enumerate(kinds)
            if of == kind
        ]
        for name in names:
            if name not in on_points:
                yield from _rows(name, kind, drawn)
                progress.step()
    if on_points:
        points = [sample_points(chosen.masks, chosen.groups, POINTS, own) for own in seeds]
        levels = features_at(_along(features, [_axes(level) for level in found[0]]), chosen.images, points)
        layers = [
            _layers([Sample(level, None, at.label, at.group, at.image, None, seed) for level in own])
            for own, at in zip(levels, points, strict=True)
        ]
        for name in on_points:
            yield _row(name, None, None, [partial(SCORES[name].compute, own) for own in layers])
            progress.step()


def _layers(samples: list[Sample]) -> list[Layer]:
    """For each level, the points of every class in every image; of pixels in one cell of the map, the first. Levels that are
    constant, or too coarse to have two points of a class in two images, are left out."""
    varying = [level for level in samples if level.channels.shape[1]]
    layers = [[_points(level, level.image == image) for image in np.unique(level.image)] for level in varying]
    return [layer for layer in layers if _fine_enough(layer)]


def _fine_enough(layer: Layer) -> bool:
    classes = {name for image in layer for name in image} - {0}
    comparable = any(sum(len(image.get(name, ())) > 1 for image in layer) > 1 for name in classes)
    return comparable and all(sum(map(len, image.values())) > 1 for image in layer)


def _points(level: Sample, inside: Array) -> dict[int, Array]:
    # In random order, as classes come one after the other: the first of a cell would be of the background.
    order = np.random.default_rng(level.seed).permutation(np.flatnonzero(inside))
    features, first = np.unique(level.features[order], axis=0, return_index=True)
    labels = level.labels[order][first]
    return {int(name): features[labels == name] for name in np.unique(labels)}


def _axes(features: Array) -> Array:
    """The first `POINT_COMPONENTS` principal axes (D, d) of features (n, D)."""
    return principal_axes(centred(features), POINT_COMPONENTS)


def _along(features: Features, axes: Sequence[Array]) -> Features:
    """The features along these axes, as maps or tokens of few channels."""

    def reduced_maps(images: Tensor) -> list[Tensor]:
        pairs = zip(features(images), map(torch.from_numpy, axes), strict=True)
        return [
            torch.tensordot(level, own.to(level), dims=([2], [0]))
            if level.ndim == 3
            else torch.einsum("nchw,cd->ndhw", level, own.to(level))
            for level, own in pairs
        ]

    return reduced_maps


def features_at(features: Features, images: Tensor, sets: Sequence[Pixels]) -> list[list[Array]]:
    """Features (n, C) of every level at the pixels of every set, from one pass over the images (sets are sorted by image)."""
    parts: list[list[list[Array]]] = [[] for _ in sets]
    for first in range(0, len(images), CHUNK):
        maps = [level.cpu() for level in features(images[first : first + CHUNK])]
        for part, pixels in zip(parts, sets, strict=True):
            inside = (pixels.image >= first) & (pixels.image < first + CHUNK)
            here = Pixels(*(getattr(pixels, field.name)[inside] for field in dataclasses.fields(Pixels)))
            here = dataclasses.replace(here, image=here.image - first)
            part.append([at_pixels(level, here) for level in maps])
    return [[np.concatenate(chunks) for chunks in zip(*part, strict=True)] for part in parts]


def means_by_group(draws: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Means over draws that all have the same groups."""
    return {name: float(np.mean([draw[name] for draw in draws])) for name in draws[0]}


def _levels(
    levels: list[Array], pixels: Pixels, head: tuple[Array, Array] | None, components: int | None, seed: int
) -> list[Sample]:
    probabilities = softmax(levels[-1] @ head[0].T + head[1], axis=1) if head else None
    return [
        Sample(level, components, pixels.label, pixels.group, pixels.image, probabilities, seed) for level in levels
    ]


def _rows(name: str, kind: str, drawn: list[list[Sample]]) -> Iterator[dict[str, Any]]:
    score = SCORES[name]
    count = len(drawn[0])
    if score.of == "levels":
        yield _row(name, kind, None, [partial(score.compute, levels) for levels in drawn])
        return
    for level in range(count) if score.of == "level" else [count - 1]:
        yield _row(name, kind, level + 1, [partial(score.compute, levels[level]) for levels in drawn])


def _row(name: str, kind: str | None, level: int | None, draws: list[Callable[[], Any]]) -> dict[str, Any]:
    """One row: mean and interval over the draws; of the first that has no value, the reason."""
    start = time.monotonic()
    row: dict[str, Any] = {"score": name, "sample": kind, "level": level, "draws": len(draws), "warning": ""}
    try:
        found = [draw() for draw in draws]
    except NotApplicable as reason:
        return row | {"value": math.nan, "warning": str(reason), "seconds": time.monotonic() - start}
    if SCORES[name].by_group:
        row["by_group"] = means_by_group(found)
        found = [np.mean(list(by_group.values())) for by_group in found]
    values, half = np.array(found), math.nan
    if len(values) > 1:
        half = float(half_width(len(values) - 1, values.std(ddof=1), len(values)))
    mean = float(values.mean())
    return row | {
        "value": mean,
        "by_draw": values.tolist(),
        "ci_low": mean - half,
        "ci_high": mean + half,
        "seconds": time.monotonic() - start,
    }
