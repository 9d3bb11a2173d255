"""The checks of the audit. None knows an answer: each compares a file with the grid its labels span, or with itself."""

import math

import pandas as pd

from workflow.lib.tables import read
from workflow.lib.tables.audit_text import NOUNS, REFUSED, Finding, counted, finding, said_row
from workflow.lib.tables.read import RUN, SETTING

CHECKPOINT = [*RUN, "epochs"]


def check_rows(
    file: str, raw: pd.DataFrame, frame: pd.DataFrame, key: list[str]
) -> tuple[list[Finding], pd.DataFrame, pd.DataFrame]:
    """Findings row by row; the rows whose place in the grid is known; and those of them with a value that can be used.

    `frame`: the rows of `raw` under canonical names; `key`: the columns that name a cell.
    """
    single = frame["pretrain_seed"].nunique() < 2
    names = [c for c in key if not (c == "pretrain_seed" and single) and not (c == "encoder" and "model" in key)]

    def places(rows: pd.DataFrame) -> list[str]:
        labels = rows[names].to_dict("records")
        return [f"line {read.line(index)} ({said_row(row)})" for index, row in zip(rows.index, labels, strict=True)]

    repeated = raw.duplicated()
    found = finding(file, "exact duplicate", repeated.sum(), places(frame[repeated]), "dropped")
    frame = frame[~repeated]
    undefined = frame["score"].isna() if "score" in frame else pd.Series(False, index=frame.index)
    where = frame.loc[undefined, "metric"].astype(str).unique() if undefined.any() else []
    found += finding(file, "undefined score", undefined.sum(), where, "left out; column `warning` says why")
    bad = read.impossible(frame[~undefined])
    for column, values in bad.items():
        name, _, expected = read.POSSIBLE[column]
        where = [f"{name} {value} (line {read.line(index)}) is not {expected}" for index, value in values.items()]
        found += finding(file, "value out of range", len(values), where, REFUSED)
    nowhere = {index for values in read.impossible(frame[key]).values() for index in values.index}
    useless = nowhere.union(frame.index[undefined], *(values.index for values in bad.values()))
    sound = read.settle(frame.drop(index=list(useless)))
    conflict = sound.duplicated(key, keep=False)
    found += finding(file, "conflicting rows", conflict.sum(), places(sound[conflict]), REFUSED)
    return found, read.settle(frame.drop(index=list(nowhere))), sound[~conflict]


def declared_grid(frame: pd.DataFrame, owner: list[str], crossed: list[str]) -> tuple[pd.DataFrame, str]:
    """The cells that the labels of `frame` span, and their number as a product in words.

    Every checkpoint found (at every level of its encoder, where there are levels) x the values found of each column of
    `crossed`. `owner`: the columns that name a network.
    """
    grid = frame[list(dict.fromkeys([*owner, *CHECKPOINT]))].drop_duplicates()
    networks, starts = len(grid[owner].drop_duplicates()), grid[CHECKPOINT[1:]].drop_duplicates()
    trained = starts[starts["epochs"] > 0]
    spans = {"length": "epochs", "scheme": "scheme", "pretraining seed": "pretrain_seed"}
    sizes = {noun: trained[column].nunique() for noun, column in spans.items()}
    alike = len(grid) == networks * len(starts) and len(trained) == math.prod(sizes.values())
    product = " x ".join(counted(size, noun) for noun, size in sizes.items() if size > 1 or noun == "length")
    product += f" + {len(starts) - len(trained)}" if len(starts) > len(trained) else ""
    factors = [counted(networks, "network")] if alike else [counted(len(grid), "checkpoint")]
    if "level" in frame:
        levels = frame[["encoder", "level"]].drop_duplicates()
        grid = grid.merge(levels, on="encoder")
        depths = " + ".join(map(str, levels.groupby("encoder").size()))
        factors = [f"({depths}) levels of {factors[0]}" if alike else counted(len(grid), "level") + " of checkpoints"]
    for column in crossed:
        values = frame[[column]].drop_duplicates()
        grid = grid.merge(values, how="cross")
        factors.append(counted(len(values), NOUNS.get(column, column)))
    return grid, " x ".join([*factors, f"({product})"] if alike else factors)


def missing_cells(file: str, grid: pd.DataFrame, frame: pd.DataFrame, by: list[str]) -> tuple[list[Finding], str]:
    """Cells of the grid without a row, one finding for each group `by`; and the coverage of the grid in words."""
    cells = grid.merge(frame[grid.columns].drop_duplicates(), how="left", indicator=True)
    absent = cells[cells["_merge"] == "left_only"]
    found = []
    for names, part in absent.groupby(by):
        lengths = ", ".join(map(str, sorted(part["epochs"].unique())))
        where = f"{said_row(dict(zip(by, names, strict=True)))}, lengths {lengths}"
        found += finding(file, "missing cell", len(part), [where], "left missing, means use what is there")
    return found, f"{counted(len(grid), 'cell')}: {len(grid) - len(absent):,} present, {len(absent):,} missing"


def uneven_lengths(file: str, frame: pd.DataFrame) -> list[Finding]:
    """Pretraining runs without a length > 0 that another run has. One length alone (weights from elsewhere) is no run."""
    lengths_of = frame[frame["epochs"] > 0].groupby(RUN)["epochs"].agg(set)
    lengths_of = lengths_of[lengths_of.map(len) > 1]
    found = []
    for run, lengths in lengths_of.items():
        lacking = sorted(set().union(*lengths_of) - lengths)
        where = f"{said_row(dict(zip(RUN, run, strict=True)))}, lengths {', '.join(map(str, lacking))}"
        found += finding(file, "uneven lengths", len(lacking), [where], "treated as planned, not counted as missing")
    return found


def conflicting_accuracies(file: str, frame: pd.DataFrame) -> list[Finding]:
    """Trained checkpoints with several ImageNet accuracies (random weights may have one for each seed)."""
    several = frame[frame["epochs"] > 0].groupby(CHECKPOINT)["accuracy"].nunique() > 1
    where = [said_row(dict(zip(CHECKPOINT, names, strict=True))) for names in several.index[several]]
    return finding(file, "conflicting accuracy", several.sum(), where, "kept: each cell takes that of its first row")


def identical_blocks(file: str, frame: pd.DataFrame, block: list[str], within: list[str], value: str) -> list[Finding]:
    """Whole blocks that repeat another's (`read.equal_blocks`); the same finding about several blocks is one.

    Random weights that are listed under several schemes or pretraining seeds are equal by construction and no finding.
    """
    size = frame.groupby(block)[value].size()
    rows: dict[tuple[str, str], list[int]] = {}
    for group in read.equal_blocks(frame, block, within, value):
        names = pd.DataFrame(group, columns=block)
        differ = [column for column in block if names[column].nunique() > 1]
        random, trained = names["epochs"].eq(0).any(), names["epochs"].gt(0).any()
        if not trained and set(differ) <= {"scheme", "pretrain_seed"}:
            continue
        impossible = value == "score" and random and trained
        treatment = (
            "length 0 left out: no measurement of random weights" if impossible else "kept: check the checkpoints"
        )
        shared = "" if "dataset" in differ else f"{names['dataset'].iloc[0]}, "
        where = shared + " = ".join(said_row(labels) for labels in names[differ].to_dict("records"))
        rows.setdefault((where, treatment), []).append(sum(size[entry] for entry in group[1:]))
    return [
        one
        for (where, treatment), counts in rows.items()
        for one in finding(
            file, "identical blocks", sum(counts), [f"{where} ({counted(len(counts), 'block')})"], treatment
        )
    ]


def flat_curves(file: str, frame: pd.DataFrame) -> list[Finding]:
    """Score curves over the lengths > 0 that rank nothing (constant) or choose by averaging (tied lowest score)."""
    curve = ["dataset", *RUN, *SETTING]
    curves = frame[frame["epochs"] > 0]
    lowest = curves["score"] == curves.groupby(curve)["score"].transform("min")
    table = (
        curves.assign(lowest=lowest)
        .groupby(curve)
        .agg(lengths=("score", "size"), values=("score", "nunique"), lowest=("lowest", "sum"))
    )
    found = []
    for dataset, part in table[table["lengths"] > 1].groupby("dataset"):
        where = [f"{dataset}, of {counted(len(part), 'curve')}"]
        found += finding(
            file, "constant score curve", (part["values"] == 1).sum(), where, "correlation 0, choice averaged"
        )
        found += finding(file, "tied lowest score", (part["lowest"] > 1).sum(), where, "choice averaged")
    return found
