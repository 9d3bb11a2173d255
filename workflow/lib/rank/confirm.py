"""Whether a ranking holds: the first candidates and the default, fine-tuned by cross-validation over patients."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from workflow.lib.data.split import shuffled_groups
from workflow.lib.data.table import read_table
from workflow.lib.finetune.patients import patients_dice, patients_of
from workflow.lib.rank.resolve import compare
from workflow.lib.run import UserError, atomic_path, read_json, write_json

LEARNT = 0.05  # Dice below which no network of a comparison found its classes
TEXT: Any = {"item": str, "case": str, "group": str, "part": str}


def write_fold(*, data: Path, output: Path, fold: int, folds: int, split_seed: int) -> None:
    """Write a prepared target beside `output` (card.json) whose test part is one fold of `data`'s training and validation
    patients; its arrays are links. Where `data` has a validation part, the next fold is it. `data`'s test part is left out.

    Raises `UserError` for fewer patients than folds.
    """
    card = read_json(data / "card.json")
    items = read_table(data / "items.csv", dtype=TEXT, keep_default_na=False)
    order = shuffled_groups(items.loc[items["part"] != "test", "group"], split_seed, card["target"], "confirm")
    if len(order) < folds or folds < 2 + ("validation" in set(items["part"])):
        raise UserError(
            f"too few patients of {card['target']} to confirm the ranking",
            found=f"{len(order)} patients, {folds} folds",
            expected="as many patients as folds; 3 folds or more where a validation part is held out",
            where="config: rank.folds",
            next="choose another number of folds, or confirm: 0",
        )
    number = {group: i % folds for i, group in enumerate(order)}
    held_out = (fold + 1) % folds if "validation" in set(items["part"]) else None
    parts = {fold: "test", held_out: "validation"}
    items["part"] = [
        "left out" if part == "test" else parts.get(number[group], "train")
        for part, group in zip(items["part"], items["group"], strict=True)
    ]
    output.parent.mkdir(parents=True, exist_ok=True)
    for name in ("images.npy", "masks.npy"):
        link = output.with_name(name)
        link.unlink(missing_ok=True)
        link.symlink_to(os.path.relpath((data / name).resolve(), link.parent.resolve()))
    with atomic_path(output.with_name("items.csv")) as temporary:
        items.to_csv(temporary, index=False)
    write_json(output, {key: card[key] for key in card.keys() - {"counts"}} | {"fold": [fold, folds]})


def confirm(facts: Mapping[str, Any], dice: pd.DataFrame, folds: int) -> tuple[pd.DataFrame, dict[str, Any]]:
    """A row a candidate with its Dice and gain over the default, and the verdict on the ranking's first candidate.

    dice: (patients, candidates by path) from models that did not see the patient. Intervals as in `resolve.compare`.
    """
    chosen = [candidate for candidate in facts["ranked"] if candidate["path"] in dice]
    default = [c["path"] for c in chosen].index(facts["default"]["path"])
    found = compare(dice[[c["path"] for c in chosen]].to_numpy().T, default, folds=folds)
    places = {candidate["path"]: place for place, candidate in enumerate(facts["ranked"], start=1)}
    table = pd.DataFrame({"candidate": [c["label"] for c in chosen], "place": [places[c["path"]] for c in chosen]})
    table["dice"], table["ci_low"], table["ci_high"] = found.value, found.value - found.half, found.value + found.half
    table["gain_over_default"] = found.gain
    table["gain_low"], table["gain_high"] = found.gain - found.gain_half, found.gain + found.gain_half
    table["undecided"], table["default"] = found.undecided, [i == default for i in range(len(chosen))]
    gain, half = found.gain[0], found.gain_half[0]
    verdict = "held" if gain > half else "did not hold" if gain < -half else "can't be told"
    verdict = "default" if default == 0 else verdict
    return table, {"verdict": verdict, "best": chosen[found.best], "patients": len(dice)}


def in_words(target: str, facts: Mapping[str, Any], table: pd.DataFrame, found: Mapping[str, Any], folds: int) -> str:
    """The verdict as a paragraph."""
    first, default = facts["ranked"][0]["label"], facts["default"]["label"]
    row = table.iloc[0]
    gain = f"{row['gain_over_default']:+.4f} [{row['gain_low']:+.4f}, {row['gain_high']:+.4f}]"
    said = {
        "held": f"the ranking held: {first} gains {gain} Dice over the default, {default}",
        "did not hold": f"the ranking did not hold: {first} changes Dice by {gain} against the default, {default}",
        "can't be told": f"whether the ranking held can't be told: {first} changes Dice by {gain} against the default, {default}",
        "default": f"the default, {default}, was ranked first",
    }[found["verdict"]]
    if table["dice"].max() < LEARNT:
        said += f". But no Dice reaches {LEARNT}: the networks have hardly learnt, so that this says little (finetune.epochs)"
    near = int(table["undecided"].sum()) - 1
    others = len(table) - 1
    return (
        f"{target}: {said}. The highest Dice is that of {found['best']['label']}, {table['dice'].max():.4f}; {near} of the "
        f"{others} others fine-tuned can't be told from it. Each was fine-tuned {folds} times, one seed, and judged on the "
        f"{found['patients']} patients that it had not seen; the target's own test part was left out. Intervals: 95 %, for all "
        "differences at once, paired over patients.\n"
    )


def confirm_ranking(
    *, facts: str | Path, cases: Sequence[str], items: str | Path, folds: int, table: str | Path, text: str | Path
) -> None:
    """Write confirm.csv (`table`) and the verdict (`text`). cases: .../{candidate path}-seed{seed}/cases.csv of every fold."""
    known = read_json(facts)
    paths: dict[str, list[str]] = {}
    for file in cases:
        path = next(c["path"] for c in known["ranked"] if f"/{c['path']}-seed" in file)
        paths.setdefault(path, []).append(file)
    patients = patients_of(items)
    # Patients without any value in a candidate are left out of all.
    dice = pd.DataFrame({path: patients_dice(tables, patients) for path, tables in paths.items()}).dropna()
    if len(dice) < 2:
        raise UserError(
            f"too few patients of {known['target']} with a Dice to confirm the ranking",
            found=f"{len(dice)} patients",
            expected="2 or more whose masks show something",
            where=items,
            next="add patients, or choose confirm: 0",
        )
    found, verdict = confirm(known, dice, folds)
    for output, content in (
        (table, found.to_csv(index=False)),
        (text, in_words(known["target"], known, found, verdict, folds)),
    ):
        with atomic_path(output) as temporary:
            temporary.write_text(content)
