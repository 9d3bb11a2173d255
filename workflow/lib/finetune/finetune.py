"""Fine-tuning: a U-Net from a checkpoint, its encoder frozen or not, evaluated on the test split."""

import logging
import math
import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from workflow.lib.data.prepared import Prepared, hash_of_tested, load_prepared, truths_of
from workflow.lib.finetune.batches import TrainItems, items_per_epoch, lasting, training_patches
from workflow.lib.finetune.evaluate import evaluate, evaluation_tiles, selection_dice
from workflow.lib.finetune.kept import PREDICTIONS, blank_labels, write_predictions
from workflow.lib.finetune.start import freeze, starting_card, transfer
from workflow.lib.finetune.subsets import classes_lacking, training_patients
from workflow.lib.job.run import UserError, atomic_path, derive_seed, hash_of, read_json, sha256_of, write_json
from workflow.lib.networks.build import build_segmenter
from workflow.lib.networks.checkpoint import provenance, trained_as
from workflow.lib.networks.given import starting_network
from workflow.lib.study.checkpoints import Finetuning, written
from workflow.lib.study.guards import check_held_out
from workflow.lib.study.protocol import Protocol
from workflow.lib.training.device import chosen_precision, chunks, data_loader, device_named, move_network
from workflow.lib.training.engine import Plan, train
from workflow.lib.training.losses import dice_ce_loss, dice_loss, outputs_for
from workflow.lib.training.state import Row, discard_resume

log = logging.getLogger("medseg")

SAVE_EVERY = 60.0  # seconds between states of a training that may be killed


def polynomial_rate(step: int, *, base: float, total: int, late: int) -> float:
    """base * (1 - (step - late) / total)^0.9, and `base` at step 0; the study's schedule is 2 steps `late`."""
    return base * (1 - (step - late) / total) ** 0.9 if step else base


def finetune_network(
    *,
    weights: Sequence[Path],
    output_folder: Path,
    job: Finetuning,
    precision: str,
    device: str,
    **training: Any,
) -> None:
    """Train and evaluate one network for every seed, one after the other; writes to `output_folder`:

    cases.csv and history.csv of all seeds, and card.json, with the card of each under `runs`; and of the first seed
    predictions.npz: what its network predicts for the test items that are shown of each case (`shown_rows`).

    weights: the checkpoint of all seeds, or one for each. training: the arguments of `finetune_seed`. What is finished waits
    in `output_folder`.resume, so that a killed job resumes with the seed that it was at. Raises `UserError` as `finetune_seed`.
    """
    computed_in = chosen_precision(precision, device_named(device))
    resume = output_folder.with_name(output_folder.name + ".resume")
    folders = {seed: resume / f"seed{seed}" for seed in job.seeds}
    trained = False  # in this process
    for number, (seed, folder) in enumerate(folders.items()):
        log.info("seed %d, number %d of %d", seed, number + 1, len(folders))
        trained |= finetune_seed(
            weights=weights[number % len(weights)],
            output_folder=folder,
            names=job.names(seed),
            precision=precision,
            computed_in=computed_in,
            device=device,
            of=(number, len(folders)),
            slot_used=trained,
            **training,
        )
    _join(folders, output_folder, job)
    discard_resume(resume)


def _join(folders: Mapping[int, Path], output: Path, job: Finetuning) -> None:
    """Join the tables and cards of the seeds, as they are."""
    for name in ("cases.csv", "history.csv"):
        tables = [(folder / name).read_text() for folder in folders.values()]
        with atomic_path(output / name) as temporary:
            temporary.write_text(tables[0] + "".join(table.partition("\n")[2] for table in tables[1:]))
    first = next(iter(folders.values())) / PREDICTIONS
    if first.exists():  # an earlier version kept none
        with atomic_path(output / PREDICTIONS) as temporary:
            shutil.copyfile(first, temporary)
    runs = [read_json(folder / "card.json") for folder in folders.values()]
    seconds = round(sum(run["seconds"] for run in runs), 3)
    names = job._asdict() | {"epochs": str(job.epochs), "seeds": written(job.seeds)}
    write_json(output / "card.json", {"names": names, "seconds": seconds, "runs": runs})


def finetune_seed(
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
    computed_in: str,
    source: str,
    device: str,
    threads: int,
    of: tuple[int, int] = (0, 1),
    slot_used: bool = False,
) -> bool:
    """Train and evaluate one network; writes cases.csv, history.csv (both with a column seed), card.json and, of the first of
    several, predictions.npz to `output_folder`, or nothing where they are there already, of the same settings and data. Returns
    whether it trained.

    `names`: target, freeze (frozen | trainable), encoder, scheme, pretrain_seed, epochs, seed, transfer, patients and draw (see
    `Way`); they go into the card.
    encoder: what its network is built from; or, of a given network, `class`, `arguments`, `head` and `channels`.
    `inputs`: what the network sees (unchanged | standardised). precision: as asked for (auto | ...), and as it is `computed_in`;
    source: the name of the config's pretraining.source.
    of, slot_used: as for `train`.
    The epoch with the highest validation Dice is evaluated on the test split; where the protocol's validation is
    `test_split`, that is the same part, as in the study. Raises `UserError` for a checkpoint that does not fit, or data
    without training images.
    """
    torch.set_num_threads(threads)
    place, seed = device_named(device), int(names["seed"])
    data = load_prepared(data_folder)
    checkpoint = starting_card(encoder, weights)
    settings: dict[str, Any] = {"names": dict(names), "encoder": dict(encoder), "recipe": dict(recipe)}
    settings |= {"image_size": image_size, "protocol": dict(protocol), "inputs": inputs, "precision": precision}
    settings |= {
        "computed_in": computed_in,
        "checkpoint": checkpoint["sha256"],
        "data": {**data.card["arrays"], "truth": data.card["truth"], "items": sha256_of(data_folder / "items.csv")},
    }
    check_held_out(checkpoint, {data.card["target"]: hash_of_tested(data)}, weights)
    if _is_finished(output_folder / "card.json", hash_of(settings)):
        return False
    # Opened before the training, as a missing file should not end it.
    truth = truths_of(data) if protocol["evaluation"] == "whole" else None
    outputs, drawn_from = outputs_for(len(data.card["classes"])), derive_seed(seed, "weights")
    network: Any  # a Segmenter, or a given network of any class
    if "class" in encoder:
        network = starting_network(encoder, weights, outputs, drawn_from, image_size)
    else:
        use = "downstream" if protocol["stochastic_depth"] == "study" else trained_as(checkpoint)
        network = build_segmenter(encoder, outputs, image_size=image_size, use=use, seed=drawn_from)
        transfer(network, names["transfer"], weights, encoder, drawn_from, image_size)
    move_network(network, place, computed_in)
    patients = training_patients(data, int(names["patients"]), int(names["draw"]), data_folder)
    lacking = classes_lacking(data, patients)
    patches = _training_patches(data, data_folder)
    count = items_per_epoch(recipe) or len(patches)  # of few patients as many as of all
    patches = [patch for patch in patches if data.items["group"].iat[patch.row] in patients]
    some = partial(TrainItems, data, patches, inputs, recipe["rotation"], recipe["flip"], seed)
    items = some(count)
    if names["freeze"] == "frozen":
        freeze(network, protocol["frozen"], _calibration(some(4 * recipe["batch"]), recipe["batch"], place))
    chosen_on = "test" if protocol["validation"] == "test_split" else "validation"
    validation = evaluation_tiles(data, chosen_on, protocol, inputs, seed)
    resume = output_folder.with_name(output_folder.name + ".resume")

    load = partial(data_loader, items, workers=threads - 1 if place.type == "cuda" else 0, pinned=place.type == "cuda")

    def after_epoch(row: Row, history: list[Row]) -> Row:
        dice = selection_dice(network, validation, recipe["batch"], computed_in, protocol["metrics"])
        return {"validation dice": dice}

    plan = finetune_plan(
        network,
        recipe,
        items,
        lasting(load, chunks(range(len(items)), micro_batch(recipe)), recipe["epochs"]),
        after_epoch,
        seed,
        computed_in,
        protocol,
    )
    history = train(plan, resume, hash_of(settings), save_every=SAVE_EVERY, of=of, slot_used=slot_used)
    test = evaluation_tiles(data, "test", protocol, inputs, seed)
    keep = {} if of[0] else blank_labels(data)
    table, metrics = evaluate(network, test, recipe["batch"], computed_in, protocol, truth, keep)
    card = settings | {
        "config_hash": hash_of(settings),
        "prepared": data.card["protocol"],
        "source": source,
        "best epoch": int(history.loc[history["validation dice"][::-1].idxmax(), "epoch"]),
        "pretraining": {key: checkpoint[key] for key in ("epoch", "accuracy")},
        "patients": len(patients),
        "classes_lacking": lacking,
        "steps_per_epoch": plan.steps_per_epoch,
        "seconds": round(float(history["seconds"].sum()), 3),
        "metrics": _finite(metrics),
        **provenance(place),
    }
    if keep:
        write_predictions(output_folder, keep)
    _write_results(output_folder, seed, table, history, card)
    discard_resume(resume)
    return True


def _is_finished(card: Path, config_hash: str) -> bool:
    """Whether a seed was trained with these settings and data, in a slot of this job that was interrupted later."""
    return card.exists() and read_json(card)["config_hash"] == config_hash


def _write_results(folder: Path, seed: int, cases: pd.DataFrame, history: pd.DataFrame, card: dict[str, Any]) -> None:
    for name, frame in {"cases": cases, "history": history}.items():
        with atomic_path(folder / f"{name}.csv") as temporary:
            frame.assign(seed=seed)[["seed", *frame.columns]].to_csv(temporary, index=False)
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
    settings = {
        "lr": recipe["learning_rate"],
        "weight_decay": recipe["weight_decay"],
        "fused": True,
    }  # several times as fast
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


def _training_patches(data: Prepared, folder: Path) -> list[Any]:
    patches = training_patches(data)
    if not patches:
        raise UserError(
            f"no training images of {data.card['target']}",
            found=f"parts {data.items['part'].value_counts().to_dict()}",
            expected="at least one item of split train that is not dark",
            where=folder / "items.csv",
            next="check split.csv of this target, and train_cases in the config",
        )
    return patches


def _calibration(items: TrainItems, batch: int, place: torch.device) -> list[Tensor]:
    places = [(0, number) for number in range(len(items))]  # no epoch of the training
    return [images.to(place) for images, _ in data_loader(items, chunks(places, batch))]


def _finite(metrics: dict[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}
