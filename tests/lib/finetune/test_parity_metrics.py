"""Losses and metrics of the paper protocol against the reference values, where they are at hand (metrics.json)."""

import json
from typing import Any

import numpy as np
import pytest
import torch

from tests.parity import parity_folder, uniform
from workflow.lib.finetune.metrics import batched_metrics
from workflow.lib.training.losses import dice_loss

Array = np.ndarray

TILES, SIZE = 10, 48
TOLERANCE = 1e-6  # relative, of doubles


@pytest.fixture(scope="module")
def reference() -> dict[str, Any]:
    return json.loads((parity_folder() / "study" / "metrics.json").read_text())


def grids() -> tuple[Array, Array, Array, Array]:
    """Tile number, radius of the disc, distance from its centre and from that of the prediction, (n, h, w) each."""
    b, y, x = np.indices((TILES, SIZE, SIZE)).astype(float)
    cy, cx = 14 + 2 * b, 34 - 2 * b
    return b, np.where(b == 3, -1, 6 + b), np.hypot(y - cy, x - cx), np.hypot(y - cy - 2, x - cx + 3)


def noise(seed: int, channels: int) -> Array:
    shape = (TILES, channels, SIZE, SIZE)
    return uniform(seed, int(np.prod(shape)), 800000 + channels).reshape(shape)


def binary(seed: int) -> tuple[Array, Array]:
    """Foreground probabilities (n, h, w) float32 and masks (n, h, w)."""
    b, rad, r, rp = grids()
    logits = np.where(b == 5, -6, (rad + 1 - rp) / 2) + 1.5 * noise(seed, 1)[:, 0]
    return (1 / (1 + np.exp(-logits))).astype(np.float32), (r < rad).astype(int)


def multiclass(seed: int) -> tuple[Array, Array]:
    """Probabilities (n, 4, h, w) float32 and masks (n, h, w)."""
    _, rad, r, rp = grids()
    masks = np.sum([r < part * rad for part in (1, 0.66, 0.33)], axis=0)
    masks[6][masks[6] == 3] = 2
    scores = [(rp - rad) / 2, -(abs(rp - 0.83 * rad) - 1), -(abs(rp - 0.5 * rad) - 1), (0.33 * rad - rp) / 1.5]
    exponentials = np.exp(np.stack(scores, axis=1) + 1.2 * noise(seed, 4))
    return (exponentials / exponentials.sum(axis=1, keepdims=True)).astype(np.float32), masks


def batches(probabilities: Array, masks: Array, sizes: list[int]) -> list[tuple[Array, Array]]:
    ends = np.cumsum(sizes)[:-1]
    return list(zip(np.split(probabilities, ends), np.split(masks, ends), strict=True))


def released(values: dict[str, float]) -> dict[str, float]:
    """Reference values by released column name: 'metrics/dice_index_threshold_0.5' is 'dice index'."""
    short = {name.removeprefix("metrics/").removesuffix("_threshold_0.5"): value for name, value in values.items()}
    return {name.replace("_", " "): value for name, value in short.items()}


def test_parity_of_the_inputs(reference: dict[str, Any]) -> None:
    check, (p, masks) = reference["input_check"], binary(reference["seed"])
    assert p.mean(dtype=float) == pytest.approx(check["binary_pred_mean"], rel=TOLERANCE)
    assert masks.sum() == check["binary_mask_sum"]
    p, masks = multiclass(reference["seed"])
    assert p.mean(axis=(0, 2, 3), dtype=float) == pytest.approx(check["multi_pred_mean_per_channel"], rel=TOLERANCE)
    assert np.bincount(masks.ravel()).tolist() == check["multi_mask_counts"]


def test_parity_of_metrics_of_one_class(reference: dict[str, Any]) -> None:
    p, masks = binary(reference["seed"])
    found = batched_metrics(batches(np.stack([1 - p, p], axis=1), masks, reference["batches"]))
    assert found == pytest.approx(released(reference["binary"]), rel=TOLERANCE)


def test_parity_of_metrics_of_several_classes(reference: dict[str, Any]) -> None:
    found = batched_metrics(batches(*multiclass(reference["seed"]), reference["batches"]))
    assert found == pytest.approx(released(reference["multiclass"]), rel=TOLERANCE)


def test_parity_of_the_dice_loss(reference: dict[str, Any]) -> None:
    expected, (p, masks), (p4, masks4) = (
        reference["dice_loss"],
        binary(reference["seed"]),
        multiclass(reference["seed"]),
    )

    def loss(logits: Array, truth: Array) -> float:
        return dice_loss(torch.from_numpy(logits), torch.from_numpy(truth)).item()

    p = p[:, None].astype(float)
    logits = np.log(p / (1 - p))
    found = {
        "binary_batch10": loss(logits, masks),
        "binary_first4": loss(logits[:4], masks[:4]),
        "four_class_batch10": loss(np.log(p4.astype(float)), masks4),
        "one_channel_prediction_with_4_class_mask": loss(logits, masks4),
    }
    # The reference is float32, where a difference from 1 rounds at about 1e-7.
    assert found == pytest.approx(expected, abs=5e-7)
