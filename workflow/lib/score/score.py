"""Scores of one checkpoint on one target: the registry of scores, and the job that computes them."""

import logging
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from workflow.lib.compute import device_named, move_network, standardise
from workflow.lib.data.prepared import Prepared, load_prepared
from workflow.lib.networks.build import build_encoder, load_encoder
from workflow.lib.pretrain.checkpoint import trained_as
from workflow.lib.run import Progress, UserError, atomic_path, derive_seed, read_json
from workflow.lib.score.robustness import CHUNK, Features, clipping_warning, robustness_rows

log = logging.getLogger("medseg")

# A score is a function of (features, images, draws, seed) that yields rows; to add one: a file, and a line here.
SCORES: dict[str, Callable[..., Iterator[dict[str, Any]]]] = {
    "robustness": partial(robustness_rows, published=True),
    "robustness_sound": partial(robustness_rows, published=False),
}


def target_images(data: Prepared, count: int, seed: int) -> Tensor:
    """`count` training images (all, if there are fewer) as fine-tuning sees them, (n, 3, s, s): chosen and ordered by
    `seed`, the same for every checkpoint. In 0..1, but where the protocol leaves intensities raw.

    Of sets that are trained in windows, the centre of each image. Raises `UserError` for fewer than two images.
    """
    rows = data.items[data.items["part"] == "train"]
    rows = rows.sample(min(count, len(rows)), random_state=seed % 2**32)
    if len(rows) < 2:
        raise UserError(
            f"too few training images of {data.card['target']} to score",
            found=len(rows),
            expected="2 or more",
            where="split.csv of this target",
            next="add images, or raise train_cases in the config",
        )
    size = data.card["image_size"]
    images = torch.from_numpy(np.array([data.images[row] for row in rows.index])).float()
    top, left = (images.shape[2] - size) // 2, (images.shape[3] - size) // 2
    images = images[:, :, top : top + size, left : left + size]
    scale = torch.tensor(rows["scale"].to_numpy(), dtype=torch.float32).view(-1, 1, 1, 1)
    return (images / scale).expand(-1, 3, -1, -1).contiguous()


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
    seed: int,
    inputs: str,
    device: str,
    threads: int,
) -> None:
    """Compute `scores` of the checkpoint on the target's training images.

    The table has the columns of `names` (target, encoder, scheme, pretrain_seed, epochs), then score and what the
    score's rows hold. `inputs`: what the network sees (unchanged | standardised).

    Raises `UserError` for a checkpoint that does not fit the network, too few images, or a score without any finite value.
    """
    torch.set_num_threads(threads)
    place = device_named(device)
    data = load_prepared(data_folder)
    card = read_json(weights.with_suffix(".json"))
    network = build_encoder(encoder, image_size=data.card["image_size"], use=trained_as(card))
    load_encoder(network, weights)
    move_network(network, place)
    network.eval()
    batch = target_images(data, images, seed=derive_seed(seed, "score images"))

    if warning := clipping_warning(batch):
        log.warning("%s: %s", names["target"], warning)
    progress = Progress(2 * draws * len(scores) * -(-len(batch) // CHUNK), "feature batches")
    with torch.inference_mode():
        features = _feature_function(network, place, inputs, progress)
        rows = [
            {**names, "score": name, **row}
            for name in scores
            for row in SCORES[name](features, batch, draws=draws, seed=derive_seed(seed, "score", name))
        ]
    table = pd.DataFrame(rows)
    table.loc[~np.isfinite(table["value"]), ["value", "ci_low", "ci_high"]] = np.nan  # `warning` says why
    known = table.groupby("score")["value"].count()
    if not known.all():
        raise UserError(
            f"score {known.idxmin()} has no finite value",
            found=table.loc[table["score"] == known.idxmin(), "warning"].iloc[0],
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
