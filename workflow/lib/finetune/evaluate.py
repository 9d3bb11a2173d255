"""Evaluation of a fine-tuned network on a part of its target."""

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch
from torch import nn

from workflow.lib.compute import autocast, chunks, data_loader
from workflow.lib.data.prepared import Prepared
from workflow.lib.finetune.batches import Place, Tiles, evaluation_places
from workflow.lib.finetune.losses import probabilities
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


def predict(network: nn.Module, tiles: Tiles, *, batch: int, precision: str) -> tuple[list[Array], list[Array]]:
    """Probabilities (K+1, s, s) and masks (s, s) of all tiles, in their order."""
    device = next(network.parameters()).device
    guesses: list[Array] = []
    masks: list[Array] = []
    network.eval()
    with torch.inference_mode():
        for images, truth in data_loader(tiles, chunks(range(len(tiles)), batch)):
            with autocast(device, precision):
                logits = network(images.to(device, memory_format=torch.channels_last))
            guesses.extend(probabilities(logits.float()).cpu().numpy())
            masks.extend(truth.numpy())
    return guesses, masks


def evaluate(
    network: nn.Module, tiles: Tiles, batch: int, precision: str, metrics: str
) -> tuple[pd.DataFrame, dict[str, float]]:
    """A row per case and class, and the columns of the run's table; metrics: `pooled` over all tiles | `per_case`."""
    guesses, masks = predict(network, tiles, batch=batch, precision=precision)
    classes = tiles.data.card["classes"]
    if metrics == "per_case":
        table = case_table(assembled(tiles.data, tiles.places, guesses, masks), classes)
        return table, case_metrics(table)
    return confusion_table(_case_names(tiles), guesses, masks, classes), study_metrics(guesses, masks, batch)


def selection_dice(network: nn.Module, tiles: Tiles, batch: int, precision: str, metrics: str) -> float:
    """Dice by which the epoch is chosen: over the whole set, classes together (`pooled`); mean over cases (`per_case`)."""
    guesses, masks = predict(network, tiles, batch=batch, precision=precision)
    cases = confusion_table(_case_names(tiles), guesses, masks, tiles.data.card["classes"])
    if metrics == "per_case":
        dice = float(cases.groupby("case")["dice"].mean().mean())
        return dice if math.isfinite(dice) else 0.0  # nothing to find in the part, and nothing found
    tp, fp, fn = (cases[name].sum() for name in ("tp", "fp", "fn"))
    return float((2 * tp + 1) / (2 * tp + fp + fn + 1))


def assembled(data: Prepared, places: list[Place], probabilities: list[Array], masks: list[Array]) -> Iterator[Case]:
    """Whole cases from tiles: the slices of a volume in their order, tiles in their places, background where there is none.

    probabilities: (K+1, s, s) and masks: (s, s) of the tile at each place.
    """
    height, width = data.masks.shape[1:]
    rows = data.items.iloc[sorted({place.row for place in places})]
    for name, items in rows.groupby("case", sort=False):
        truth = np.zeros((len(items), height, width), np.uint8)
        probability = np.zeros((len(probabilities[0]), *truth.shape), np.float32)
        probability[0] = 1
        slices = {row: z for z, row in enumerate(items.index)}
        for place, p, mask in zip(places, probabilities, masks, strict=True):
            if place.row in slices:
                side = mask.shape[-1]
                there = (slices[place.row], slice(place.top, place.top + side), slice(place.left, place.left + side))
                truth[there], probability[:, *there] = mask, p
        first = items.iloc[0]
        spacing = (float(first["spacing_z"]), float(first["spacing_y"]), float(first["spacing_x"]))
        yield Case(str(name), truth, probability, spacing)


def _case_names(tiles: Tiles) -> list[str]:
    return list(tiles.data.items["case"].iloc[[place.row for place in tiles.places]])
