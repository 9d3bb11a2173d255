"""Evaluation of a fine-tuned network on a part of its target."""

import math
from collections.abc import Iterable, Iterator
from itertools import groupby

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from workflow.lib.compute import autocast, chunks, data_loader
from workflow.lib.data.prepared import Prepared
from workflow.lib.finetune.batches import Place, Tiles, evaluation_places
from workflow.lib.finetune.losses import labels_of, probabilities
from workflow.lib.finetune.metrics import (
    Array,
    Case,
    case_metrics,
    case_table,
    confusion_table,
    study_metrics,
)
from workflow.lib.protocol import Protocol
from workflow.lib.run import derive_seed


def evaluation_tiles(data: Prepared, part: str, protocol: Protocol, inputs: str, seed: int) -> Tiles:
    """All tiles of `part`; where metrics are pooled, in an order drawn from `seed`, as the study shuffles its batches."""
    places = evaluation_places(data, part, protocol["evaluation"])
    if protocol["metrics"] == "pooled":
        order = np.random.default_rng(derive_seed(seed, "evaluation")).permutation(len(places))
        places = [places[i] for i in order]
    return Tiles(data, places, inputs)


@torch.inference_mode()  # not `with`, which would stay on between batches in whatever uses them
def predict(network: nn.Module, tiles: Tiles, *, batch: int, precision: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of probabilities (n, K+1, s, s), on the network's device, and masks (n, s, s), of all tiles in their order."""
    device = next(network.parameters()).device
    network.eval()
    for images, masks in data_loader(tiles, chunks(range(len(tiles)), batch)):
        with autocast(device, precision):
            logits = network(images.to(device, memory_format=torch.channels_last))
        yield probabilities(logits.float()), masks


def evaluate(
    network: nn.Module, tiles: Tiles, batch: int, precision: str, metrics: str
) -> tuple[pd.DataFrame, dict[str, float]]:
    """A row per case and class, and the columns of the run's table; metrics: `pooled` over all tiles | `per_case`."""
    classes = tiles.data.card["classes"]
    found = (
        tile
        for guesses, masks in predict(network, tiles, batch=batch, precision=precision)
        for tile in zip(guesses.cpu().numpy(), masks.numpy(), strict=True)
    )
    if metrics == "per_case":
        table = case_table(assembled(tiles.data, tiles.places, found), classes)
        return table, case_metrics(table)
    guesses, masks = (list(arrays) for arrays in zip(*found, strict=True))
    return confusion_table(_case_names(tiles), guesses, masks, classes), study_metrics(guesses, masks, batch)


def selection_dice(network: nn.Module, tiles: Tiles, batch: int, precision: str, metrics: str) -> float:
    """Dice by which the epoch is chosen: over the whole set, classes together (`pooled`); mean over cases (`per_case`).

    Counted on the device: it is asked for after every epoch, and the probabilities of all tiles may not fit into memory.
    """
    counts = []
    for guesses, masks in predict(network, tiles, batch=batch, precision=precision):
        classes = torch.arange(1, guesses.shape[1], device=guesses.device).view(-1, 1, 1)
        found, shown = (labels[:, None] == classes for labels in (labels_of(guesses), masks.to(guesses.device)))
        counts.append(torch.stack([part.sum(dim=(2, 3)) for part in (found & shown, found, shown)], dim=2))
    table = torch.cat(counts).cpu().numpy()  # (tiles, classes, 3): pixels found rightly, found, shown
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


def assembled(data: Prepared, places: list[Place], tiles: Iterable[tuple[Array, Array]]) -> Iterator[Case]:
    """Whole cases from tiles: the slices of a volume in their order, tiles in their places, background where there is none.

    tiles: probabilities (K+1, s, s) and mask (s, s) of the tile at each place. Those of a case follow each other; only they
    are kept, as the probabilities of a whole test part may not fit into memory.
    """
    height, width = data.masks.shape[1:]
    cases = data.items["case"].to_numpy()
    for name, members in groupby(zip(places, tiles, strict=True), key=lambda tile: cases[tile[0].row]):
        found = list(members)
        rows = sorted({place.row for place, _ in found})
        truth = np.zeros((len(rows), height, width), np.uint8)
        probability = np.zeros((len(found[0][1][0]), *truth.shape), np.float32)
        probability[0] = 1
        for place, (p, mask) in found:
            side = mask.shape[-1]
            there = (rows.index(place.row), slice(place.top, place.top + side), slice(place.left, place.left + side))
            truth[there], probability[:, *there] = mask, p
        first = data.items.iloc[rows[0]]
        spacing = (float(first["spacing_z"]), float(first["spacing_y"]), float(first["spacing_x"]))
        yield Case(str(name), truth, probability, spacing)


def _case_names(tiles: Tiles) -> list[str]:
    return list(tiles.data.items["case"].iloc[[place.row for place in tiles.places]])
