"""Whether a ranking holds: the first candidates and the default, fine-tuned by cross-validation over patients."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from workflow.lib.data.split import shuffled_groups
from workflow.lib.job.csv import read_table
from workflow.lib.job.run import UserError, atomic_path, read_json, write_json
from workflow.lib.rank.resolve import compare
from workflow.lib.study.checkpoints import Checkpoint
from workflow.lib.tables.patients import patients_dice, patients_of, read_cases

LEARNT = 0.05  # Dice below which no network of a comparison found its classes
TEXT: Any = {"item": str, "case": str, "group": str, "part": str}


def write_fold(*, data: Path, output: Path, fold: int, folds: int, split_seed: int) -> None:
    """Write a prepared target beside `output` (card.json) whose test split is one fold of `data`'s training and validation
    patients, and the next fold its validation split; its arrays are links. `data`'s test split is left out.

    Raises `UserError` for fewer patients than folds.
    """
    card = read_json(data / "card.json")
    items = read_table(data / "items.csv", dtype=TEXT, keep_default_na=False)
    order = shuffled_groups(items.loc[items["part"] != "test", "group"], split_seed, card["target"], "confirm")
    if len(order) < folds:
        raise UserError(
            f"too few patients of {card['target']} to confirm the ranking",
            found=f"{len(order)} patients, {folds} folds",
            expected="as many patients as folds",
            where="config: rank.folds",
            next="choose another number of folds, or confirm: 0",
        )
    number = {group: i % folds for i, group in enumerate(order)}
    parts = {fold: "test", (fold + 1) % folds: "validation"}
    items["part"] = [
        "left out" if part == "test" else parts.get(number[group], "train")
        for part, group in zip(items["part"], items["group"], strict=True)
    ]
    output.parent.mkdir(parents=True, exist_ok=True)
    for name in ("images.npy", "masks.npy", "truth.npz"):
        link = output.with_name(name)
        link.unlink(missing_ok=True)
        link.symlink_to(os.path.relpath((data / name).resolve(), link.parent.resolve()))
    with atomic_path(output.with_name("items.csv")) as temporary:
        items.to_csv(temporary, index=False)
    write_json(output, {key: card[key] for key in card.keys() - {"counts"}} | {"fold": [fold, folds]})


def confirm(facts: Mapping[str, Any], dice: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, Any]]:
    """A row a candidate with its Dice and gain over the default, and the verdict on the ranking's first candidate.

    dice: (patients, candidates by path) from models that did not see the patient, indexed by fold and patient. Intervals as in
    `compare`, but over the means of folds: the patients of a fold share one training, whose luck does not average out. With
    patients as units, equal candidates (SD 0.03 between trainings, 0.05 between patients) were called different in 6, 25 and
    47 % of 2,000 simulations of 30, 100 and 300 patients; with folds in 1 to 2 %, where 5 % is promised.
    """
    chosen = [candidate for candidate in facts["ranked"] if candidate["path"] in dice]
    default = [c["path"] for c in chosen].index(facts["default"]["path"])
    means = dice[[c["path"] for c in chosen]].groupby(level=0).mean()
    found = compare(means.to_numpy().T, default, folds=len(means))
    places = {candidate["path"]: place for place, candidate in enumerate(facts["ranked"], start=1)}
    table = pd.DataFrame({"candidate": [c["label"] for c in chosen], "place": [places[c["path"]] for c in chosen]})
    table["dice"], table["ci_low"], table["ci_high"] = found.value, found.value - found.half, found.value + found.half
    table["gain_over_default"] = found.gain
    table["gain_low"], table["gain_high"] = found.gain - found.gain_half, found.gain + found.gain_half
    table["undecided"], table["default"] = found.undecided, [i == default for i in range(len(chosen))]
    gain, half = found.gain[0], found.gain_half[0]
    verdict = "held" if gain > half else "did not hold" if gain < -half else "open"
    verdict = "default" if default == 0 else verdict
    return table, {"verdict": verdict, "best": chosen[found.best], "patients": len(dice), "folds": len(means)}


def confirmation_text(
    target: str,
    facts: Mapping[str, Any],
    table: pd.DataFrame,
    found: Mapping[str, Any],
    lacking: Mapping[str, set[int]],
) -> str:
    """The verdict as a paragraph. lacking: the folds whose training patients do not show a class, by its name."""
    first, default = facts["ranked"][0]["label"], facts["default"]["label"]
    row = table.iloc[0]
    gain = f"{row['gain_over_default']:+.4f} [{row['gain_low']:+.4f}, {row['gain_high']:+.4f}]"
    said = {
        "held": f"the ranking held: {first} gains {gain} Dice over the default, {default}",
        "did not hold": f"the ranking did not hold: {first} changes Dice by {gain} against the default, {default}",
        "open": f"whether the ranking held remains open: {first} changes Dice by {gain} against the default, {default}",
        "default": f"the default, {default}, was ranked first",
    }[found["verdict"]]
    if table["dice"].max() < LEARNT:
        said += f". But no Dice reaches {LEARNT}: the networks have hardly learnt (increase finetune.epochs)"
    for name, some in lacking.items():
        said += (
            f". In {len(some)} of {found['folds']} folds, no training patient shows {name}, which is not learnt there"
        )
    others, near = len(table) - 1, int(table["undecided"].sum()) - 1
    return (
        f"{target}: {said}. The highest Dice is that of {found['best']['label']}, {table['dice'].max():.4f}; {near} of the "
        f"{others} others fine-tuned are not distinguishable from it. Each was fine-tuned {found['folds']} times with one seed, "
        f"and judged on the {found['patients']} patients that it had not seen; where a class is absent and nothing is predicted, "
        "Dice is 1. Intervals: 95 %, for all differences at once, paired over the folds, each of which is one training: more "
        "folds (rank.folds) narrow them, more patients alone hardly. Images of these patients also ranked the candidates, which "
        "flatters the first one; the target's own test split was left out and can judge without that.\n"
    )


def confirm_ranking(
    *, facts: str | Path, cases: Sequence[str], items: str | Path, table: str | Path, text: str | Path
) -> None:
    """Write confirm.csv (`table`) and the verdict (`text`). cases: cases.csv of every candidate and fold, of which the paths hold
    .../{encoder}/{pretraining}/epoch{epochs}-seeds{seeds}/; card.json is beside them."""
    known, patients = read_json(facts), patients_of(items)
    folds_of: dict[str, dict[int, pd.Series]] = {}
    lacking: dict[str, set[int]] = {}
    for candidate in known["ranked"]:
        c = Checkpoint(*(candidate[key] for key in Checkpoint._fields))
        for file in cases:
            if f"/{c.encoder}/{c.pretraining}/epoch{c.epochs}-seeds" in file:
                rows = read_cases(file).fillna({"dice": 1.0})  # rightly empty: no candidate may be spared a patient
                [fold] = re.findall(r"/fold(\d+)/", file)
                folds_of.setdefault(candidate["path"], {})[int(fold)] = patients_dice(rows, patients)
                for name in read_json(Path(file).with_name("card.json"))["runs"][0]["classes_lacking"]:
                    lacking.setdefault(name, set()).add(int(fold))
    dice = pd.DataFrame({path: pd.concat(found) for path, found in folds_of.items()})
    found, verdict = confirm(known, dice)
    for output, content in (
        (table, found.to_csv(index=False)),
        (text, confirmation_text(known["target"], known, found, verdict, lacking)),
    ):
        with atomic_path(output) as temporary:
            temporary.write_text(content)
