"""Evaluation of a fine-tuned network on a part of its target."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from workflow.lib.data.prepared import Prepared, inside
from workflow.lib.finetune.batches import Patch, Tiles, evaluation_patches
from workflow.lib.finetune.metrics import (
    Array,
    Case,
    Segmentation,
    as_assembled,
    case_metrics,
    case_table,
    confusion_table,
    predicted,
    study_metrics,
)
from workflow.lib.job.run import derive_seed
from workflow.lib.study.protocol import Protocol
from workflow.lib.training.device import autocast, chunks, data_loader
from workflow.lib.training.losses import labels_of, probabilities


def evaluation_tiles(data: Prepared, part: str, protocol: Protocol, inputs: str, seed: int) -> Tiles:
    """All tiles of `part`; where metrics are pooled, in an order drawn from `seed`, as the study shuffles its batches."""
    patches = evaluation_patches(data, part, protocol["evaluation"])
    if protocol["metrics"] == "pooled":
        order = np.random.default_rng(derive_seed(seed, "evaluation")).permutation(len(patches))
        patches = [patches[i] for i in order]
    return Tiles(data, patches, inputs)


@torch.inference_mode()  # not `with`, which would stay on between batches in whatever uses them
def predict(network: nn.Module, tiles: Tiles, *, batch: int, precision: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of probabilities (n, K+1, s, s), on the network's device, and masks (n, s, s), of all tiles in their order."""
    device = next(network.parameters()).device
    network.eval()
    for images, masks in data_loader(tiles, chunks(range(len(tiles)), batch)):
        with autocast(device, precision):
            logits = network(images.to(device))
        yield probabilities(logits.float()), masks


def evaluate(
    network: nn.Module,
    tiles: Tiles,
    batch: int,
    precision: str,
    protocol: Protocol,
    truth: Callable[[str], Array] | None = None,
    keep: Mapping[int, Array] | None = None,
) -> tuple[pd.DataFrame, dict[str, float]]:
    """A row per case and class, and the columns of the run's table.

    keep: {row of the data's items: (H, W) uint8}; the labels that are predicted there are written into these arrays.

    By the protocol's `metrics`, pooled over all tiles or per case. `truth` gives a case's masks before the resize: segmentations
    are compared at their size, where metrics are per case. Rank metrics are always at the network's size.
    """
    classes = tiles.data.card["classes"]
    every = (
        tile
        for guesses, masks in predict(network, tiles, batch=batch, precision=precision)
        for tile in zip(guesses.cpu().numpy(), masks.numpy(), strict=True)
    )
    found = _keeping(every, tiles.patches, keep or {})
    if protocol["metrics"] == "per_case":
        judged = (
            (case, at_full_size(case, truth(case.name)) if truth else as_assembled(case))
            for case in assembled(tiles.data, tiles.patches, found)
        )
        table = case_table(judged, classes)
        return table, case_metrics(table)
    guesses, masks = (list(arrays) for arrays in zip(*_without_padding(found, tiles), strict=True))
    return confusion_table(_case_names(tiles), guesses, masks, classes), study_metrics(guesses, masks, batch)


def _keeping(
    found: Iterable[tuple[Array, Array]], patches: list[Patch], keep: Mapping[int, Array]
) -> Iterator[tuple[Array, Array]]:
    """The tiles as they are; the labels of those at the rows of `keep` are written there."""
    for patch, (guess, mask) in zip(patches, found, strict=True):
        if patch.row in keep:
            side = mask.shape[-1]
            there = (slice(patch.top, patch.top + side), slice(patch.left, patch.left + side))
            keep[patch.row][there] = predicted(guess)
        yield guess, mask


def _without_padding(found: Iterable[tuple[Array, Array]], tiles: Tiles) -> Iterator[tuple[Array, Array]]:
    """The tiles, with background for sure around the image: what is found there counts nothing."""
    for patch, (guess, mask) in zip(tiles.patches, found, strict=True):
        image = _image_in(tiles.data, patch, mask.shape[-1])
        background = np.eye(len(guess), 1, dtype=guess.dtype)[:, :, None]  # (K+1, 1, 1)
        yield np.where(image, guess, background), np.where(image, mask, 0)


def selection_dice(network: nn.Module, tiles: Tiles, batch: int, precision: str, metrics: str) -> float:
    """Dice by which the epoch is chosen: over the whole set, classes together (`pooled`); mean over cases (`per_case`).

    Counted on the device: it is asked for after every epoch, and the probabilities of all tiles may not fit into memory.
    """
    counts, done = list[Tensor](), 0
    for guesses, masks in predict(network, tiles, batch=batch, precision=precision):
        classes = torch.arange(1, guesses.shape[1], device=guesses.device).view(-1, 1, 1)
        patches = tiles.patches[done : (done := done + len(masks))]
        images = torch.from_numpy(np.array([_image_in(tiles.data, patch, masks.shape[-1]) for patch in patches]))
        labels = labels_of(guesses) * images.to(guesses.device)  # what is found in the padding counts nothing
        found, shown = (values[:, None] == classes for values in (labels, masks.to(guesses.device)))
        counts.append(torch.stack([part.sum(dim=(2, 3)) for part in (found & shown, found, shown)], dim=2))
    table = torch.cat(counts).cpu().numpy()  # (tiles, classes, 3): true positives, predicted, ground truth
    if metrics == "pooled":
        right, found, shown = table.sum(axis=(0, 1))
        return float((2 * right + 1) / (found + shown + 1))
    cases = pd.factorize(np.array(_case_names(tiles)))[0]
    summed = np.zeros((cases.max() + 1, *table.shape[1:]))
    np.add.at(summed, cases, table)
    both = summed[..., 1] + summed[..., 2]
    dice = np.divide(2 * summed[..., 0], both, out=np.full(both.shape, np.nan), where=both > 0)
    value = float(pd.DataFrame(dice).mean(axis=1).mean())
    return value if math.isfinite(value) else 0.0  # nothing to find in the part, and nothing found


def _image_in(data: Prepared, patch: Patch, side: int) -> Array:
    """(side, side) bool: which pixels of a tile are of the image."""
    return inside(data, patch.row)[patch.top : patch.top + side, patch.left : patch.left + side]


def assembled(data: Prepared, patches: list[Patch], tiles: Iterable[tuple[Array, Array]]) -> Iterator[Case]:
    """Whole cases from tiles, without padding: the slices of a volume in their order, tiles in their patches, background where
    there is none.

    tiles: probabilities (K+1, s, s) and mask (s, s) of the tile at each patch. Those of a case follow each other; only they
    are kept, as the probabilities of a whole test split may not fit into memory.
    """
    height, width = data.masks.shape[1:]
    cases = data.items["case"].to_numpy()
    for name, members in groupby(zip(patches, tiles, strict=True), key=lambda tile: cases[tile[0].row]):
        found = list(members)
        rows = sorted({patch.row for patch, _ in found})
        truth = np.zeros((len(rows), height, width), np.uint8)
        probability = np.zeros((len(found[0][1][0]), *truth.shape), np.float32)
        probability[0] = 1
        for patch, (p, mask) in found:
            side = mask.shape[-1]
            there = (rows.index(patch.row), slice(patch.top, patch.top + side), slice(patch.left, patch.left + side))
            truth[there], probability[:, *there] = mask, p
        first = data.items.iloc[rows[0]]
        spacing = (float(first["spacing_z"]), float(first["spacing_y"]), float(first["spacing_x"]))
        top, left, high, wide = data.boxes[rows[0]]
        image = (..., slice(top, top + high), slice(left, left + wide))
        yield Case(str(name), truth[image], probability[image], spacing)


def at_full_size(case: Case, truth: Array) -> Segmentation:
    """A case beside `truth`, its masks (d, h, w) before the resize: probabilities are interpolated to their size, slice by
    slice, as those of a whole volume may not fit into memory."""
    labels = np.empty_like(truth)
    for number in range(len(truth)):
        image = torch.from_numpy(np.ascontiguousarray(case.probability[:, number]))
        large = interpolate(image[None], size=truth.shape[1:], mode="bilinear", align_corners=False)[0]
        labels[number] = predicted(large.numpy())
    (z, y, x), (_, height, width) = case.spacing, case.truth.shape
    return Segmentation(truth, labels, (z, y * height / truth.shape[1], x * width / truth.shape[2]))


def _case_names(tiles: Tiles) -> list[str]:
    return list(tiles.data.items["case"].iloc[[patch.row for patch in tiles.patches]])
