"""Fine-tuning: a U-Net from a checkpoint, its encoder frozen or not, evaluated on the test part."""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from workflow.lib.compute import chunks, data_loader, device_named, move_network
from workflow.lib.data.prepared import Prepared, load_prepared
from workflow.lib.finetune.batches import TrainItems, items_per_epoch, training_places
from workflow.lib.finetune.evaluate import evaluate, evaluation_tiles, selection_dice
from workflow.lib.finetune.losses import dice_ce_loss, dice_loss, outputs_for
from workflow.lib.networks.build import Segmenter, build_segmenter, load_encoder
from workflow.lib.pretrain.checkpoint import provenance, trained_as
from workflow.lib.protocol import Protocol
from workflow.lib.run import UserError, atomic_path, derive_seed, hash_of, read_json, write_json
from workflow.lib.state import Row, discard_resume
from workflow.lib.train import Plan, train

log = logging.getLogger("medseg")

SAVE_EVERY = 60.0  # seconds between states of a training that may be killed


class FrozenEncoder(nn.Module):
    """An encoder that never changes and needs no gradients: batch-norm and stochastic depth stay in evaluation mode."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "FrozenEncoder":
        return self

    @torch.no_grad()
    def forward(self, x: Tensor) -> list[Tensor]:
        return self.encoder(x)


def freeze(network: Segmenter, how: str, calibration: list[Tensor]) -> None:
    """Freeze the encoder in place.

    how: `gradients_off`, nothing else: batch-norm statistics still move and stochastic depth stays on, as in the study.
    `evaluation`: really frozen, after batch-norm statistics were set once to those of the target's training images
    (`calibration`: batches (n, 3, s, s)), for random and pretrained encoders alike: with untouched statistics a random
    encoder collapses, which flatters pretraining.
    """
    if how == "gradients_off":
        network.encoder.requires_grad_(False)
        return
    norms = [module for module in network.encoder.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average over the calibration batches
    network.encoder.eval()  # no stochastic depth, only the norms look at the batch
    for norm in norms:
        norm.train()
    with torch.no_grad():
        for batch in calibration if norms else []:
            network.encoder(batch)
    network.encoder = FrozenEncoder(network.encoder)


def polynomial_rate(step: int, *, base: float, total: int, late: int) -> float:
    """base * (1 - (step - late) / total)^0.9, and `base` at step 0; the study's schedule is 2 steps `late`."""
    return base * (1 - (step - late) / total) ** 0.9 if step else base


def finetune_network(
    *,
    data_folder: Path,
    weights: Path,
    output_folder: Path,
    names: Mapping[str, str],
    encoder: Mapping[str, Any],
    recipe: Mapping[str, Any],
    image_size: int,
    protocol: Protocol,
    inputs: str,
    precision: str,
    device: str,
    threads: int,
) -> None:
    """Train and evaluate one network; writes cases.csv, history.csv and card.json to `output_folder`.

    `names`: target, freeze (frozen | tuned), encoder, scheme, pretrain_seed, epochs, seed; they go into the card.
    `inputs`: what the network sees (unchanged | standardised).
    The epoch with the highest validation Dice is evaluated on the test part; where the protocol's validation is
    `test_part`, that is the same part, as in the study. Raises `UserError` for a checkpoint that does not fit, or data
    without training images.
    """
    torch.set_num_threads(threads)
    place, seed = device_named(device), int(names["seed"])
    data = load_prepared(data_folder)
    checkpoint = read_json(weights.with_suffix(".json"))
    use = "downstream" if protocol["stochastic_depth"] == "study" else trained_as(checkpoint)
    outputs = outputs_for(len(data.card["classes"]))
    network = build_segmenter(encoder, outputs, image_size=image_size, use=use, seed=derive_seed(seed, "weights"))
    load_encoder(network.encoder, weights)
    move_network(network, place)
    places = _training_places(data, data_folder)
    settings: dict[str, Any] = {"names": dict(names), "encoder": dict(encoder), "recipe": dict(recipe)}
    settings |= {"image_size": image_size, "protocol": dict(protocol), "inputs": inputs, "precision": precision}
    settings |= {"checkpoint": checkpoint["sha256"], "data": data.card["arrays"]}
    items = partial(TrainItems, data, places, inputs, recipe["rotation"], seed)
    if names["freeze"] == "frozen":
        calibration = _calibration(items(epoch=0, count=4 * recipe["batch"]), recipe["batch"], place)
        freeze(network, protocol["frozen"], calibration)
    chosen_on = "test" if protocol["validation"] == "test_part" else "validation"
    validation = evaluation_tiles(data, chosen_on, protocol, inputs, seed)
    resume = output_folder.with_name(output_folder.name + ".resume")

    def batches(epoch: int, chosen: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
        workers = threads - 1 if place.type == "cuda" else 0
        epoch_items = items(epoch=epoch, count=items_per_epoch(recipe))
        parts = chunks(range(len(epoch_items)), micro_batch(recipe))
        yield from data_loader(epoch_items, [parts[number] for number in chosen], workers, pinned=place.type == "cuda")

    def after_epoch(row: Row, history: list[Row]) -> Row:
        return {"validation dice": selection_dice(network, validation, recipe["batch"], precision, protocol["metrics"])}

    plan = finetune_plan(
        network, recipe, items(epoch=1, count=items_per_epoch(recipe)), batches, after_epoch, seed, precision, protocol
    )
    history = train(plan, resume, hash_of(settings), save_every=SAVE_EVERY)
    test = evaluation_tiles(data, "test", protocol, inputs, seed)
    table, metrics = evaluate(network, test, recipe["batch"], precision, protocol["metrics"])
    card = settings | {
        "config_hash": hash_of(settings),
        "best epoch": int(history.loc[history["validation dice"][::-1].idxmax(), "epoch"]),
        "pretraining": {key: checkpoint[key] for key in ("epoch", "accuracy")},
        "seconds": round(float(history["seconds"].sum()), 3),
        "metrics": _finite(metrics),
        **provenance(place),
    }
    _write_results(output_folder, table, history, card)
    discard_resume(resume)


def _write_results(folder: Path, cases: pd.DataFrame, history: pd.DataFrame, card: dict[str, Any]) -> None:
    for name, frame in {"cases": cases, "history": history}.items():
        with atomic_path(folder / f"{name}.csv") as temporary:
            frame.to_csv(temporary, index=False)
    write_json(folder / "card.json", card)


def finetune_plan(
    network: nn.Module,
    recipe: Mapping[str, Any],
    items: TrainItems,
    batches: Any,
    after_epoch: Any,
    seed: int,
    precision: str,
    protocol: Protocol,
) -> Plan:
    """Optimiser, loss and schedule of the recipe; SGD has momentum 0.9, as in the study."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    settings = {"lr": recipe["learning_rate"], "weight_decay": recipe["weight_decay"]}
    optimizer = (
        torch.optim.AdamW(trained, **settings)
        if recipe["optimizer"] == "adamw"
        else torch.optim.SGD(trained, momentum=0.9, **settings)
    )
    size = items.data.card["image_size"]
    batch, micro = recipe["batch"], micro_batch(recipe)
    steps = math.ceil(len(items) / batch)
    weighted = partial(dice_ce_loss, background_weight=recipe["background_weight"])
    return Plan(
        model=network,
        optimizer=optimizer,
        loss=weighted if recipe["loss"] == "dice_ce" else dice_loss,
        batches=batches,
        rate=partial(
            polynomial_rate,
            base=recipe["learning_rate"],
            total=recipe["epochs"] * steps,
            late=2 if protocol["schedule"] == "two_late" else 0,
        ),
        after_epoch=after_epoch,
        epochs=recipe["epochs"],
        micro_batches=math.ceil(len(items) / micro),
        accumulate=batch // micro,
        seed=seed,
        precision=precision,
        best="validation dice",
        forward=f"{micro} images of {size} pixels",
        shrink=f"set finetune: {{micro_batch: {max(1, micro // 2)}}}: gradients are accumulated to the batch of {batch}",
    )


def micro_batch(recipe: Mapping[str, Any]) -> int:
    """Images per forward pass: the whole batch, unless the recipe says less."""
    return recipe["micro_batch"] or recipe["batch"]


def _training_places(data: Prepared, folder: Path) -> list:
    places = training_places(data)
    if not places:
        raise UserError(
            f"no training images of {data.card['target']}",
            found=f"parts {data.items['part'].value_counts().to_dict()}",
            expected="at least one item of part train that is not dark",
            where=folder / "items.csv",
            next="check split.csv of this target, and train_cases in the config",
        )
    return places


def _calibration(items: TrainItems, batch: int, place: torch.device) -> list[Tensor]:
    return [
        images.to(place, memory_format=torch.channels_last)
        for images, _ in data_loader(items, chunks(range(len(items)), batch))
    ]


def _finite(metrics: dict[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}
