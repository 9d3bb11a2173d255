"""Pretraining of an encoder by one of the tasks: schedule, validation, and the job that writes all checkpoints."""

import dataclasses
import logging
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from workflow.lib.data.source import load_source
from workflow.lib.job.run import atomic_path, derive_seed, hash_of, read_json, sha256_of
from workflow.lib.networks.build import build_classifier, load_encoder
from workflow.lib.networks.checkpoint import write_checkpoint
from workflow.lib.networks.weights import check_checkpoint
from workflow.lib.pretrain import classification
from workflow.lib.pretrain.scratch import on_scratch
from workflow.lib.pretrain.tasks import TASKS
from workflow.lib.pretrain.views import Views, network_inputs
from workflow.lib.study.guards import check_held_out
from workflow.lib.training.device import autocast, chosen_precision, chunks, data_loader, device_named, move_network
from workflow.lib.training.distributed import one_per_node, processes, rank, sum_over_processes
from workflow.lib.training.engine import Plan, float32, train
from workflow.lib.training.state import Row, discard_resume

log = logging.getLogger("medseg")


def learning_rate(step: int, *, base: float, warmup: int, total: int) -> float:
    """The study's schedule: linear warm-up from base * 1e-6, then a cosine from `base` to 1e-6; per optimiser step."""
    if step < warmup:
        return base * (1e-6 + (1 - 1e-6) * step / warmup)
    return 1e-6 + (base - 1e-6) * (1 + math.cos(math.pi * (step - warmup) / (total - warmup))) / 2


def mean_loss(
    model: nn.Module, task: ModuleType, loader: DataLoader[Any], recipe: Mapping[str, Any], inputs: str, precision: str
) -> float:
    """Mean loss of a task over the micro-batches of all processes' loaders."""
    device = next(model.parameters()).device
    model.eval()
    sums = torch.zeros(2, device=device)  # loss, images
    with torch.inference_mode():
        for views, wanted in loader:
            with autocast(device, precision):
                outputs = model(network_inputs(views.to(device), inputs))
            loss = task.loss(float32(outputs), wanted.to(device), recipe)
            sums += torch.stack([loss * len(views), torch.tensor(float(len(views)), device=device)])
    sum_over_processes([sums])
    total, count = sums.tolist()
    return total / count


def pretrain_encoder(*, folder: str | Path, keep: list[int], **training: Any) -> None:
    """Train one encoder and write `folder`/epoch{e}.safetensors and .json for every e in `keep`, and history.csv.

    training: the arguments of `pretraining`. Kept checkpoints and the state of training wait in `folder`.resume until all is
    done, so that a killed job loses less than an epoch. Each of several processes calls it. Raises `UserError` when CUDA is
    asked for and absent, or the loss is not finite.
    """
    plan, settings, seen = pretraining(**training)
    folder = Path(folder)
    resume = folder.with_name(folder.name + ".resume")
    config_hash = hash_of(settings | {"keep": keep})

    def after_epoch(row: Row, history: list[Row]) -> Row:
        measured = plan.after_epoch(row, history)
        if row["epoch"] in keep and rank() == 0:
            card = epoch_card([*history, row | measured], seen) | {"config_hash": config_hash} | settings
            write_checkpoint(plan.model, resume / f"epoch{card['epoch']}.safetensors", card)
        return measured

    history = train(dataclasses.replace(plan, after_epoch=after_epoch), resume, config_hash, discard=False)
    if rank():
        return
    _publish(resume, folder, keep)
    with atomic_path(folder / "history.csv") as temporary:
        history.to_csv(temporary, index=False)
    discard_resume(resume)


class Seen(NamedTuple):
    """Training images of an epoch; images and seconds of the training that this one continues, None where they are not known."""

    images: int
    images_before: int | None
    seconds_before: float | None


def pretraining(
    *,
    source_card: str | Path,
    index: str | Path,
    encoder: Mapping[str, Any],
    recipe: Mapping[str, Any],
    seed: int,
    image_size: int,
    inputs: str,
    precision: str,
    device: str,
    threads: int,
    start: str | Path | None = None,
    rate: str | Path | None = None,
    scratch: str | None = None,
) -> tuple[Plan, dict[str, Any], Seen]:
    """The training of one encoder on the recipe's task, which after each epoch measures the validation loss, and accuracy of
    classification; its settings for cards, and the images that it sees.

    `threads` of this process; `start`: checkpoint whose encoder it continues from; `rate`: what `choose_rate` wrote, where the
    recipe has several learning rates; `scratch`: folder on the node's own disk, from which the images are read.
    """
    torch.set_num_threads(threads)
    place = device_named(device)
    asked, precision = precision, chosen_precision(precision, place)
    images = [load_source(source_card, index, part) for part in ("train", "val")]
    train_images, validation_images = one_per_node(lambda: on_scratch(images, scratch)) if scratch else images
    task = TASKS[recipe.get("task", "classification")]
    model = task.network(
        encoder, train_images, image_size=image_size, use=recipe["augmentation"], seed=derive_seed(seed, "weights")
    )
    if start:
        load_encoder(model.encoder, start)
    move_network(model, place, precision)
    settings: dict[str, Any] = {
        "encoder": dict(encoder),
        "recipe": dict(recipe),
        "seed": seed,
        "image_size": image_size,
        "inputs": inputs,
        "precision": asked,
        "computed_in": precision,
        "index": sha256_of(index),
    } | ({"start": sha256_of(start)} if start else {})
    before: dict[str, Any] = (
        read_json(Path(start).with_suffix(".json")) if start else {"images_seen": 0, "seconds": 0.0}
    )
    held_out = read_json(source_card).get("held_out", {})
    if start:
        check_held_out(before, held_out, start)
    if held_out := {**before.get("held_out", {}), **held_out}:
        settings["held_out"] = held_out
    if rate:
        settings["rate"] = read_json(rate)
        recipe = {**recipe, "learning_rate": settings["rate"]["chosen"]}
    workers = threads - 1 if place.type == "cuda" else 0
    mixed = classification.mixed if task is classification else None
    shown: dict[str, Any] = {"size": image_size, "augmentation": recipe["augmentation"]}
    epoch_views = partial(Views, task.item, mixed=mixed, **shown)
    own = range(rank(), len(validation_images), processes())
    validation: Any = classification.ValidationImages(validation_images, image_size)
    if task is not classification:  # the same views after every epoch
        validation = epoch_views(images=validation_images, seed=derive_seed(seed, "validation"), epoch=0)
    loader = data_loader(validation, chunks(own, recipe["micro_batch"]), workers)

    def batches(epoch: int, chosen: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
        items = epoch_views(images=train_images, seed=seed, epoch=epoch)
        generator = torch.Generator().manual_seed(derive_seed(seed, "order", epoch))
        parts = chunks(torch.randperm(len(items), generator=generator).tolist(), recipe["micro_batch"])
        yield from data_loader(items, [parts[number] for number in chosen], workers, pinned=place.type == "cuda")

    def after_epoch(row: Row, history: list[Row]) -> Row:
        if task is classification:
            top1, loss = classification.validate(model, loader, inputs, precision)
            return {"accuracy": top1, "validation loss": loss}
        return {"validation loss": mean_loss(model, task, loader, recipe, inputs, precision)}

    plan = pretraining_plan(
        model,
        partial(task.loss, recipe=recipe),
        recipe,
        len(train_images),
        batches,
        after_epoch,
        image_size=image_size,
        inputs=inputs,
        seed=seed,
        precision=precision,
    )
    log.info("%d training images, %d steps per epoch, %d epochs", len(train_images), plan.steps_per_epoch, plan.epochs)
    return plan, settings, Seen(len(train_images), before.get("images_seen"), before.get("seconds"))


def epoch_card(history: list[Row], seen: Seen) -> dict[str, Any]:
    """What a card says of the training behind a checkpoint: the last of these epochs; the images of an epoch; the images and
    seconds of all epochs, of a training that this one continues, too."""
    row, seconds = history[-1], sum(row["seconds"] for row in history)
    card = {"epoch": int(row["epoch"]), "accuracy": row.get("accuracy"), "loss": row["loss"], "images": seen.images}
    if seen.images_before is None or seen.seconds_before is None:
        return card | {"images_seen": None, "seconds": None}
    return card | {
        "images_seen": seen.images_before + int(row["epoch"]) * seen.images,
        "seconds": round(seen.seconds_before + seconds, 3),
    }


def _publish(resume: Path, folder: Path, keep: list[int]) -> None:
    """Copy the kept checkpoints to `folder`, if none of them was damaged while they waited."""
    for epoch in keep:
        advice = f"rm -r '{resume}', then run the same command again: this pretraining starts from the beginning"
        check_checkpoint(resume / f"epoch{epoch}.safetensors", next=advice)
    for epoch in keep:
        for suffix in (".safetensors", ".json"):
            with atomic_path(folder / f"epoch{epoch}{suffix}") as temporary:
                shutil.copy2(resume / temporary.name, temporary)


def pretraining_plan(
    model: nn.Module,
    loss: Any,
    recipe: Mapping[str, Any],
    images: int,
    batches: Any,
    after_epoch: Any,
    *,
    image_size: int,
    inputs: str,
    seed: int,
    precision: str,
) -> Plan:
    """The study's optimisation, for any task: AdamW on all parameters, warm-up and cosine."""
    micro_batches = math.ceil(images / recipe["micro_batch"])
    accumulate = max(1, recipe["batch"] // recipe["micro_batch"])
    steps = math.ceil(micro_batches / accumulate)
    return Plan(
        model=model,
        optimizer=torch.optim.AdamW(
            model.parameters(), lr=recipe["learning_rate"], weight_decay=recipe["weight_decay"], fused=True
        ),
        loss=loss,
        batches=batches,
        as_inputs=partial(network_inputs, inputs=inputs),
        rate=lambda step: learning_rate(
            step,
            base=recipe["learning_rate"],
            warmup=round(recipe["warmup_epochs"] * steps),
            total=recipe["epochs"] * steps,
        ),
        after_epoch=after_epoch,
        epochs=recipe["epochs"],
        micro_batches=micro_batches,
        seed=seed,
        accumulate=accumulate,
        precision=precision,
        forward=f"{recipe['micro_batch']} images of {image_size} pixels",
        shrink=f"set micro_batch: {max(1, recipe['micro_batch'] // 2)} under schemes (per_encoder): gradients are accumulated"
        f" to the batch of {recipe['batch']}; batch-norm then sees other micro-batches, so training starts again",
    )


def random_weights(
    *,
    source_card: str | Path,
    index: str | Path | None,
    weights: Mapping[int, Path],
    encoder: Mapping[str, Any],
    image_size: int,
) -> None:
    """Write an untrained classifier for each seed, drawn from it, as the checkpoint of length 0; its accuracy is chance.

    Cards hold no date: drawn again, they are the same, and nothing that was trained from them is repeated.

    index: list of the source's images; None for encoders whose weights come from elsewhere: ImageNet's 1000 classes.
    """
    classes = len(load_source(source_card, index, "train").classes) if index else 1000
    common = {"encoder": dict(encoder), "image_size": image_size, "index": sha256_of(index) if index else None}
    for seed, path in weights.items():
        drawn_from = derive_seed(seed, "weights")
        model = build_classifier(encoder, classes, image_size=image_size, use="simple", seed=drawn_from)
        settings = common | {"seed": seed}
        card = {"epoch": 0, "accuracy": 1 / classes, "seconds": 0.0, "config_hash": hash_of(settings)}
        write_checkpoint(model, path, card | settings, dated=False)
