"""A small made-up run with the columns that rule gather_tables writes."""

from pathlib import Path

import numpy as np
import pandas as pd

MODELS = {"unet": "basic U-Net", "swin": "Swin U-Net", "my-vit": "my network"}


def write_run(
    folder: Path,
    *,
    encoders: tuple[str, ...] = ("unet", "swin"),
    schemes: tuple[str, ...] = ("simple",),
    lengths: tuple[int, ...] = (0, 1, 2, 8),
    targets: tuple[str, ...] = ("ACDC", "my-xrays"),
    freezings: tuple[bool, ...] = (False, True),
    seeds: int = 3,
    pretrain_seeds: int = 1,
    levels: int = 3,
) -> tuple[Path, Path]:
    """Write downstream_scores.csv and robustness_scores.csv to `folder`; return their paths."""
    random = np.random.default_rng(0)
    runs = [(e, s, p) for e in encoders for s in schemes for p in range(pretrain_seeds)]
    results, scores = [], []
    for encoder, scheme, start, length, target in [(*run, n, t) for run in runs for n in lengths for t in targets]:
        for seed in range(seeds):
            if length == 0 and (scheme != schemes[0] or start):
                continue
            for freeze in freezings:
                labels = {"model": MODELS[encoder], "dataset": target, "pretraining length": length}
                labels |= {"ImageNet accuracy": length / (length + 5), "freeze encoder": freeze}
                labels |= {"pretraining scheme": scheme if length else "simple", "seed": seed}
                dice = 0.6 + 0.03 * np.log1p(length) - 0.1 * freeze + random.normal(0, 0.01)
                origin = {"encoder": encoder, "pretraining seed": start if length else None}
                results.append(labels | {"dice index": dice, "mean dice index": None} | origin)
        for level, margin, metric, pooled in [
            (level, margin, metric, pooled)
            for level in range(1, levels + 1)
            for margin in (0.0, 0.5)
            for metric in ("cosine_distance", "l2_loss")
            for pooled in (False, True)
        ]:
            key = {"dataset": target, "metric": metric, "margin": margin, "encoder": encoder}
            key |= {"pretraining_scheme": scheme, "pooled": pooled, "level": level, "pretraining_length": length}
            score = margin * max(0.0, 1 - 0.05 * length * level) + random.uniform(0, 0.02)
            if length or not start:  # random weights: one score per scheme, no pretraining seed
                scores.append(key | {"robustness": score, "pretraining_seed": start if length else None})
    folder.mkdir(parents=True, exist_ok=True)
    downstream, robustness = folder / "downstream_scores.csv", folder / "robustness_scores.csv"
    pd.DataFrame(results).to_csv(downstream, index=False)
    pd.DataFrame(scores).to_csv(robustness, index=False)
    return downstream, robustness
