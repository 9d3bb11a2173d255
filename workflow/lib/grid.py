"""The grid of the study: which checkpoints exist, and which fine-tunings start from them. Light: no numerical imports."""

import ast
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

RANDOM = "random"  # the "scheme" of untrained weights; their pretraining seed is the fine-tuning seed
GIVEN = "pretrained"  # the "scheme" of weights that an encoder of the config brings along
ELSEWHERE = 0  # the pretraining seed of weights that were not trained here


class Checkpoint(NamedTuple):
    """Encoder weights after `epochs` epochs of one pretraining run; `epochs` 0 and scheme `random`: no pretraining."""

    encoder: str
    scheme: str
    pretrain_seed: int
    epochs: int

    @property
    def path(self) -> str:
        """Path below the checkpoint folder, without suffix."""
        return f"{self.encoder}/{self.scheme}/seed{self.pretrain_seed}/epoch{self.epochs}"


class Finetuning(NamedTuple):
    """One U-Net: trained on `target` from `checkpoint`, its encoder `frozen` or `tuned`."""

    target: str
    freeze: str
    checkpoint: Checkpoint
    seed: int

    @property
    def path(self) -> str:
        """Path below <run>/finetune."""
        return f"{self.target}/{self.freeze}/{self.checkpoint.path}-seed{self.seed}"


def weights_from(config: dict[str, Any], encoder: str, scheme: str) -> str:
    """Where the checkpoints of an encoder and scheme come from, by `pretraining.source`: train | released."""
    source = config["pretraining"]["source"]
    if isinstance(source, dict):
        source = source.get(encoder, "train")
    return source.get(scheme, "train") if isinstance(source, dict) else source


def released_runs(config: dict[str, Any]) -> list[tuple[str, str]]:
    """Encoders and schemes of the grid whose checkpoints are the study's own."""
    pairs = [(encoder, scheme) for encoder in config["study"]["encoders"] for scheme in config["study"]["schemes"]]
    return [pair for pair in pairs if weights_from(config, *pair) == "released" and not brings_weights(config, pair[0])]


def brings_weights(config: dict[str, Any], encoder: str) -> bool:
    """Whether the encoder's config names its weights, so that no scheme pretrains it."""
    return "weights" in config["encoders"][encoder]


def is_trained_here(config: dict[str, Any], encoder: str) -> bool:
    """Whether any scheme pretrains this encoder."""
    schemes = config["study"]["schemes"]
    return not brings_weights(config, encoder) and any(weights_from(config, encoder, s) == "train" for s in schemes)


def trained_checkpoints(config: dict[str, Any]) -> list[Checkpoint]:
    """Checkpoints of all pretraining runs at the study's lengths > 0; one of an encoder that brings its weights."""
    study, released = config["study"], released_runs(config)
    checkpoints = []
    for encoder in study["encoders"]:
        if brings_weights(config, encoder):
            checkpoints.append(Checkpoint(encoder, GIVEN, ELSEWHERE, config["encoders"][encoder]["epochs"]))
            continue
        checkpoints += [
            Checkpoint(encoder, scheme, seed, length)
            for scheme in study["schemes"]
            for seed in ([ELSEWHERE] if (encoder, scheme) in released else study["pretrain_seeds"])
            for length in sorted(study["lengths"])
            if length > 0
        ]
    return checkpoints


def random_checkpoints(study: dict[str, Any]) -> list[Checkpoint]:
    """Length 0: random weights, drawn anew for each fine-tuning seed, once per encoder; none if 0 is no length."""
    seeds = study["finetune_seeds"] if 0 in study["lengths"] else []
    return [Checkpoint(encoder, RANDOM, seed, 0) for encoder in study["encoders"] for seed in seeds]


def all_checkpoints(config: dict[str, Any]) -> list[Checkpoint]:
    """Random and trained checkpoints."""
    return random_checkpoints(config["study"]) + trained_checkpoints(config)


def all_finetunings(config: dict[str, Any]) -> list[Finetuning]:
    """Every fine-tuning of the grid: checkpoints x targets x freeze x seeds; a random checkpoint has its own seed only."""
    study = config["study"]
    return [
        Finetuning(target, "frozen" if freeze else "tuned", checkpoint, seed)
        for target in study["targets"]
        for freeze in study["freeze"]
        for checkpoint in all_checkpoints(config)
        for seed in ([checkpoint.pretrain_seed] if checkpoint.scheme == RANDOM else study["finetune_seeds"])
    ]


@cache
def code_files(root: str, script: str) -> tuple[str, ...]:
    """A script and every module of workflow.lib that it imports, directly or not, as paths relative to the working folder.

    `root` is the repository's folder, `script` a path below workflow/scripts. Listed as input of a rule, these files
    make its jobs rerun when their content changes.
    """
    found: dict[Path, None] = {}
    waiting = [Path(root) / "workflow" / "scripts" / script]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found[path] = None
            waiting.extend(_imports(path, Path(root)))
    return tuple(os.path.relpath(path) for path in found)


@cache
def _imports(path: Path, root: Path) -> tuple[Path, ...]:
    def candidates() -> Iterator[Path]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("workflow.lib"):
                module = root / str(node.module).replace(".", "/")
                yield module.with_suffix(".py")
                yield from (module / f"{alias.name}.py" for alias in node.names)

    return tuple(candidate for candidate in candidates() if candidate.exists())
