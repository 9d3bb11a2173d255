"""The one training engine: epochs over batches, resumable, with a history. Pretraining and fine-tuning both use it."""

import logging
import math
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pandas as pd
import torch
from torch import Tensor, nn

from workflow.lib.job.run import WARNED, Progress, UserError, derive_seed, reason
from workflow.lib.job.slurm import requeue_this_job
from workflow.lib.training.device import autocast
from workflow.lib.training.distributed import NormStatistics, processes, rank, sum_over_processes, wait_for_all
from workflow.lib.training.state import Position, Row, restore_state, save_state, saved_states

log = logging.getLogger("medseg")

# Steps after which losses are read. Reading one waits for all work of a GPU before it, so that the next step starts late.
READ_EVERY = {"cpu": 1, "cuda": 20}


@dataclass(frozen=True)
class Plan:
    """What is trained and how long.

    An epoch consists of `micro_batches`; `accumulate` of them make an optimiser step. `batches(epoch, chosen)` yields
    (images, wanted outputs; `loss` gets them with the model's) of the micro-batches with the numbers `chosen`, counted from 0
    in each epoch, in that order; `as_inputs` makes model inputs of images on the device. `rate(step)` is the learning rate of
    a step, counted from 0 over all epochs. `after_epoch(row, history)` evaluates and saves; what it returns joins the row of
    this epoch, which then joins the history. Epochs count from 1. Randomness of a micro-batch depends on `seed`, the epoch
    and its number alone, so that a resumed run equals an unbroken one, and several processes equal one. `best` names the
    value in the history whose highest epoch (the later of equal ones) the model has at the end; None: the last epoch.
    `ends(history)` says, the same in all processes, that no epoch follows. `forward` says what one pass holds, and `shrink`
    how it is made smaller, where memory does not suffice.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    loss: Callable[[Any, Tensor], Tensor]
    batches: Callable[[int, Sequence[int]], Iterable[tuple[Tensor, Tensor]]]
    rate: Callable[[int], float]
    after_epoch: Callable[[Row, list[Row]], Row]
    epochs: int
    micro_batches: int
    seed: int
    as_inputs: Callable[[Tensor], Tensor] = lambda images: images
    accumulate: int = 1
    precision: str = "float32"
    best: str | None = None
    ends: Callable[[list[Row]], bool] = lambda history: False
    forward: str = "a micro-batch"
    shrink: str = "make the micro-batch smaller"

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of an epoch; the last may have fewer micro-batches."""
        return math.ceil(self.micro_batches / self.accumulate)


def train(
    plan: Plan,
    resume: Path,
    fingerprint: str,
    *,
    save_every: float = 0.0,
    of: tuple[int, int] = (0, 1),
    slot_used: bool = False,
    discard: bool = True,
) -> pd.DataFrame:
    """Train, and return the history: epoch, loss, learning_rate, seconds (of training) and what `after_epoch` adds.

    The state goes to `resume` after an epoch, at most every `save_every` seconds, and when the process is asked to end:
    by SIGTERM or Ctrl-C, or by SIGURG, the warning before the time limit, after which the job requeues itself. A state of
    the same `fingerprint` (settings and data) is continued, also within an epoch; of other settings, the whole folder is
    discarded with a log line, or (discard False) an error.

    of: of a job with several equal trainings, how many come before this one, and how many there are, for the progress shown;
    slot_used: whether this process has finished one of them. Raises `UserError` when the state is damaged, the loss is not
    finite, memory does not suffice, or the process was asked to end.
    """
    if processes() > plan.accumulate:
        raise UserError(
            "more processes than micro-batches of a step",
            found=f"{processes()} processes, {plan.accumulate} micro-batches",
            expected="at least one micro-batch for each process",
            where="resources of this rule (gpu), and batch / micro_batch of the recipe",
            next="use fewer GPUs; a smaller micro_batch is a different recipe, as batch-norm depends on it",
        )
    if rank():
        wait_for_all()  # the first process may discard the folder
    position = restore_state(resume, fingerprint, plan.model, plan.optimizer, discard=discard)
    if not rank():
        wait_for_all()
    done = len(position.history) * plan.steps_per_epoch + len(position.losses)
    everywhere = torch.tensor(float(done), device=next(plan.model.parameters()).device)
    sum_over_processes([everywhere])
    if everywhere.item() != done * processes():
        raise UserError(
            "processes found different resume states",
            found=f"step {done} in process {rank()}, {everywhere.item() / processes():.1f} on average",
            expected="the same state on all nodes",
            where=resume,
            next="run the same command again: network file systems show new files late",
        )
    if done:
        log.info(
            "resuming after epoch %d, step %d, of %d epochs", position.epoch - 1, len(position.losses), plan.epochs
        )
    steps, (before, count) = plan.epochs * plan.steps_per_epoch, of
    progress = Progress(steps * count, "step", done=steps * before + done)
    start = progress.done
    saved = time.monotonic()
    with _signals() as received, _memory_named(plan):
        while position.epoch <= plan.epochs and not plan.ends(position.history):
            if not _train_epoch(plan, position, progress, received, resume):
                _leave(plan, position, resume, fingerprint, received, slot_used or progress.done > start)
            _finish_epoch(plan, position)
            if position.epoch <= plan.epochs and time.monotonic() - saved >= save_every:
                _save(plan, position, resume, fingerprint)
                saved = time.monotonic()
    if plan.best:
        plan.model.load_state_dict(position.best)
    return pd.DataFrame(position.history)


def _train_epoch(plan: Plan, position: Position, progress: Progress, received: list[int], resume: Path) -> bool:
    """Train the epoch that comes next, or what is left of it; False where a signal ended it after a step."""
    device = next(plan.model.parameters()).device
    unread = list[Tensor]()
    plan.model.train()
    left = range(len(position.losses) * plan.accumulate, plan.micro_batches)
    batches = iter(plan.batches(position.epoch, _own(plan, left)))
    for step in range(len(position.losses), plan.steps_per_epoch):
        if _told_to_end(received, device):
            _read_losses(plan, position, unread, resume)
            return False
        start = time.monotonic()
        members = range(step * plan.accumulate, min((step + 1) * plan.accumulate, plan.micro_batches))
        for group in plan.optimizer.param_groups:
            group["lr"] = _rate(plan, position.epoch, step)
        unread.append(_step(plan, position.epoch, members, batches, device))
        plan.optimizer.step()
        plan.optimizer.zero_grad(set_to_none=True)
        last = step + 1 == plan.steps_per_epoch
        if last or not position.losses or len(unread) >= READ_EVERY[device.type]:
            _read_losses(plan, position, unread, resume)
        position.seconds += time.monotonic() - start
        progress.step(loss=position.losses[-1])
    return True


def _rate(plan: Plan, epoch: int, step: int) -> float:
    """The learning rate of a step of an epoch, counted from 0."""
    return plan.rate((epoch - 1) * plan.steps_per_epoch + step)


def _read_losses(plan: Plan, position: Position, unread: list[Tensor], resume: Path) -> None:
    """Move the losses of the latest steps to the position; always before the state is saved. Raises `UserError` for one that is
    not finite."""
    for loss in torch.stack(unread).tolist() if unread else []:
        if not math.isfinite(loss):
            raise _not_finite(loss, position, _rate(plan, position.epoch, len(position.losses)), resume)
        position.losses.append(loss)
    unread.clear()


def _finish_epoch(plan: Plan, position: Position) -> None:
    """Evaluate, and move the position to the next epoch."""
    row = {"epoch": position.epoch, "loss": sum(position.losses) / len(position.losses)}
    row |= {"learning_rate": plan.optimizer.param_groups[0]["lr"], "seconds": position.seconds}
    row |= plan.after_epoch(row, position.history)
    if plan.best and row[plan.best] >= max((old[plan.best] for old in position.history), default=-math.inf):
        position.best = {name: tensor.detach().cpu().clone() for name, tensor in plan.model.state_dict().items()}
    position.history.append(row)
    position.losses, position.seconds = [], 0.0
    log.info("epoch %s", ", ".join(f"{name} {value:.5g}" for name, value in row.items()))


def _step(
    plan: Plan, epoch: int, members: range, batches: Iterator[tuple[Tensor, Tensor]], device: torch.device
) -> Tensor:
    """Gradients and the mean loss of one step, whose micro-batches are `members`; the same in all processes."""
    statistics = NormStatistics(plan.model) if processes() > 1 else None
    total = torch.zeros((), device=device)
    for number in _own(plan, members):
        images, wanted = next(batches)
        _seed(device, derive_seed(plan.seed, "micro-batch", epoch, number))
        if statistics:
            statistics.begin()
        inputs = plan.as_inputs(images.to(device, non_blocking=True))
        with autocast(device, plan.precision):
            outputs = plan.model(inputs)
        loss = plan.loss(float32(outputs), wanted.to(device, non_blocking=True)) / len(members)
        loss.backward()
        total += loss.detach()
        if statistics:
            statistics.end(later=members.stop - 1 - number)
    if statistics:
        sum_over_processes([*_gradients(plan.model), *statistics.terms, total])
        statistics.finish(len(members))
    return total


def float32(outputs: Any) -> Any:
    """Outputs of a model, a tensor or a tuple of them, as the loss wants them."""
    return tuple(map(float32, outputs)) if isinstance(outputs, tuple) else outputs.float()


def _own(plan: Plan, numbers: range) -> list[int]:
    """Those of the epoch's micro-batches `numbers` that are this process's: in turn within each step."""
    return [number for number in numbers if number % plan.accumulate % processes() == rank()]


def _gradients(model: nn.Module) -> list[Tensor]:
    """Gradients of all trained parameters; zeros where this process had no micro-batch in the step."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trained:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    return [parameter.grad for parameter in trained if parameter.grad is not None]


def _seed(device: torch.device, seed: int) -> None:
    # Not torch.manual_seed, which is slow in CUDA builds where no CUDA device is used.
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect the signals that tell the process to end, so that it can finish its step and save."""
    received = WARNED.copy()

    def note(number: int, _: Any) -> None:
        received.append(number)
        if number == signal.SIGURG:  # where this training ends before it is obeyed, it is for the next one
            WARNED.append(number)

    before = {kind: signal.signal(kind, note) for kind in (signal.SIGTERM, signal.SIGINT, signal.SIGURG)}
    try:
        yield received
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def _told_to_end(received: list[int], device: torch.device) -> bool:
    """Whether any process of this training was asked to end; the same in all."""
    if processes() == 1:
        return bool(received)
    flag = torch.tensor(float(len(received)), device=device)
    sum_over_processes([flag])
    return flag.item() > 0


def _save(plan: Plan, position: Position, resume: Path, fingerprint: str) -> None:
    if rank() == 0:
        save_state(resume, fingerprint, position, plan.model, plan.optimizer)


def _leave(
    plan: Plan, position: Position, resume: Path, fingerprint: str, received: list[int], progressed: bool
) -> NoReturn:
    """Save, and end this process: requeued where the time limit is near, with an error otherwise."""
    WARNED.clear()  # obeyed
    _save(plan, position, resume, fingerprint)
    place = f"after epoch {position.epoch - 1}, step {len(position.losses)}"
    refused = ""
    if not {signal.SIGTERM, signal.SIGINT} & set(received):
        if not progressed:
            raise UserError(
                "no progress in a whole time slot of the cluster",
                found="the signal before the time limit came before the first step was finished",
                expected="at least one optimiser step",
                where=f"{resume}, {place}",
                next="give this rule more `runtime` in the profile, or send the signal later (--signal in slurm_extra)",
            )
        refused = (requeue_this_job() if rank() == 0 else None) or ""
        wait_for_all()
        if not refused:
            log.info("time limit near: state saved %s; the job is requeued", place)
            raise SystemExit(1)
    raise UserError(
        "training was interrupted",
        found=", ".join(sorted({signal.Signals(number).name for number in received}) + [refused] * bool(refused)),
        expected="a training that finishes",
        where=f"{resume}, {place}",
        next="run the same command again: it resumes from there",
    )


def _not_finite(loss: float, position: Position, rate: float, resume: Path) -> UserError:
    good = next(iter(saved_states(resume)), "none: it is the first epoch")
    return UserError(
        "loss is not finite",
        found=f"loss {loss} in epoch {position.epoch}, step {len(position.losses) + 1}, learning rate {rate:.3g}",
        expected="a finite number",
        where=f"training; last good state: {good}",
        next="lower the learning rate of this recipe, or choose precision: float32",
    )


@contextmanager
def _memory_named(plan: Plan) -> Iterator[None]:
    """Say what needed too much memory, and what to do."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        device = next(plan.model.parameters()).device
        peak = torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else math.nan
        raise UserError(
            "out of memory on the GPU",
            found=f"{plan.forward} in one pass, peak {peak:.1f} GB: {reason(error)}",
            expected="memory for a forward and a backward pass",
            where=device,
            next=plan.shrink,
        ) from error
