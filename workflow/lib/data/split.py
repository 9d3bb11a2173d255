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

Rows = list[dict[str, str]]  # case, group, part


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
    classes: Iterable[str] | None = None,
) -> None:
    """Write the table `split`: case, group, part (train | validation | test), sorted by part, group and case.

    The test split is the official one, else `test_fraction` of the groups. validation: `held_out` takes
    `validation_fraction` of the training groups; `test_split` makes no validation split, as the test split serves as one.
    Where a part then lacks a class that enough groups show, groups are drawn again, stratified by class (see `_stratified`).
    `train_cases` limits the training split, to whole groups; cases left out are not in the table. Of a target without
    masks, on which nothing is evaluated, all cases are for training. classes: as in the config, for messages.
    Raises `UserError` for a split that cannot be made, a part without foreground, and a class that the training split lacks.
    """
    table = read_table(cases, dtype=str, keep_default_na=False)
    rows = [{key: str(row[key]) for key in ("case", "group", "part")} for row in table.to_dict("records")]
    shown = {row["case"]: set(row["labels"].split()) - {"0"} for row in table.to_dict("records")}
    labelled = any(table["labels"])
    fractions: dict[str, float] = {}
    if not any(row["part"] == "test" for row in rows):
        rows = [row | {"part": "train"} for row in rows]
        fractions = {"test": test_fraction}
    fractions |= {"validation": validation_fraction} if validation == "held_out" else {}
    names = _Names(classes)
    if labelled:
        rows = _drawn(rows, fractions, split_seed, target, shown, names)
        _check_foreground(rows, shown, target, names)
    if train_cases is not None:
        rows = _limit_training(rows, train_cases, split_seed, target, shown, names)
    rows.sort(key=lambda row: (PARTS.index(row["part"]), row["group"], row["case"]))
    for part in PARTS:
        groups = [row["group"] for row in rows if row["part"] == part]
        log.info("%s: %d %s cases of %d groups", target, len(groups), part, len(set(groups)))
    with atomic_path(split) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)


class _Names(dict[str, str]):
    """The words for a label of the table, by the `classes` of the config; of a single class, 1 and 255 are its labels."""

    def __init__(self, classes: Iterable[str] | None) -> None:
        named = {str(label): name for label, name in enumerate(classes or [], start=1)}
        super().__init__(named | ({"255": named["1"]} if len(named) == 1 else {}))

    def __missing__(self, label: str) -> str:
        return f"label {label}"


def _drawn(
    rows: Rows,
    fractions: dict[str, float],
    split_seed: int,
    target: str,
    shown: dict[str, set[str]],
    names: dict[str, str],
) -> Rows:
    """The rows with these fractions of the training groups parted off, one part after the other. Stratified only where a part
    would lack a class, and where that helps: all other splits are as they were before there was any stratification."""

    def drawn(*, stratified: bool) -> tuple[Rows, list[tuple[str, str]]]:
        parted, left = rows, len(fractions)
        for part, fraction in fractions.items():
            parted = _part_off(parted, fraction, part, split_seed, target, shown, keep=left if stratified else 0)
            left -= 1
        return parted, _lacking(parted, shown)

    plain, absent = drawn(stratified=False)
    if not absent:
        return plain
    other, still_absent = drawn(stratified=True)
    # Training first: what it lacks cannot be learnt.
    if _badness(still_absent) >= _badness(absent):
        return plain
    text = ", ".join(f"{part} ({names[label]})" for part, label in absent)
    log.info("%s: drawn by the seed alone, these parts lack a class: %s; so groups are drawn by class", target, text)
    return other


def _badness(absent: list[tuple[str, str]]) -> tuple[int, int]:
    """How bad it is that these classes are absent from these parts."""
    return sum(part == "train" for part, _ in absent), len(absent)


def _lacking(rows: Rows, shown: dict[str, set[str]]) -> list[tuple[str, str]]:
    """Parts, and the labels of classes that none of their masks shows."""
    everything = sorted(set().union(*shown.values()), key=int)
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(row["part"], set()).update(shown[row["case"]])
    return [(part, label) for part in PARTS if part in found for label in everything if label not in found[part]]


def _check_foreground(rows: Rows, shown: dict[str, set[str]], target: str, names: dict[str, str]) -> None:
    """Raises `UserError` for a part in which no mask shows anything: it could be neither learnt from nor evaluated; and for a
    class that no training mask shows. Warns of a class that another part lacks."""
    absent = _lacking(rows, shown)
    for part in PARTS:
        cases = [row["case"] for row in rows if row["part"] == part]
        if cases and not any(shown[case] for case in cases):
            raise UserError(
                f"the {part} split of target {target} has no foreground",
                found=f"{len(cases)} empty masks",
                expected="at least one mask with foreground in every split",
                where="config: data.split_seed, data.test_fraction, data.validation_fraction",
                next="change the split, or add cases",
            )
    for part, label in absent:
        carriers = [case for case in shown if label in shown[case]]
        groups = len({row["group"] for row in rows if row["case"] in carriers})
        number = f"{len(carriers)} of all {len(shown)} cases show it, {carriers[0]} for example"
        if part == "train":
            raise UserError(
                f"the training split of target {target} lacks a class",
                found=f"no training case shows {names[label]}; {number}",
                expected="every class in the training split, else it cannot be learnt",
                where="config: data.test_fraction, data.validation_fraction",
                next="change the split, or add cases",
            )
        log.warning(
            "%s: no mask of the %s split shows %s, so that its Dice there means nothing (%s, of %d groups); next: add "
            "patients who show it, or leave the class out",
            *(target, part, names[label], number, groups),
        )


def shuffled_groups(groups: Iterable[str], split_seed: int, target: str, purpose: str) -> list[str]:
    """The distinct groups in an order fixed by the seed; a group's place does not depend on a library's generator."""
    return sorted(set(groups), key=lambda group: derive_seed("split", split_seed, target, purpose, group))


def _part_off(
    rows: Rows, fraction: float, part: str, split_seed: int, target: str, shown: dict[str, set[str]], keep: int
) -> Rows:
    """The rows with a fraction of the training groups (at least one) moved to `part`; keep: see `_stratified`, 0 for none."""
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
    if keep:
        labels: dict[str, set[str]] = {group: set() for group in groups}
        for row in rows:
            if row["part"] == "train":
                labels[row["group"]] |= shown[row["case"]]
        groups = _stratified(groups, number, labels, keep)
    chosen = set(groups[:number])
    return [row | {"part": part} if row["part"] == "train" and row["group"] in chosen else row for row in rows]


def _stratified(groups: list[str], number: int, labels: dict[str, set[str]], keep: int) -> list[str]:
    """The groups in another order: of the groups that show a class (labels: by group), one or more are among the first `number`
    and `keep` or more among the others, where there are as many; the class of the fewest groups is served first. Groups are
    exchanged for this only: those of the first places stay there in the given order, as do those of the last."""
    first, last = list[str](), list[str]()
    carriers = {label: [group for group in groups if label in labels[group]] for label in set().union(*labels.values())}
    for label in sorted(carriers, key=lambda label: (len(carriers[label]), int(label))):
        # One for the others goes before all: they are the training split, or become it.
        for side, room, wanted in (
            (last, len(groups) - number, 1),
            (first, number, 1),
            (last, len(groups) - number, keep),
        ):
            for group in carriers[label] if side is first else reversed(carriers[label]):
                if sum(label in labels[name] for name in side) >= wanted or len(side) >= room:
                    break
                if group not in first and group not in last:
                    side.append(group)
    free = [group for group in groups if group not in first and group not in last]
    return [*first, *free, *last]


def _limit_training(
    rows: Rows, wanted: int, split_seed: int, target: str, shown: dict[str, set[str]], names: dict[str, str]
) -> Rows:
    """Keep whole training groups, in seeded order, as long as they fit into `wanted` cases."""
    training = [row for row in rows if row["part"] == "train"]
    sizes = Counter(row["group"] for row in training)
    order = shuffled_groups(sizes, split_seed, target, "train_cases")
    kept = _fitting(order, sizes, wanted)
    number = sum(sizes[group] for group in kept)
    if not kept or wanted > sizes.total():
        raise UserError(
            f"train_cases of target {target} cannot be met",
            found=f"train_cases {wanted}",
            expected=f"{min(sizes.values())}..{sizes.total()} (the smallest training group, all training cases)",
            where=f"config: targets.{target}.train_cases",
            next="choose a number in that range, or null for all",
        )

    def lacking(some: list[str]) -> set[str]:
        found = [shown[row["case"]] for row in training if row["group"] in some]
        return set().union(*(shown[row["case"]] for row in training)).difference(*found)

    if absent := sorted(lacking(kept), key=int):
        enough = (n for n in range(wanted + 1, sizes.total() + 1) if not lacking(_fitting(order, sizes, n)))
        raise UserError(
            f"train_cases of target {target} leaves no training case with {', '.join(names[label] for label in absent)}",
            found=f"{number} of {sizes.total()} training cases",
            expected="every class in the training split, else it cannot be learnt",
            where=f"config: targets.{target}.train_cases, {wanted}",
            next=f"set train_cases: {next(enough)}, the next number that keeps every class, or null for all",
        )
    if number < wanted:
        log.warning("%s: %d training cases instead of %d, as groups stay whole", target, number, wanted)
    return [row for row in rows if row["part"] != "train" or row["group"] in kept]


def _fitting(order: list[str], sizes: Counter[str], wanted: int) -> list[str]:
    """The groups, in this order, as long as they fit into `wanted` cases."""
    kept, total = list[str](), 0
    for group in order:
        if total + sizes[group] <= wanted:
            kept.append(group)
            total += sizes[group]
    return kept
