"""Scores of one checkpoint on one target: the registry of scores, and the job that computes them."""

import logging
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from workflow.lib.data.prepared import Prepared, load_prepared
from workflow.lib.networks.build import build_encoder, load_encoder, seeded
from workflow.lib.pretrain.checkpoint import trained_as
from workflow.lib.run import Progress, UserError, atomic_path, derive_seed, read_json
from workflow.lib.score.robustness import DISTANCES, MARGINS, distance, partner, pool, robustness
from workflow.lib.train import device_named, move_network, standardise

log = logging.getLogger("medseg")

Features = Callable[[Tensor], list[Tensor]]  # images (n, 3, s, s) in 0..1 -> feature maps, shallow to deep
CHUNK = 8  # images whose unpooled maps are in memory at once; even, as images come in pairs


def jitter() -> v2.Transform:
    """The study's augmentation: one draw of factors and order for the whole batch."""
    return v2.ColorJitter(brightness=0.1, contrast=0.05, saturation=0.1, hue=0.05)


def robustness_rows(features: Features, images: Tensor, *, draws: int, seed: int) -> Iterator[dict[str, Any]]:
    """Robustness at every level, distance, margin, pooled or not, from `draws` pairs of views of `images` (n, 3, s, s)."""
    positive, negative = [], []  # per draw: {(level, pooled, distance): (n,)}
    for draw in range(draws):
        with seeded(derive_seed(seed, "jitter", draw)):
            views = jitter()(images), jitter()(images)
        pairs = _distances(features, *views)
        positive.append({key: values[0] for key, values in pairs.items()})
        negative.append({key: values[1] for key, values in pairs.items()})
    for (level, pooled, name), margin in product(positive[0], MARGINS):
        terms = [
            robustness(p[level, pooled, name], n[level, pooled, name], margin)
            for p, n in zip(positive, negative, strict=True)
        ]
        value = float(torch.stack(terms).mean())
        yield {"metric": name, "margin": margin, "pooled": pooled, "level": level, "value": value}


def _distances(features: Features, query: Tensor, key: Tensor) -> dict[tuple[int, bool, str], tuple[Tensor, Tensor]]:
    """Distances of each image to its own and to its partner's other view, by (level, pooled, distance), in image order."""
    n = len(query)
    partners = partner(n)
    # Each image stands beside its partner, so that a chunk holds both and maps of the whole set are never in memory.
    order = sorted(range(n), key=lambda j: (min(j, partners[j]), j))
    if n % 2:  # the image that is its own partner goes last, so that it does not tear pairs apart
        order.sort(key=lambda j: j == partners[j])
    found: dict[tuple[int, bool, str], list[Tensor]] = {}
    for start in range(0, n, CHUNK):
        chunk = order[start : start + CHUNK]
        other = [chunk.index(partners[j]) for j in chunk]
        maps = zip(features(query[chunk]), features(key[chunk]), strict=True)
        for level, (q, k) in enumerate(maps, start=1):
            for pooled, name in product((True, False), DISTANCES):
                a, b = (pool(q), pool(k)) if pooled else (q, k)
                both = torch.stack([distance(name, a, b), distance(name, a, b[other])])
                found.setdefault((level, pooled, name), []).append(both.cpu())
    back = torch.tensor(order).argsort()
    return {key: tuple(torch.cat(parts, dim=1)[:, back]) for key, parts in found.items()}  # type: ignore[misc]


# A score is a function of (features, images, draws, seed) that yields rows; to add one: a file, and a line here.
SCORES: dict[str, Callable[..., Iterator[dict[str, Any]]]] = {"robustness": robustness_rows}


def target_images(data: Prepared, count: int, seed: int) -> Tensor:
    """`count` training images (all, if there are fewer) in 0..1 as (n, 3, s, s), the same for every checkpoint.

    Of sets that are trained in windows, the centre of each image. Raises `UserError` for fewer than two images.
    """
    rows = data.items[data.items["part"] == "train"]
    rows = rows.sample(min(count, len(rows)), random_state=seed % 2**32).sort_index()
    if len(rows) < 2:
        raise UserError(
            f"too few training images of {data.card['target']} to score",
            found=len(rows),
            expected="2 or more",
            where="split.csv of this target",
            next="add images, or raise train_cases in the config",
        )
    size = data.card["image_size"]
    images = torch.from_numpy(data.images[rows.index.to_numpy()]).float()
    top, left = (images.shape[2] - size) // 2, (images.shape[3] - size) // 2
    images = images[:, :, top : top + size, left : left + size]
    scale = torch.tensor(rows["range"].to_numpy(), dtype=torch.float32).view(-1, 1, 1, 1)
    return (images / scale).clamp(0, 1).expand(-1, 3, -1, -1).contiguous()


def score_checkpoint(
    *,
    data_folder: Path,
    weights: Path,
    output: Path,
    names: Mapping[str, str],
    encoder: Mapping[str, Any],
    scores: list[str],
    images: int,
    draws: int,
    protocol: str,
    device: str,
    threads: int,
) -> None:
    """Compute `scores` of the checkpoint on the target's training images.

    The table has the columns of `names` (target, encoder, scheme, pretrain_seed, epochs), then score, metric, margin,
    pooled, level, value.

    Raises `UserError` for a checkpoint that does not fit the network, too few images, or a value that is not finite.
    """
    torch.set_num_threads(threads)
    place = device_named(device)
    network = build_encoder(encoder, use=trained_as(read_json(weights.with_suffix(".json"))))
    load_encoder(network, weights)
    move_network(network, place)
    network.eval()
    batch = target_images(load_prepared(data_folder), images, seed=derive_seed("score images"))

    progress = Progress(2 * draws * -(-len(batch) // CHUNK), "feature batches")
    with torch.inference_mode():
        features = _feature_function(network, place, protocol, progress)
        rows = [
            {**names, "score": name, **row}
            for name in scores
            for row in SCORES[name](features, batch, draws=draws, seed=derive_seed("score", name))
        ]
    table = pd.DataFrame(rows)
    if not np.isfinite(table["value"]).all():
        bad = table[~np.isfinite(table["value"])].iloc[0].to_dict()
        raise UserError(
            "score is not finite",
            found=bad,
            expected="a finite number",
            where=weights,
            next="inspect this checkpoint's card",
        )
    with atomic_path(output) as temporary:
        table.to_csv(temporary, index=False)


def _feature_function(network: nn.Module, place: torch.device, protocol: str, progress: Progress) -> Features:
    def features(images: Tensor) -> list[Tensor]:
        progress.step()
        return network(standardise(images, protocol).to(place, memory_format=torch.channels_last))

    return features
