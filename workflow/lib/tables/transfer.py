"""transfer_scores.csv: a row for every fine-tuning, with its task, what it took over, and on how many patients it was trained."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from workflow.lib.job.csv import read_table
from workflow.lib.job.run import atomic_path, read_json
from workflow.lib.study.checkpoints import NONE, RANDOM
from workflow.lib.tables.headed import read_table as read_headed

TEXTS = ["validation", "source", "classes_lacking"]  # columns that may be empty
ALL = 0  # patients: all of the target's training split


def gather_transfer(
    *,
    cards: Iterable[str],
    checkpoints: Mapping[str, Mapping[str, Any]],
    networks: Mapping[str, str],
    tasks: Mapping[str, tuple[str, str]],
    seeds: Iterable[int],
    output: Path,
) -> None:
    """Write the table from the cards of all fine-tuning jobs, of which `seeds` count, and the histories beside them.

    checkpoints: cards by their path (encoder/scheme/seed/epoch); tasks: task and source of each scheme. `patients` is 0 for all;
    `patients_used` says how many these are, `classes_lacking` which classes no image of theirs shows. `validation` holds the
    validation Dice after each epoch, separated by blanks; seconds and images_seen are those of the pretraining, and of one that
    it continues, nan where it was done elsewhere; images: training images of its source.
    """
    wanted, rows = set(seeds), []
    for path in cards:
        history = read_table(Path(path).with_name("history.csv"))
        for card in read_json(path)["runs"]:
            names = card["names"]
            if int(names["seed"]) not in wanted:
                continue
            random = names["scheme"] == RANDOM
            place = "/".join([names["encoder"], names["scheme"], names["pretrain_seed"], names["epochs"]])
            start = checkpoints.get(place, {})  # nothing is known of given networks
            curve = history.loc[history["seed"] == int(names["seed"]), "validation dice"]
            rows.append(
                {
                    "dataset": names["target"],
                    "encoder": names["encoder"],
                    "model": networks[names["encoder"]],
                    "scheme": names["scheme"],
                    "task": NONE if random else tasks[names["scheme"]][0],
                    "source": "" if random else tasks[names["scheme"]][1],
                    "pretrain_seed": 0 if random else int(names["pretrain_seed"]),
                    "epochs": int(names["epochs"]),
                    "seconds": 0.0 if random else start.get("seconds"),
                    "images_seen": 0 if random else start.get("images_seen"),
                    "images": 0 if random else start.get("images"),
                    "freeze": names["freeze"] == "frozen",
                    "transfer": NONE if random else names["transfer"],
                    "patients": int(names["patients"]),
                    "patients_used": card["patients"],
                    "draw": int(names["draw"]),
                    "classes_lacking": "; ".join(card["classes_lacking"]),
                    "seed": int(names["seed"]),
                    "dice": dice_of(card),
                    "steps_per_epoch": card["steps_per_epoch"],
                    "validation": " ".join(f"{value:.6g}" for value in curve),
                }
            )
    with atomic_path(output) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)


def dice_of(card: Mapping[str, Any]) -> float | None:
    """Dice of the test split, of several classes their mean, from the card of a fine-tuning."""
    metrics = card["metrics"]
    mean = metrics.get("mean dice index")
    return metrics.get("dice index") if mean is None else mean


def read_transfer(path: str | Path) -> pd.DataFrame:
    """The table, with a tuple of numbers in `validation`. Raises `UserError` where it is unreadable."""
    frame = read_headed(path, dtype=dict.fromkeys(TEXTS, object), keep_default_na=True)
    frame[TEXTS] = frame[TEXTS].fillna("")
    return frame.assign(validation=frame["validation"].map(lambda text: tuple(map(float, text.split()))))
