"""Scores from features at sampled pixels: with labels, and with the source's classifier."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from scipy.special import softmax, stdtrit
from torch import Tensor

from workflow.lib.run import Progress, derive_seed
from workflow.lib.score.applies import Array, NotApplicable
from workflow.lib.score.pixels import SAMPLES, Pixels, TargetImages, at_pixels, sample_pixels
from workflow.lib.score.registry import SCORES, Sample
from workflow.lib.score.robustness import CHUNK, Features

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
    """Rows of the scores `names`: of every kind of sample and, where they look at single levels, of every level.

    The value is the mean over `samples` samples of `pixels` pixels, with a 95 % t interval over them (none for one sample),
    which says nothing about other images. Rows of scores by group hold the means of groups over the samples, too (`by_group`).
    head: weight (Z, C) and bias (Z,) of the source's classifier.
    """
    if chosen.masks is None:
        yield from ({"score": name, "value": math.nan, "warning": NO_LABELS} for name in names)
        return
    kinds = [(kind, draw) for kind in SAMPLES for draw in range(samples)]
    sets = [
        sample_pixels(chosen.masks, chosen.groups, pixels, kind, derive_seed(seed, "pixels", draw))
        for kind, draw in kinds
    ]
    found = features_at(features, chosen.images, sets)
    progress = Progress(len(names) * len(SAMPLES), "scores")
    for kind in SAMPLES:
        drawn = [
            _levels(found[i], sets[i], head, components, derive_seed(seed, "score", draw))
            for i, (of, draw) in enumerate(kinds)
            if of == kind
        ]
        for name in names:
            yield from _rows(name, kind, drawn)
            progress.step()


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


def reduced(features: Array, components: int | None) -> Array:
    """Features (n, D) centred, scaled to a root mean square of 1, in their first `components` principal components."""
    centred = features - features.mean(axis=0)
    size = math.sqrt(float((centred**2).mean()))
    centred = centred / size if size > 0 else centred
    if components is None or components >= min(centred.shape):
        return centred
    wide = centred.shape[1] > centred.shape[0]  # then from the n x n products, which are fewer
    values, vectors = np.linalg.eigh(centred @ centred.T if wide else centred.T @ centred)
    kept = vectors[:, ::-1][:, :components]
    return kept * np.sqrt(values[::-1][:components].clip(0)) if wide else centred @ kept


def means_by_group(draws: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Means over draws that all have the same groups."""
    return {name: float(np.mean([draw[name] for draw in draws])) for name in draws[0]}


def _levels(
    levels: list[Array], pixels: Pixels, head: tuple[Array, Array] | None, components: int | None, seed: int
) -> list[Sample]:
    probabilities = softmax(levels[-1] @ head[0].T + head[1], axis=1) if head else None
    return [
        Sample(reduced(level, components), pixels.label, pixels.group, pixels.image, probabilities, seed)
        for level in levels
    ]


def _rows(name: str, kind: str, drawn: list[list[Sample]]) -> Iterator[dict[str, Any]]:
    score = SCORES[name]
    count = len(drawn[0])
    if score.of == "levels":
        yield _row(name, kind, None, [partial(score.compute, levels) for levels in drawn])
        return
    for level in range(count) if score.of == "level" else [count - 1]:
        yield _row(name, kind, level + 1, [partial(score.compute, levels[level]) for levels in drawn])


def _row(name: str, kind: str, level: int | None, draws: list[Callable[[], Any]]) -> dict[str, Any]:
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
        half = float(stdtrit(len(values) - 1, 0.975) * values.std(ddof=1) / math.sqrt(len(values)))
    mean = float(values.mean())
    return row | {
        "value": mean,
        "ci_low": mean - half,
        "ci_high": mean + half,
        "seconds": time.monotonic() - start,
    }
