"""Which checkpoints are ranked, and which of them is the default. Light: no numerical imports."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from workflow.lib.job.run import UserError
from workflow.lib.study.checkpoints import RANDOM, Checkpoint, trained_checkpoints
from workflow.lib.study.checks import has_masks
from workflow.lib.study.config import network_settings

PROBE, ROBUSTNESS = "probe_all", "robustness_sound"  # what candidates can be ranked by, with labels and without


def rank_candidates(config: dict[str, Any]) -> list[Checkpoint]:
    """The checkpoints of the grid, and random weights of every network, of the first fine-tuning seed, whether or not the
    grid has them; of encoders that differ in their weights only, the first one's.

    Raises `UserError` for a default that is none of them, or where nothing that ranks is computed.
    """
    study, asked = config["study"], config["rank"]["by"]
    seed = study["finetune_seeds"][0]
    networks: dict[str, str] = {}
    for encoder in study["encoders"]:
        network = network_settings(config["encoders"][encoder])
        architecture = network["architecture"]
        if ":" not in architecture:  # timm: what follows names weights, not another network
            architecture, _, _ = architecture.partition(".")
        networks.setdefault(str(network | {"architecture": architecture}), encoder)
    found = [Checkpoint(encoder, RANDOM, seed, 0) for encoder in networks.values()] + trained_checkpoints(config)
    if config["rank"]["default"] is not None:
        named(found, config["rank"]["default"])
    labelled = {has_masks(config["targets"][target]) for target in study["targets"]}
    wanted = [asked] if asked else [PROBE] * (True in labelled) + [ROBUSTNESS] * (False in labelled)
    missing = [name for name in wanted if name not in config["score"]["scores"]]
    if missing:
        raise UserError(
            "the score to rank by is not computed",
            found=f"score.scores {config['score']['scores']}",
            expected=f"{' and '.join(missing)} among them",
            where="config: score.scores",
            next=f"add {' and '.join(missing)}, or leave score.scores out",
        )
    return found


def named(candidates: Sequence[Checkpoint], name: str) -> list[Checkpoint]:
    """The candidates that `name` means: one by its path (unet/simple/seed1/epoch300), or all trained ones of an encoder.

    Raises `UserError` for a name that means none.
    """
    found = [c for c in candidates if name == c.path or (name == c.encoder and c.scheme != RANDOM)]
    if not found:
        known = [*dict.fromkeys(c.encoder for c in candidates), *(c.path for c in candidates)]
        near = difflib.get_close_matches(name, known, n=1)
        raise UserError(
            "unknown default" + (f"; did you mean {near[0]}?" if near else ""),
            found=name,
            expected=f"an encoder or a candidate: {', '.join(known)}",
            where="config: rank.default",
            next="correct the name, or set rank: {default: null}: the highest ImageNet accuracy, or the longest pretraining",
        )
    return found


def default_of(
    candidates: Sequence[Checkpoint], declared: str | None, accuracy: Mapping[Checkpoint, float]
) -> tuple[Checkpoint, str]:
    """The candidate to beat, and in words why it is that one.

    The declared one; of a declared encoder, its longest pretraining. Else the highest ImageNet accuracy; where none is known
    (`accuracy` holds the known ones), the longest pretraining, the first of equals in the order of the config.
    """
    if declared is not None:
        found = named(candidates, declared)
        longest = max(found, key=lambda c: (c.epochs, accuracy.get(c, 0)))
        return longest, "declared in the config" + (", its longest pretraining" if len(found) > 1 else "")
    trained = [c for c in candidates if c.scheme != RANDOM]
    judged = [c for c in trained if c in accuracy]
    if judged:
        unknown = f", of the {len(judged)} whose accuracy is known" if len(judged) < len(trained) else ""
        return max(judged, key=lambda c: accuracy[c]), f"the highest ImageNet accuracy{unknown}"
    return max(trained, key=lambda c: c.epochs), "the longest pretraining, as no ImageNet accuracy is known"


def label(candidate: Checkpoint, candidates: Sequence[Checkpoint]) -> str:
    """A candidate in words; the seed of its pretraining is named where the others have several."""
    if candidate.scheme == RANDOM:
        return f"{candidate.encoder}, random weights"
    text = f"{candidate.encoder}, {candidate.scheme}, {candidate.epochs} epoch{'s' * (candidate.epochs != 1)}"
    seeds = {c.pretrain_seed for c in candidates if c.scheme == candidate.scheme and c.encoder == candidate.encoder}
    return text + (f", seed {candidate.pretrain_seed}" if len(seeds) > 1 else "")


def to_confirm(facts: Mapping[str, Any], k: int) -> list[dict[str, Any]]:
    """The first k candidates of a ranking besides the default, and the default, in the order of the ranking."""
    others = [candidate["path"] for candidate in facts["ranked"] if candidate["path"] != facts["default"]["path"]]
    return [c for c in facts["ranked"] if c["path"] in {*others[:k], facts["default"]["path"]}]
