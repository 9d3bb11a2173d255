"""Early stopping of pretraining by a score on a target's images; the best checkpoint is kept."""

import copy
import dataclasses
import logging
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from workflow.lib.data.prepared import load_prepared
from workflow.lib.job.run import UserError, atomic_path, derive_seed, hash_of, read_json, sha256_of, write_json
from workflow.lib.networks.checkpoint import write_checkpoint
from workflow.lib.networks.norms import calibrate
from workflow.lib.pretrain.pretrain import epoch_card, pretraining
from workflow.lib.pretrain.stopping_rule import DRAW, FREE, checks_of, cooled_rate, decision
from workflow.lib.score.label_scores import NO_LABELS
from workflow.lib.score.pixels import target_images
from workflow.lib.score.registry import SCORES
from workflow.lib.score.score import calibration_batches, rows_of
from workflow.lib.training.distributed import rank, sum_over_processes, wait_for_all
from workflow.lib.training.engine import Plan, train
from workflow.lib.training.state import Position, Row, discard_resume, restore_state, save_state, saved_states

log = logging.getLogger("medseg")

Choice = Mapping[str, Any]
# Of the kept epochs: from this share on, cool-downs come close to whole schedules (Hägele et al., arXiv 2405.18392).
COOL_DOWN = 0.2


def pretrain_until(
    *,
    folder: str | Path,
    data_folder: str | Path,
    names: Mapping[str, str],
    stopping: Choice,
    scoring: Choice,
    **training: Any,
) -> None:
    """Train one encoder until a score on a target's training images no longer improves, and write to `folder`:

    kept.safetensors and .json, the best checkpoint; kept.pt, its training state, from which a cool-down starts; history.csv;
    decision.json, the record of what was decided and why.

    names: target, encoder, scheme, pretrain_seed. stopping: score, its setting, patience, tolerance, and `checks`, the epochs
    after which it is computed. scoring: images, draws, pixels, samples, components, seed, as for rule score_checkpoints.
    training: the arguments of `pretraining`. What waits in `folder`.resume, checks included, makes a killed job decide as an
    unbroken one. Each of several processes calls it; the first one scores. Raises `UserError` as pretrainings do, and for a
    score that has no value on this target or this encoder.
    """
    plan, settings, seen = pretraining(**training)
    settings |= {"stopping": dict(stopping), "scoring": dict(scoring), "target": _target(names["target"], data_folder)}
    folder, fingerprint = Path(folder), hash_of(settings)
    resume = folder.with_name(folder.name + ".resume")
    best = resume / "best"
    if rank() == 0:
        score = scorer(plan.model, data_folder, stopping, scoring, training["inputs"])
        if not saved_states(resume):  # what is wrong with the score shows before the first epoch
            untrained = score()["score"]
            log.info("untrained: %s %.5g", stopping["score"], untrained)
            if not math.isfinite(untrained):
                raise _no_value(stopping["score"], "no value for the untrained encoder; the log says why", data_folder)

    def after_epoch(row: Row, history: list[Row]) -> Row:
        measured = plan.after_epoch(row, history)
        if rank() == 0 and row["epoch"] in stopping["checks"]:
            measured |= score()
            rows = [*history, row | measured]
            for path in best.glob("state-*.pt"):
                if _epoch(path) >= len(rows):  # of a slot that was killed before this epoch joined the history
                    path.unlink()
            if checks_of(rows, stopping).rows[-1]["improved"]:
                save_state(best, fingerprint, Position(rows), plan.model, plan.optimizer)
        return measured

    def ends(history: list[Row]) -> bool:
        decided = torch.tensor(float(rank() == 0 and checks_of(history, stopping).stopped))
        decided = decided.to(next(plan.model.parameters()).device)
        sum_over_processes([decided])
        return decided.item() > 0

    history = train(dataclasses.replace(plan, after_epoch=after_epoch, ends=ends), resume, fingerprint, discard=False)
    if rank():
        return
    rows = _rows(history)
    kept = checks_of(rows, stopping).best
    if kept is None:
        raise _no_value(stopping["score"], "no value in any check; the log says why", resume)
    state = next((path for path in best.glob("state-*.pt") if _epoch(path) == kept["epoch"]), best / "state")
    advice = f"rm -r '{resume}', then run the same command again: this pretraining starts from the beginning"
    _load_state(state, state.stem.rpartition("-")[2], plan, next=advice)
    with atomic_path(folder / "kept.pt") as temporary:
        shutil.copy2(state, temporary)
    with atomic_path(folder / "history.csv") as temporary:
        history.to_csv(temporary, index=False)
    record = {**names, **decision(rows, stopping, scoring, plan.epochs), "config_hash": fingerprint}
    record |= {"state_sha256": sha256_of(folder / "kept.pt"), **_left_over(folder, plan, rows[: kept["epoch"]])}
    card = epoch_card(rows[: kept["epoch"]], seen) | {
        "snapshot": record["snapshot"],
        "config_hash": fingerprint,
    }
    write_checkpoint(plan.model, folder / "kept.safetensors", card | settings)
    write_json(folder / "decision.json", record)
    log.info("kept epoch %d of %d trained; %s", kept["epoch"], len(rows), record["why"])
    discard_resume(resume)


def _rows(history: pd.DataFrame) -> list[Row]:
    """The epochs of a finished training, as they were in its history."""
    return [{str(name): value for name, value in row.items()} for row in history.to_dict("records")]


def _target(name: str, folder: str | Path) -> dict[str, str]:
    return {"name": name} | {file: sha256_of(Path(folder) / file) for file in ("card.json", "items.csv")}


def _epoch(state: Path) -> int:
    """The epoch in the name of a state."""
    return int(state.name.split("-")[1])


def _left_over(folder: Path, plan: Plan, history: Sequence[Row]) -> dict[str, str | None]:
    """What the kept checkpoint is not, and how to make it so."""
    kept, rate = len(history), history[-1]["learning_rate"]
    if kept == plan.epochs:
        return {"snapshot": f"epoch {kept}, the end of the schedule", "cool_down": None}
    return {
        "snapshot": f"epoch {kept} of a schedule of {plan.epochs}, at a learning rate of {rate:.3g}: a snapshot of a long"
        " schedule, not a completed short one",
        "cool_down": f"snakemake {folder}/cooled-{max(1, round(COOL_DOWN * kept))}.safetensors, with the options of this run,"
        " finishes the schedule: that many epochs more, with a learning rate that falls linearly to the schedule's end"
        " (another number in the name: another length)",
    }


def scorer(
    model: nn.Module, data_folder: str | Path, stopping: Choice, scoring: Choice, inputs: str
) -> Callable[[], Row]:
    """A function that scores the encoder of `model` as it then is: the numbers that `checks_of` reads. They are those of rule
    score_checkpoints. Raises `UserError` where the score can't be used on this target."""
    name = stopping["score"]
    of = SCORES[name].of
    seed = derive_seed(scoring["seed"], "score images")
    chosen = target_images(load_prepared(data_folder), scoring["images"], seed=seed)
    if of != "view" and chosen.masks is None:
        raise _no_value(name, NO_LABELS, data_folder)
    repeats = "draws" if of == "view" else "samples"
    if stopping["tolerance"] == "interval" and scoring[repeats] < 2:
        raise _no_value(name, f"no interval, from score.{repeats}: {scoring[repeats]}", "config: stopping.tolerance")
    place = next(model.parameters()).device

    def score() -> Row:
        start = time.monotonic()
        encoder = copy.deepcopy(
            model.get_submodule("encoder")
        ).eval()  # whose statistics change, not those of the training

        def features(images: Tensor) -> list[Tensor]:
            return encoder(images.to(place))

        with torch.inference_mode():
            if SCORES[name].norm == "calibrated":
                calibrate(encoder, calibration_batches(chosen, inputs, place))
            head = None  # of classification alone
            if isinstance(layer := getattr(model, "head", None), nn.Linear):
                head = layer.weight.double().cpu().numpy(), layer.bias.double().cpu().numpy()
            rows = rows_of([name], features, chosen, inputs, head, scoring)
        row = _row_of(rows, stopping)
        if not math.isfinite(row["value"]):
            log.warning("%s has no value: %s", name, row["warning"])
        numbers = {"score": "value", "score low": "ci_low", "score high": "ci_high"}
        found = {column: float(row.get(key, math.nan)) for column, key in numbers.items()}
        found |= {f"{DRAW}{i}": value for i, value in enumerate(row.get("by_draw", []), start=1)}
        return found | {"score seconds": time.monotonic() - start}

    return score


def _row_of(rows: Sequence[dict[str, Any]], stopping: Choice) -> dict[str, Any]:
    """The row of the rule's setting."""
    setting = {key: stopping[key] for key in FREE[SCORES[stopping["score"]].of]}
    if setting.get("level") == "deepest":
        setting["level"] = max(row["level"] for row in rows)
    found = [row for row in rows if all(row[key] == value for key, value in setting.items())]
    if not found:
        levels = f"levels {sorted({row['level'] for row in rows})}"
        raise _no_value(stopping["score"], f"level {setting['level']}; the encoder has {levels}", "config: stopping")
    return found[0]


def _no_value(name: str, found: str, where: object) -> UserError:
    return UserError(
        f"pretraining cannot be stopped by {name}",
        found=found,
        expected="a score with a value and, for tolerance: interval, an interval",
        where=where,
        next="choose another score or setting under `stopping`; robustness_sound needs no masks",
    )


def _load_state(path: Path, digest: str, plan: Plan, *, next: str) -> Position:
    """Load a state whose SHA-256 begins with `digest`, and return where it stands. Raises `UserError` for other content."""
    found = sha256_of(path) if path.is_file() else "no such file"
    if not found.startswith(digest):
        raise UserError("damaged training state", found=found, expected=f"sha256 {digest}", where=path, next=next)
    state = torch.load(path, map_location="cpu", weights_only=True)
    plan.model.load_state_dict(state["model"])
    plan.optimizer.load_state_dict(state["optimizer"])
    return Position(**state["position"])


def cool_down(*, folder: str | Path, epochs: int, **training: Any) -> None:
    """Finish the schedule that `pretrain_until` stopped, from the checkpoint it kept in `folder`: `epochs` more, in which the
    learning rate falls linearly from its value there to the schedule's end.

    Linear, as theory and experiments say of the last iterate (Defazio et al., arXiv 2310.07831); the images go on in the order of
    the long schedule. Nothing is trained if that was complete. Writes cooled-{epochs}.safetensors, .json and .csv (the history).
    training: as for `pretrain_until`. Each of several processes calls it. Raises `UserError` as pretrainings do.
    """
    folder = Path(folder)
    weights = folder / f"cooled-{epochs}.safetensors"
    record, resume = read_json(folder / "decision.json"), weights.with_suffix(".resume")
    plan, settings, seen = pretraining(**training)
    fingerprint = hash_of(settings | {"cool_down": epochs, "from": record["state_sha256"]})
    if rank() == 0 and not restore_state(resume, fingerprint, plan.model, plan.optimizer).history:
        advice = (
            f"put an undamaged copy there, or rm -r '{folder}' and run the same command again: it is pretrained again"
        )
        position = _load_state(folder / "kept.pt", record["state_sha256"], plan, next=advice)
        save_state(resume, fingerprint, position, plan.model, plan.optimizer)
    wait_for_all()  # from now on there is a state to go on with
    kept, steps = int(record["kept_epoch"]), plan.steps_per_epoch
    total = kept + (epochs if kept < plan.epochs else 0)
    rate = partial(
        cooled_rate,
        first=kept * steps,
        steps=epochs * steps,
        start=plan.rate(kept * steps),
        end=plan.rate(plan.epochs * steps),
    )
    history = train(dataclasses.replace(plan, epochs=total, rate=rate), resume, fingerprint)
    if rank():
        return
    rows = _rows(history)
    card = epoch_card(rows, seen) | {
        "cooled_from_epoch": kept,
        "cool_down_epochs": total - kept,
        "config_hash": fingerprint,
    }
    with atomic_path(weights.with_suffix(".csv")) as temporary:
        history.to_csv(temporary, index=False)
    write_checkpoint(plan.model, weights, card | settings)
    discard_resume(resume)
