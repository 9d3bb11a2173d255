"""Training, validation and test splits of a target, by group (patient). Nothing here imports torch."""

import logging
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from workflow.lib.job.csv import read_table
from workflow.lib.job.run import UserError, atomic_path, derive_seed

log = logging.getLogger("medseg")

PARTS = ("train", "validation", "test")


def split_target(
    *,
    cases: str | Path,
    split: str | Path,
    target: str,
    validation: str,
    split_seed: int,
    test_fraction: float,
    validation_fraction: float,
    train_cases: int | None = None,
) -> None:
    """Write the table `split`: case, group, part (train | validation | test), sorted by part, group and case.

    The test split is the official one, else `test_fraction` of the groups. validation: `held_out` takes
    `validation_fraction` of the training groups; `test_part` makes no validation split, as the test split serves as one.
    `train_cases` limits the training split, to whole groups; cases left out are not in the table. Of a target without
    masks, on which nothing is evaluated, all cases are for training.
    """
    table = read_table(cases, dtype=str, keep_default_na=False)
    rows = [{key: str(row[key]) for key in ("case", "group", "part")} for row in table.to_dict("records")]
    labelled = any(table["labels"])
    if not any(row["part"] == "test" for row in rows):
        rows = [row | {"part": "train"} for row in rows]
        rows = _part_off(rows, test_fraction, "test", split_seed, target) if labelled else rows
    if labelled and validation == "held_out":
        rows = _part_off(rows, validation_fraction, "validation", split_seed, target)
    if train_cases is not None:
        rows = _limit_training(rows, train_cases, split_seed, target)
    if labelled:
        _check_foreground(rows, {row["case"]: row["labels"] for row in table.to_dict("records")}, target)
    rows.sort(key=lambda row: (PARTS.index(row["part"]), row["group"], row["case"]))
    for part in PARTS:
        groups = [row["group"] for row in rows if row["part"] == part]
        log.info("%s: %d %s cases of %d groups", target, len(groups), part, len(set(groups)))
    with atomic_path(split) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)


def _check_foreground(rows: list[dict[str, str]], labels: dict[str, str], target: str) -> None:
    """Raises `UserError` for a part in which no mask shows anything: it could be neither learnt from nor evaluated; and for a
    class that no training mask shows. Warns of a class that another part lacks."""
    shown = {case: set(text.split()) - {"0"} for case, text in labels.items()}
    for part in sorted({row["part"] for row in rows}):
        cases = [row["case"] for row in rows if row["part"] == part]
        found = set().union(*(shown[case] for case in cases))
        if not found:
            raise UserError(
                f"the {part} split of target {target} has no foreground",
                found=f"{len(cases)} empty masks",
                expected="at least one mask with foreground in every split",
                where="config: data.split_seed, data.test_fraction, data.validation_fraction",
                next="change the split, or add cases",
            )
        for label in sorted(set().union(*shown.values()) - found, key=int):
            carriers = [case for case in shown if label in shown[case]]
            number = f"{len(carriers)} of all {len(shown)} cases show it, {carriers[0]} for example"
            if part == "train":
                raise UserError(
                    f"the training split of target {target} lacks a class",
                    found=f"no mask with label {label} in {len(cases)} training cases; {number}",
                    expected="every class in the training split, else it cannot be learnt",
                    where="config: data.split_seed, data.test_fraction, data.validation_fraction, train_cases of the target",
                    next="change the split, or add cases",
                )
            log.warning(
                "%s: no mask of the %s split shows label %s, so that its Dice there means nothing (%s); next: another "
                "data.split_seed, or more cases",
                *(target, part, label, number),
            )


def shuffled_groups(groups: Iterable[str], split_seed: int, target: str, purpose: str) -> list[str]:
    """The distinct groups in an order fixed by the seed; a group's place does not depend on a library's generator."""
    return sorted(set(groups), key=lambda group: derive_seed("split", split_seed, target, purpose, group))


def _part_off(
    rows: list[dict[str, str]], fraction: float, part: str, split_seed: int, target: str
) -> list[dict[str, str]]:
    """The rows with a fraction of the training groups (at least one) moved to `part`."""
    training = [row["group"] for row in rows if row["part"] == "train"]
    groups = shuffled_groups(training, split_seed, target, part)
    number = max(1, round(fraction * len(groups)))
    if number >= len(groups):
        raise UserError(
            f"too few groups in target {target} for a {part} split",
            found=f"{len(groups)} training groups",
            expected=f"more than {number}, {part} fraction {fraction}",
            where=f"config: targets.{target}.group, data.{part}_fraction",
            next="add patients, or correct how cases are grouped",
        )
    chosen = set(groups[:number])
    return [row | {"part": part} if row["part"] == "train" and row["group"] in chosen else row for row in rows]


def _limit_training(rows: list[dict[str, str]], wanted: int, split_seed: int, target: str) -> list[dict[str, str]]:
    """Keep whole training groups, in seeded order, as long as they fit into `wanted` cases."""
    sizes = Counter(row["group"] for row in rows if row["part"] == "train")
    kept: list[str] = []
    for group in shuffled_groups(sizes, split_seed, target, "train_cases"):
        if sum(sizes[name] for name in kept) + sizes[group] <= wanted:
            kept.append(group)
    number = sum(sizes[group] for group in kept)
    if not kept or wanted > sizes.total():
        raise UserError(
            f"train_cases of target {target} cannot be met",
            found=f"train_cases {wanted}",
            expected=f"{min(sizes.values())}..{sizes.total()} (the smallest training group, all training cases)",
            where=f"config: targets.{target}.train_cases",
            next="choose a number in that range, or null for all",
        )
    if number < wanted:
        log.warning("%s: %d training cases instead of %d, as groups stay whole", target, number, wanted)
    return [row for row in rows if row["part"] != "train" or row["group"] in kept]
