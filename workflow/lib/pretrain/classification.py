"""Pretraining by image classification: data set, learning rate, accuracy, and the job that writes all checkpoints."""

import dataclasses
import logging
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from workflow.lib.data.source import ImageList, load_source
from workflow.lib.job.run import atomic_path, derive_seed, hash_of, sha256_of
from workflow.lib.networks.build import Classifier, build_classifier, seeded
from workflow.lib.networks.checkpoint import write_checkpoint
from workflow.lib.networks.weights import check_checkpoint
from workflow.lib.pretrain import augment
from workflow.lib.pretrain.scratch import on_scratch
from workflow.lib.training.device import (
    autocast,
    chosen_precision,
    chunks,
    data_loader,
    device_named,
    move_network,
    standardise,
)
from workflow.lib.training.distributed import one_per_node, processes, rank, sum_over_processes
from workflow.lib.training.engine import Plan, train
from workflow.lib.training.state import Row, discard_resume

log = logging.getLogger("medseg")


@dataclasses.dataclass
class TrainImages(Dataset[tuple[Tensor, Tensor]]):
    """Augmented training images of one epoch: (3, s, s) float32 and soft labels (classes,).

    What an item looks like depends on `seed`, `epoch` and its index alone, not on workers or order.
    """

    images: ImageList
    size: int
    augmentation: str
    inputs: str
    seed: int
    epoch: int

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        with seeded(derive_seed(self.seed, "image", self.epoch, index)):
            image, label = self._one(index)
            if self.augmentation == "advanced":
                rng = torch.Generator().manual_seed(derive_seed(self.seed, "mix", self.epoch, index))
                partner = int(torch.randint(len(self.images), (1,), generator=rng))
                image, label = augment.mix(image, label, *self._one(partner), rng)
                image = augment.random_erasing()(image)
        return standardise(image[None], self.inputs)[0], label

    def _one(self, index: int) -> tuple[Tensor, Tensor]:
        image = augment.crop_and_flip(self.size)(as_float(self.images, index))
        if self.augmentation == "advanced":
            image = augment.rand_augment(image)
        return image, augment.soft_label(int(self.images.labels[index]), len(self.images.classes))


@dataclasses.dataclass
class ValidationImages(Dataset[tuple[Tensor, int]]):
    """Validation images (3, s, s) and class numbers."""

    images: ImageList
    size: int
    inputs: str

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = augment.evaluation_crop(self.size)(as_float(self.images, index))
        return standardise(image[None], self.inputs)[0], int(self.images.labels[index])


def as_float(images: ImageList, index: int) -> Tensor:
    """Image `index` as float32 (3, h, w) in 0..1."""
    return torch.tensor(images.read(index)).permute(2, 0, 1).float() / 255


def learning_rate(step: int, *, base: float, warmup: int, total: int) -> float:
    """The study's schedule: linear warm-up from base * 1e-6, then a cosine from `base` to 1e-6; per optimiser step."""
    if step < warmup:
        return base * (1e-6 + (1 - 1e-6) * step / warmup)
    return 1e-6 + (base - 1e-6) * (1 + math.cos(math.pi * (step - warmup) / (total - warmup))) / 2


def validate(model: nn.Module, loader: DataLoader[Any], precision: str) -> tuple[float, float]:
    """Top-1 accuracy (0..1) and mean cross-entropy over the images of all processes' loaders."""
    device = next(model.parameters()).device
    model.eval()
    sums = torch.zeros(3, device=device)  # right, loss, count
    with torch.inference_mode():
        for images, labels in loader:
            labels = labels.to(device)
            with autocast(device, precision):
                logits = model(images.to(device)).float()
            right, loss = (logits.argmax(dim=1) == labels).sum(), F.cross_entropy(logits, labels, reduction="sum")
            sums += torch.stack([right.float(), loss, torch.tensor(float(len(labels)), device=device)])
    sum_over_processes([sums])
    right, loss, count = sums.tolist()
    return right / count, loss / count


def pretrain_encoder(*, folder: str | Path, keep: list[int], **training: Any) -> None:
    """Train one encoder and write `folder`/epoch{e}.safetensors and .json for every e in `keep`, and history.csv.

    training: the arguments of `pretraining`. Kept checkpoints and the state of training wait in `folder`.resume until all is
    done, so that a killed job loses less than an epoch. Each of several processes calls it. Raises `UserError` when CUDA is
    asked for and absent, or the loss is not finite.
    """
    plan, settings = pretraining(**training)
    folder = Path(folder)
    resume = folder.with_name(folder.name + ".resume")
    config_hash = hash_of(settings | {"keep": keep})

    def after_epoch(row: Row, history: list[Row]) -> Row:
        measured = plan.after_epoch(row, history)
        if row["epoch"] in keep and rank() == 0:
            card = epoch_card([*history, row | measured]) | {"config_hash": config_hash} | settings
            write_checkpoint(plan.model, resume / f"epoch{card['epoch']}.safetensors", card)
        return measured

    history = train(dataclasses.replace(plan, after_epoch=after_epoch), resume, config_hash)
    if rank():
        return
    _publish(resume, folder, keep)
    with atomic_path(folder / "history.csv") as temporary:
        history.to_csv(temporary, index=False)
    discard_resume(resume)


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
    scratch: str | None = None,
) -> tuple[Plan, dict[str, Any]]:
    """The training of one encoder, which after each epoch measures accuracy and validation loss, and its settings for cards.

    `threads` of this process; `scratch`: folder on the node's own disk, from which the images are read.
    """
    torch.set_num_threads(threads)
    place = device_named(device)
    asked, precision = precision, chosen_precision(precision, place)
    images = [load_source(source_card, index, part) for part in ("train", "val")]
    train_images, validation_images = one_per_node(lambda: on_scratch(images, scratch)) if scratch else images
    model = build_classifier(
        encoder,
        len(train_images.classes),
        image_size=image_size,
        use=recipe["augmentation"],
        seed=derive_seed(seed, "weights"),
    )
    move_network(model, place, precision)
    settings = {
        "encoder": dict(encoder),
        "recipe": dict(recipe),
        "seed": seed,
        "image_size": image_size,
        "inputs": inputs,
        "precision": asked,
        "computed_in": precision,
        "index": sha256_of(index),
    }
    workers = threads - 1 if place.type == "cuda" else 0
    validation = ValidationImages(validation_images, image_size, inputs)
    own = range(rank(), len(validation), processes())
    loader = data_loader(validation, chunks(own, recipe["micro_batch"]), workers)

    def batches(epoch: int, chosen: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
        items = TrainImages(train_images, image_size, recipe["augmentation"], inputs, seed, epoch)
        generator = torch.Generator().manual_seed(derive_seed(seed, "order", epoch))
        parts = chunks(torch.randperm(len(items), generator=generator).tolist(), recipe["micro_batch"])
        yield from data_loader(items, [parts[number] for number in chosen], workers, pinned=place.type == "cuda")

    def after_epoch(row: Row, history: list[Row]) -> Row:
        top1, loss = validate(model, loader, precision)
        return {"accuracy": top1, "validation loss": loss}

    plan = classification_plan(
        model,
        recipe,
        len(train_images),
        batches,
        after_epoch,
        image_size=image_size,
        seed=seed,
        precision=precision,
    )
    log.info("%d training images, %d steps per epoch, %d epochs", len(train_images), plan.steps_per_epoch, plan.epochs)
    return plan, settings


def epoch_card(history: list[Row]) -> dict[str, Any]:
    """What a card says of the training behind a checkpoint: the last of these epochs, and the seconds of all."""
    row, seconds = history[-1], round(sum(row["seconds"] for row in history), 3)
    return {"epoch": int(row["epoch"]), "accuracy": row["accuracy"], "loss": row["loss"], "seconds": seconds}


def _publish(resume: Path, folder: Path, keep: list[int]) -> None:
    """Copy the kept checkpoints to `folder`, if none of them was damaged while they waited."""
    for epoch in keep:
        advice = f"rm -r '{resume}', then run the same command again: this pretraining starts from the beginning"
        check_checkpoint(resume / f"epoch{epoch}.safetensors", next=advice)
    for epoch in keep:
        for suffix in (".safetensors", ".json"):
            with atomic_path(folder / f"epoch{epoch}{suffix}") as temporary:
                shutil.copy2(resume / temporary.name, temporary)


def classification_plan(
    model: Classifier,
    recipe: Mapping[str, Any],
    images: int,
    batches: Any,
    after_epoch: Any,
    *,
    image_size: int,
    seed: int,
    precision: str,
) -> Plan:
    """The study's optimisation: AdamW on all parameters, soft cross-entropy with label smoothing, warm-up and cosine."""
    micro_batches = math.ceil(images / recipe["micro_batch"])
    accumulate = max(1, recipe["batch"] // recipe["micro_batch"])
    steps = math.ceil(micro_batches / accumulate)
    return Plan(
        model=model,
        optimizer=torch.optim.AdamW(
            model.parameters(), lr=recipe["learning_rate"], weight_decay=recipe["weight_decay"], fused=True
        ),
        loss=lambda logits, labels: F.cross_entropy(logits, labels, label_smoothing=recipe["label_smoothing"]),
        batches=batches,
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
