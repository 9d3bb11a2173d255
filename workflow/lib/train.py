"""The one training engine: epochs over batches, resumable, with a history. Pretraining and fine-tuning both use it."""

import logging
import math
import pickle
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from workflow.lib.run import Progress, UserError, atomic_path, derive_seed, reason

log = logging.getLogger("medseg")

Row = dict[str, float]


@dataclass(frozen=True)
class Plan:
    """What is trained and how long.

    `batches(epoch)` yields (inputs, wanted outputs), one micro-batch each; `accumulate` of them make an optimiser step.
    `rate(step)` is the learning rate of a step, counted from 0 over all epochs. `after_epoch(row, history)` evaluates
    and saves; what it returns joins the row of this epoch, which then joins the history. Epochs count from 1. Randomness
    of an epoch depends on `seed` and the epoch alone, so that a resumed run equals an unbroken one. `best` names the
    value in the history whose highest epoch (the later of equal ones) the model has at the end; None: the last epoch.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    loss: Callable[[Tensor, Tensor], Tensor]
    batches: Callable[[int], Iterable[tuple[Tensor, Tensor]]]
    rate: Callable[[int], float]
    after_epoch: Callable[[Row, list[Row]], Row]
    epochs: int
    steps_per_epoch: int
    seed: int
    accumulate: int = 1
    precision: str = "float32"
    best: str | None = None


def train(plan: Plan, resume: Path, fingerprint: str, *, save_every: float = 0.0) -> pd.DataFrame:
    """Train, and return the history: epoch, loss, learning_rate, seconds (of training) and what `after_epoch` adds.

    The state goes to `resume`/state.pt after an epoch, at most every `save_every` seconds. A state of the same
    `fingerprint` (settings and data) is continued; of other settings, the whole folder is discarded with a log line.
    Raises `UserError` when the state is damaged or the loss is not finite.
    """
    state_path = resume / "state.pt"
    history, best = _restore(plan, state_path, fingerprint)
    progress = Progress(plan.epochs * plan.steps_per_epoch, "step", done=len(history) * plan.steps_per_epoch)
    saved = time.monotonic()
    for epoch in range(len(history) + 1, plan.epochs + 1):
        start = time.monotonic()
        loss, rate = _train_epoch(plan, epoch, progress)
        row = {"epoch": epoch, "loss": loss, "learning_rate": rate, "seconds": time.monotonic() - start}
        row |= plan.after_epoch(row, history)
        if plan.best and row[plan.best] >= max((earlier[plan.best] for earlier in history), default=-math.inf):
            best = {name: tensor.detach().cpu().clone() for name, tensor in plan.model.state_dict().items()}
        history.append(row)
        log.info("epoch %s", ", ".join(f"{name} {value:.5g}" for name, value in history[-1].items()))
        if epoch < plan.epochs and time.monotonic() - saved >= save_every:
            _save(plan, state_path, fingerprint, history, best)
            saved = time.monotonic()
    if plan.best:
        plan.model.load_state_dict(best)
    return pd.DataFrame(history)


def device_named(name: str) -> torch.device:
    """The device `cuda` or `cpu`. Raises `UserError` where CUDA is asked for and not usable."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "no usable CUDA device",
            found=f"torch {torch.__version__}, CUDA build {torch.version.cuda}, {torch.cuda.device_count()} devices",
            expected="a GPU and a driver that this build of torch supports (README, section Install)",
            where="config: device: cuda",
            next="run `nvidia-smi` on the node; or choose `--config device=cpu` deliberately",
        )
    return torch.device(name)


def move_network(network: nn.Module, device: torch.device) -> None:
    """Put a network on `device`, in the memory layout that convolutions like best."""
    network.to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def data_loader(items: Dataset[Any], batch: int, workers: int = 0, **settings: Any) -> DataLoader[Any]:
    """Batches of `items`, in order unless `settings` say otherwise, loaded by `workers` processes (0: this one)."""
    # Workers are forked: other start methods would run the job's script again in each of them.
    context = "fork" if workers else None
    return DataLoader(items, batch_size=batch, num_workers=workers, multiprocessing_context=context, **settings)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Mixed precision where `precision` is bfloat16, nothing where it is float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")


def standardise(images: Tensor, inputs: str) -> Tensor:
    """What every network input passes, images (n, 3, h, w): `unchanged`, as the study normalises nowhere; or
    `standardised`, each image to mean 0 and standard deviation 1."""
    if inputs == "unchanged":
        return images
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return (images - mean) / (images.std(dim=(1, 2, 3), keepdim=True) + 1e-3)


def discard_resume(resume: Path) -> None:
    """Remove the resume folder of a finished job."""
    shutil.rmtree(resume, ignore_errors=True)


def _train_epoch(plan: Plan, epoch: int, progress: Progress) -> tuple[float, float]:
    """One epoch; returns the mean loss per step and the last learning rate."""
    device = next(plan.model.parameters()).device
    torch.manual_seed(derive_seed(plan.seed, "epoch", epoch))
    plan.model.train()
    losses: list[float] = []
    rate = 0.0
    for micro_batches in _groups(plan.batches(epoch), plan.accumulate):
        rate = plan.rate((epoch - 1) * plan.steps_per_epoch + len(losses))
        for group in plan.optimizer.param_groups:
            group["lr"] = rate
        total = 0.0
        for inputs, wanted in micro_batches:
            inputs = inputs.to(device, memory_format=torch.channels_last, non_blocking=True)
            with autocast(device, plan.precision):
                outputs = plan.model(inputs)
            loss = plan.loss(outputs.float(), wanted.to(device, non_blocking=True)) / len(micro_batches)
            loss.backward()
            total += loss.item()
        if not math.isfinite(total):
            raise UserError(
                "loss is not finite",
                found=f"loss {total} in epoch {epoch}, step {len(losses) + 1}, learning rate {rate:.3g}",
                expected="a finite number",
                where="training",
                next="lower the learning rate of this recipe, or choose precision: float32",
            )
        plan.optimizer.step()
        plan.optimizer.zero_grad(set_to_none=True)
        losses.append(total)
        progress.step(loss=total)
    return sum(losses) / len(losses), rate


def _groups(batches: Iterable[Any], size: int) -> Iterable[list[Any]]:
    group: list[Any] = []
    for batch in batches:
        group.append(batch)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def _save(plan: Plan, path: Path, fingerprint: str, history: list[Row], best: dict[str, Tensor]) -> None:
    state = {
        "fingerprint": fingerprint,
        "history": history,
        "best": best,
        "model": plan.model.state_dict(),
        "optimizer": plan.optimizer.state_dict(),
    }
    with atomic_path(path) as temporary:
        torch.save(state, temporary)


def _restore(plan: Plan, path: Path, fingerprint: str) -> tuple[list[Row], dict[str, Tensor]]:
    """Load the state into the plan's model and optimiser; returns its history and best weights, empty without a state."""
    if not path.exists():
        return [], {}
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        raise UserError(
            "damaged resume state",
            found=reason(error),
            expected="the state of an interrupted training",
            where=path,
            next=f"rm -r {path.parent}, then run the same command again: this training starts anew",
        ) from error
    if state["fingerprint"] != fingerprint:
        log.info("resume state in %s belongs to other settings: training starts anew", path.parent)
        discard_resume(path.parent)
        return [], {}
    plan.model.load_state_dict(state["model"])
    plan.optimizer.load_state_dict(state["optimizer"])
    log.info("resuming after epoch %d of %d", len(state["history"]), plan.epochs)
    return list(state["history"]), state["best"]
