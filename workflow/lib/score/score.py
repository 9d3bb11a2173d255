"""The job that scores one checkpoint on one target: one pass for all scores that look at pixels, two a draw of jitter."""

import logging
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from workflow.lib.compute import device_named, move_network, standardise
from workflow.lib.data.prepared import load_prepared
from workflow.lib.networks.build import build_encoder, load_encoder
from workflow.lib.networks.weights import read_checkpoint
from workflow.lib.pretrain.checkpoint import trained_as
from workflow.lib.run import Progress, UserError, atomic_path, derive_seed, read_json, write_json
from workflow.lib.score.applies import Array
from workflow.lib.score.label_scores import NO_LABELS, label_rows
from workflow.lib.score.pixels import TargetImages, target_images
from workflow.lib.score.registry import SCORES
from workflow.lib.score.robustness import CHUNK, Features, clipping_warning, robustness_rows

log = logging.getLogger("medseg")

CHOICES = [
    "metric",
    "margin",
    "pooled",
    "sample",
    "level",
]  # what is free in a score; empty where a score has no such choice
RANKED = {"metric": "cosine_distance", "margin": 0.5, "pooled": True}  # robustness by which `rank` compares
NUMBERS = ["value", "ci_low", "ci_high", "draws", "seconds", "warning"]


def score_checkpoint(
    *,
    data_folder: Path,
    weights: Path,
    output: Path,
    by_group: Path,
    names: Mapping[str, str],
    encoder: Mapping[str, Any],
    scores: list[str],
    images: int,
    draws: int,
    pixels: int,
    samples: int,
    components: int | None,
    seed: int,
    inputs: str,
    device: str,
    threads: int,
) -> None:
    """Compute `scores` of the checkpoint on `images` training images of the target.

    draws: pairs of jittered views; samples: samples of `pixels` pixels; components: principal components that the features
    at pixels are reduced to, None: not at all; `inputs`: what the network sees (unchanged | standardised).

    The table has the columns of `names` (target, encoder, scheme, pretrain_seed, epochs), score, better (higher | lower),
    `CHOICES` and `NUMBERS`; a score without a value has its reason in `warning`. `by_group` (JSON) gets what `rank` needs:
    see `_by_group`. Raises `UserError` for a checkpoint that
    does not fit the network, too few images, or where no score has a value.
    """
    start = time.monotonic()
    torch.set_num_threads(threads)
    place = device_named(device)
    data = load_prepared(data_folder)
    card = read_json(weights.with_suffix(".json"))
    network = build_encoder(encoder, image_size=data.card["image_size"], use=trained_as(card))
    load_encoder(network, weights)
    move_network(network, place)
    network.eval()
    chosen = target_images(data, images, seed=derive_seed(seed, "score images"))
    if warning := clipping_warning(chosen.images):
        log.warning("%s: %s", names["target"], warning)
    by_kind = {kind: [name for name in scores if SCORES[name].of == kind] for kind in ("view", "card")}
    on_pixels = [name for name in scores if SCORES[name].of not in by_kind]
    passes = 2 * draws * len(by_kind["view"]) + bool(on_pixels and chosen.masks is not None)
    batches = passes * -(-len(chosen.images) // CHUNK) + 1  # one for the facts of the network
    with torch.inference_mode():
        features = _feature_function(network, place, inputs, Progress(batches, "feature batches"))
        rows = [row for name in by_kind["view"] for row in _view_rows(name, features, chosen, draws, seed)]
        if on_pixels:
            rows += label_rows(
                on_pixels,
                features,
                chosen,
                _classifier(weights),
                pixels=pixels,
                samples=samples,
                components=components,
                seed=seed,
            )
        facts = _facts(network, features, chosen, card, names)
    rows += [
        {"score": name, "value": SCORES[name].compute(facts), "draws": 1, "warning": ""} for name in by_kind["card"]
    ]
    _write(output, rows, names, weights)
    write_json(by_group, {"seconds": round(time.monotonic() - start, 3), **_by_group(rows, chosen)})


def _by_group(rows: list[dict[str, Any]], chosen: TargetImages) -> dict[str, Any]:
    """How many images each group (patient) has; for each score by group, its values, or why there are none (`missing`).

    Label scores on the balanced sample. The sound robustness score at the deepest level, pooled, in `RANKED`.
    """
    names, members, counts = np.unique(chosen.groups.astype(str), return_inverse=True, return_counts=True)
    values: dict[str, dict[str, float]] = {}
    missing: dict[str, str] = {}
    for row in rows:
        name = row["score"]
        if row.get("sample") == "balanced" and SCORES[name].by_group:
            values[name] = row.get("by_group", {})
        elif name == "robustness_sound" and RANKED.items() <= row.items():  # of all levels, the deepest comes last
            means = np.bincount(members, row["terms"]) / counts
            values[name] = dict(zip(names.tolist(), means.tolist(), strict=True)) if np.isfinite(means).all() else {}
        else:
            continue
        missing.pop(name, None)
        if not values[name]:
            del values[name]
            missing[name] = row["warning"]
    if chosen.masks is None:
        missing |= {name: NO_LABELS for name in {row["score"] for row in rows} if SCORES[name].by_group}
    return {"groups": dict(zip(names.tolist(), counts.tolist(), strict=True)), "values": values, "missing": missing}


def _view_rows(name: str, features: Features, chosen: TargetImages, draws: int, seed: int) -> Iterator[dict[str, Any]]:
    start = time.monotonic()
    seeded = derive_seed(seed, "score", name)
    rows = list(robustness_rows(features, chosen.images, draws=draws, seed=seeded, published=SCORES[name].compute))
    seconds = (time.monotonic() - start) / len(rows)  # its settings are computed together
    yield from ({"score": name, **row, "seconds": seconds} for row in rows)


def _facts(
    network: nn.Module, features: Features, chosen: TargetImages, card: Mapping[str, Any], names: Mapping[str, str]
) -> dict[str, float]:
    """What null baselines look at."""
    deepest = features(chosen.images[:1])[-1]
    return {
        "accuracy": card["accuracy"],
        "epochs": float(names["epochs"]),
        "parameters": float(sum(parameter.numel() for parameter in network.parameters())),
        "feature_dimension": float(deepest.shape[2] if deepest.ndim == 3 else deepest.shape[1]),
        "random": derive_seed("random", *names.values()) / 2**63,
    }


def _classifier(weights: Path) -> tuple[Array, Array] | None:
    """Weight (Z, C) and bias (Z,) of the source's classifier, where the checkpoint holds it."""
    tensors = read_checkpoint(weights)
    if "head.weight" not in tensors:
        return None
    return tensors["head.weight"].double().numpy(), tensors["head.bias"].double().numpy()


def _write(output: Path, rows: list[dict[str, Any]], names: Mapping[str, str], weights: Path) -> None:
    table = pd.DataFrame([{**names, **row} for row in rows], columns=[*names, "score", *CHOICES, *NUMBERS])
    table.insert(len(names) + 1, "better", table["score"].map({name: score.better for name, score in SCORES.items()}))
    table["level"] = table["level"].astype("Int64")
    table.loc[~np.isfinite(table["value"].astype(float)), ["value", "ci_low", "ci_high"]] = (
        math.nan
    )  # `warning` says why
    if table["value"].isna().all():
        raise UserError(
            "no score has a finite value",
            found=table["warning"].iloc[0],
            expected="finite numbers in some settings",
            where=weights,
            next="inspect this checkpoint's card, and the target's images",
        )
    with atomic_path(output) as temporary:
        table.to_csv(temporary, index=False)


def _feature_function(network: nn.Module, place: torch.device, inputs: str, progress: Progress) -> Features:
    def features(images: Tensor) -> list[Tensor]:
        progress.step()
        return network(standardise(images, inputs).to(place, memory_format=torch.channels_last))

    return features
