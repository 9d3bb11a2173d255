"""Which starts and which cases a sheet of segmentations shows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from workflow.lib.job.run import UserError, read_json
from workflow.lib.study.checkpoints import RANDOM, Way
from workflow.lib.tables.patients import read_cases


class Start(NamedTuple):
    """A start of a target: in words, and the folder of a fine-tuning from it."""

    title: str
    folder: Path


def shown_starts(start: dict[str, Any], cards: Sequence[str | Path]) -> list[Start]:
    """The best start of a target (`start` of answer.json), the default and random weights, fine-tuned in the same way; one that
    is both is there once.

    The default: the longest pretraining of the best start's run; where random weights are best, the first of the longest ones.
    cards: card.json of all fine-tunings of the target, from the encoder and on all patients. Raises `UserError` where the best
    start is not among them.
    """
    jobs = [(read_json(path)["names"], Path(path).parent) for path in cards]
    way = Way(start["mode"] == "frozen").name
    jobs = [job for job in jobs if (job[0]["encoder"], job[0]["way"]) == (start["encoder"], way)]
    own = RANDOM if start["epochs"] == 0 else f"{start['scheme']}/seed{start['pretrain_seed']}"
    best = [job for job in jobs if (job[0]["pretraining"], int(job[0]["epochs"])) == (own, start["epochs"])]
    if not best:
        raise UserError(
            "the best start has no fine-tuning",
            found=f"{len(jobs)} fine-tunings of encoder {start['encoder']}, {way}",
            expected=f"one of {own}, epoch {start['epochs']}",
            where=cards[0] if cards else "no fine-tunings",
            next="rm answer.json of this run, then run the same command again: it will be made again",
        )
    curve = [job for job in jobs if job[0]["pretraining"] != RANDOM and own in (RANDOM, job[0]["pretraining"])]
    longest = max(curve, key=lambda job: int(job[0]["epochs"]), default=None)
    random = next((job for job in jobs if job[0]["pretraining"] == RANDOM), None)
    named = [("best", best[0]), ("default", longest), ("random", random)]
    found: dict[Path, list[str]] = {}
    for title, job in named:
        if job:
            found.setdefault(job[1], []).append(title)
    words = {job[1]: _in_words(job[0]) for _, job in named if job}
    return [Start(f"{' and '.join(titles)}:\n{words[folder]}", folder) for folder, titles in found.items()]


def _in_words(job: dict[str, Any]) -> str:
    if job["pretraining"] == RANDOM:
        return "random weights"
    scheme, epochs = job["pretraining"].partition("/")[0], int(job["epochs"])
    return f"{scheme}, {epochs} epoch{'s' * (epochs != 1)}"


def dice_of_cases(folder: Path) -> pd.DataFrame:
    """Dice of the first seed of a fine-tuning, from its cases.csv: a row per case, a column per class, in its order."""
    cases = read_cases(folder / "cases.csv")
    first = cases[cases["seed"] == cases["seed"].iat[0]]
    return first.pivot(index="case", columns="class", values="dice")[list(dict.fromkeys(first["class"]))]


def shown_cases(dice: pd.DataFrame) -> dict[str, str]:
    """{case: best | median | worst}, by the mean of its classes; cases that show and get nothing are left out."""
    order = list(dice.mean(axis=1).dropna().sort_values(kind="stable", ascending=False).index)
    if not order:
        return {}
    places = {"best": 0, "median": len(order) // 2, "worst": len(order) - 1}
    found: dict[str, list[str]] = {}
    for name, place in places.items():
        found.setdefault(order[place], []).append(name)
    return {case: " and ".join(names) for case, names in found.items()}
