"""The job that scores checkpoints on one target: a pass each for all scores of pixels, two a draw of jitter."""

import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from workflow.lib.data.prepared import load_prepared
from workflow.lib.job.run import Progress, UserError, atomic_path, derive_seed, read_json, write_json
from workflow.lib.networks.build import build_encoder, load_encoder
from workflow.lib.networks.checkpoint import trained_as
from workflow.lib.networks.inputs import inputs_text
from workflow.lib.networks.norms import calibrate
from workflow.lib.networks.weights import read_checkpoint
from workflow.lib.score.applies import Array
from workflow.lib.score.label_scores import NO_LABELS, label_rows
from workflow.lib.score.pixels import TargetImages, target_images
from workflow.lib.score.registry import SCORES
from workflow.lib.score.robustness import CHUNK, Features, clipping_warning, robustness_rows
from workflow.lib.study.checkpoints import Checkpoint
from workflow.lib.tables.settings import CHOICES, DECLARED
from workflow.lib.training.device import device_named, move_network, standardise

log = logging.getLogger("medseg")

CALIBRATION = 16  # images that batch norm sees at a time
NUMBERS = ["value", "ci_low", "ci_high", "draws", "seconds", "warning"]


def score_checkpoints(
    *,
    data_folder: Path,
    weights: Sequence[Path],
    output: Path,
    by_group: Path,
    target: str,
    checkpoints: Sequence[tuple[str, str, int, int]],
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
    """Compute `scores` of the checkpoints of one pretraining run, or of one encoder's random weights, on `images` training
    images of the target.

    weights, checkpoints: file of each, and its encoder, scheme, pretraining seed and epochs. draws: pairs of jittered views;
    samples: samples of `pixels` pixels; components: principal components that the features at pixels are reduced to, None: not at
    all; `inputs`: what the network sees (unchanged | standardised).

    The table has the columns target, encoder, scheme, pretrain_seed, epochs, score, better (higher | lower), `CHOICES` and
    `NUMBERS`; a score without a value has its reason in `warning`. `by_group` (JSON) gets what `rank` needs of each checkpoint,
    by its path: see `_by_group`. Raises `UserError` for a checkpoint that does not fit the network, too few images, or where no
    score of a checkpoint has a value.
    """
    torch.set_num_threads(threads)
    place = device_named(device)
    data = load_prepared(data_folder)
    chosen = target_images(data, images, seed=derive_seed(seed, "score images"))
    if warning := clipping_warning(chosen.images):
        log.warning("%s: %s", target, warning)
    sizes = {"draws": draws, "pixels": pixels, "samples": samples, "components": components, "seed": seed}
    looking = [SCORES[name] for name in scores if SCORES[name].of != "card"]
    on_views = sum(score.of == "view" for score in looking)
    of_pixels = [score for score in looking if score.of != "view"] if chosen.masks is not None else []
    on_pixels = len({score.norm for score in of_pixels}) + any(score.of == "points" for score in of_pixels)
    # One batch more for the facts of the network.
    batches = (2 * draws * on_views + on_pixels) * -(-len(chosen.images) // CHUNK) + 1
    progress = Progress(batches * len(weights), "feature batches")
    tables, facts = [], {}
    for path, checkpoint in zip(weights, map(Checkpoint._make, checkpoints), strict=True):
        start = time.monotonic()
        card = read_json(path.with_suffix(".json"))
        network = build_encoder(encoder, image_size=data.card["image_size"], use=trained_as(card))
        load_encoder(network, path)
        move_network(network, place)
        network.eval()
        seen, head = inputs_text(network, inputs), _classifier(path)
        names = {"target": target} | {key: str(value) for key, value in checkpoint._asdict().items()}
        with torch.inference_mode():
            features = _feature_function(network, place, progress)
            known = _facts(network, features, chosen, card, names)
            rows = []
            for norm in ("stored", "calibrated"):  # in this order, as calibration changes the network
                these = [name for name in scores if SCORES[name].norm == norm and SCORES[name].of != "card"]
                if these and norm == "calibrated":
                    calibrate(network, calibration_batches(chosen, inputs, place))
                rows += rows_of(these, features, chosen, inputs, head, sizes)
        rows += [
            {"score": name, "value": SCORES[name].compute(known), "draws": 1, "warning": ""}
            for name in scores
            if SCORES[name].of == "card"
        ]
        tables.append(_table(rows, names, path))
        facts[checkpoint.path] = {
            "seconds": round(time.monotonic() - start, 3),
            "inputs": seen,
            "licence": card.get("licence"),
            **_by_group(rows, chosen),
        }
    with atomic_path(output) as temporary:
        pd.concat(tables).to_csv(temporary, index=False)
    write_json(by_group, facts)


def rows_of(
    scores: Sequence[str],
    features: Features,
    chosen: TargetImages,
    inputs: str,
    head: tuple[Array, Array] | None,
    sizes: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Rows of scores of an encoder's `features` on the chosen images, as `robustness_rows` and `label_rows` give them.

    head: weight (Z, C) and bias (Z,) of the source's classifier; sizes: draws, pixels, samples, components, seed.
    """
    views = [name for name in scores if SCORES[name].of == "view"]
    rows = [row for name in views for row in _view_rows(name, features, chosen, inputs, sizes["draws"], sizes["seed"])]
    on_pixels = [name for name in scores if SCORES[name].of != "view"]
    if on_pixels:
        of_pixels = {key: sizes[key] for key in ("pixels", "samples", "components", "seed")}
        seen = replace(chosen, images=standardise(chosen.images, inputs, chosen.statistics))
        rows += label_rows(on_pixels, features, seen, head, **of_pixels)
    return rows


def _by_group(rows: list[dict[str, Any]], chosen: TargetImages) -> dict[str, Any]:
    """How many images each group (patient) has; for each score by group, its values, or why there are none (`missing`).

    Label scores on the balanced sample. The sound robustness score at the deepest level, pooled, in `DECLARED`.
    """
    names, members, counts = np.unique(chosen.groups.astype(str), return_inverse=True, return_counts=True)
    values: dict[str, dict[str, float]] = {}
    missing: dict[str, str] = {}
    for row in rows:
        name = row["score"]
        if row.get("sample") == "balanced" and SCORES[name].by_group:
            values[name] = row.get("by_group", {})
        elif name == "robustness_sound" and DECLARED.items() <= row.items():  # of all levels, the deepest comes last
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


def _view_rows(
    name: str, features: Features, chosen: TargetImages, inputs: str, draws: int, seed: int
) -> Iterator[dict[str, Any]]:
    start = time.monotonic()
    seeded = derive_seed(seed, "score", name)
    published = SCORES[name].compute
    rows = list(robustness_rows(features, chosen, inputs=inputs, draws=draws, seed=seeded, published=published))
    seconds = (time.monotonic() - start) / len(rows)  # its settings are computed together
    yield from ({"score": name, **row, "seconds": seconds} for row in rows)


def _facts(
    network: nn.Module, features: Features, chosen: TargetImages, card: Mapping[str, Any], names: Mapping[str, str]
) -> dict[str, float]:
    """The input of null baselines."""
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


def _table(rows: list[dict[str, Any]], names: Mapping[str, str], weights: Path) -> pd.DataFrame:
    table = pd.DataFrame([{**names, **row} for row in rows], columns=[*names, "score", *CHOICES, *NUMBERS])
    table.insert(len(names) + 1, "better", table["score"].map({name: score.better for name, score in SCORES.items()}))
    table["level"] = table["level"].astype("Int64")
    # `warning` says why.
    table.loc[~np.isfinite(table["value"].astype(float)), ["value", "ci_low", "ci_high"]] = math.nan
    if table["value"].isna().all():
        raise UserError(
            "no score has a finite value",
            found=table["warning"].iloc[0],
            expected="finite numbers in some settings",
            where=weights,
            next="inspect this checkpoint's card, and the target's images",
        )
    return table


def calibration_batches(chosen: TargetImages, inputs: str, place: torch.device) -> Iterator[Tensor]:
    """What batch norm is calibrated on: images as network inputs, in equal batches of up to `CALIBRATION`."""
    images = standardise(chosen.images, inputs, chosen.statistics)
    for batch in images.tensor_split(math.ceil(len(images) / CALIBRATION)):
        yield batch.to(place)


def _feature_function(network: nn.Module, place: torch.device, progress: Progress) -> Features:
    def features(images: Tensor) -> list[Tensor]:
        progress.step()
        return network(images.to(place))

    return features
