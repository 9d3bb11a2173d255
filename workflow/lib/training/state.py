"""The state of an interrupted training: written whole, checked before it is read, of one fingerprint only."""

import hashlib
import io
import logging
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from workflow.lib.job.run import UserError, atomic_path, sha256_of

log = logging.getLogger("medseg")

Row = dict[str, float]


@dataclass
class Position:
    """How far a training has come: finished epochs, and the steps of the one in which it was interrupted."""

    history: list[Row] = field(default_factory=list)  # a row a finished epoch
    best: dict[str, Tensor] = field(default_factory=dict)  # the weights of the best epoch, where one is chosen
    losses: list[float] = field(default_factory=list)  # of the steps of the interrupted epoch
    seconds: float = 0.0  # spent in that epoch

    @property
    def epoch(self) -> int:
        """The epoch that comes next, or goes on; counted from 1."""
        return len(self.history) + 1


def save_state(
    folder: Path, fingerprint: str, position: Position, model: nn.Module, optimizer: torch.optim.Optimizer
) -> Path:
    """Write the state, and keep the one before it in case of damage. The name holds the content's SHA-256: torch does not
    notice flipped bits."""
    state = {"fingerprint": fingerprint, "position": vars(position)}
    state |= {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    content = io.BytesIO()
    torch.save(state, content)
    digest = hashlib.sha256(content.getbuffer()).hexdigest()[:16]
    path = folder / f"state-{len(position.history):06}-{len(position.losses):06}-{digest}.pt"
    earlier = saved_states(folder)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.getbuffer())
    for old in earlier[1:]:
        old.unlink(missing_ok=True)
    return path


def restore_state(
    folder: Path, fingerprint: str, model: nn.Module, optimizer: torch.optim.Optimizer, *, discard: bool = True
) -> Position:
    """Load the newest undamaged state into `model` and `optimizer`, and return where it stands; the beginning without one.

    A damaged state is named in the log and left out. States of another fingerprint (settings or data) are discarded with
    the whole folder, or (discard False) an error. Raises `UserError` when there are states and all of them are damaged, too.
    """
    states = saved_states(folder)
    for path in states:
        if sha256_of(path)[:16] != path.stem.rpartition("-")[2]:
            log.warning("damaged resume state, not read: %s", path)
            continue
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state["fingerprint"] != fingerprint:
            if not discard:
                raise _of_other_settings(folder, len(state["position"]["history"]))
            log.info("resume state in %s belongs to other settings: training starts from the beginning", folder)
            discard_resume(folder)
            return Position()
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        return Position(**state["position"])
    if states:
        raise UserError(
            "damaged resume state",
            found=f"content that differs from the hash in the name: {', '.join(path.name for path in states)}",
            expected="the state of an interrupted training",
            where=folder,
            next=f"rm -r {folder}, then run the same command again: this training starts from the beginning",
        )
    return Position()


def _of_other_settings(folder: Path, epochs: int) -> UserError:
    return UserError(
        "an unfinished training has other settings, images or precision than this job",
        found=f"{epochs} finished epochs of the other training",
        expected="the settings with which it began",
        where=folder,
        next=f"restore the config (or name a precision, on a cluster of mixed hardware); or rm -r {folder} to start again",
    )


def saved_states(folder: Path) -> list[Path]:
    """States in a resume folder, the furthest first."""
    return sorted(folder.glob("state-*.pt"), reverse=True)


def discard_resume(folder: Path) -> None:
    """Remove the resume folder of a finished job."""
    shutil.rmtree(folder, ignore_errors=True)
