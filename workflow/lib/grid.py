"""The grid of the study: which checkpoints exist, and which fine-tunings start from them. Light: no numerical imports."""

import ast
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

RANDOM = "random"  # the "scheme" of untrained weights; their pretraining seed is the fine-tuning seed


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


def trained_checkpoints(study: dict[str, Any]) -> list[Checkpoint]:
    """Checkpoints of all pretraining runs at the study's lengths > 0."""
    return [
        Checkpoint(encoder, scheme, seed, length)
        for encoder in study["encoders"]
        for scheme in study["schemes"]
        for seed in study["pretrain_seeds"]
        for length in sorted(study["lengths"])
        if length > 0
    ]


def random_checkpoints(study: dict[str, Any]) -> list[Checkpoint]:
    """Length 0: random weights, drawn anew for each fine-tuning seed, once per encoder; none if 0 is no length."""
    seeds = study["finetune_seeds"] if 0 in study["lengths"] else []
    return [Checkpoint(encoder, RANDOM, seed, 0) for encoder in study["encoders"] for seed in seeds]


def all_checkpoints(study: dict[str, Any]) -> list[Checkpoint]:
    """Random and trained checkpoints."""
    return random_checkpoints(study) + trained_checkpoints(study)


def all_finetunings(study: dict[str, Any]) -> list[Finetuning]:
    """Every fine-tuning of the grid: checkpoints x targets x freeze x seeds; a random checkpoint has its own seed only."""
    return [
        Finetuning(target, "frozen" if freeze else "tuned", checkpoint, seed)
        for target in study["targets"]
        for freeze in study["freeze"]
        for checkpoint in all_checkpoints(study)
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
