"""Read a run's two tables into tidy frames: canonical names, no duplicates, checked values, every finding noted."""

import logging
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from workflow.lib.run import UserError

log = logging.getLogger("medseg")

DATASETS = {"COVIDQUDataset": "COVID-QU"}
ENCODERS = {"u-net_encoder": "unet", "unet_encoder": "unet", "swin_transformer": "swin"}
SCHEMES = {"simple_training": "simple", "advanced_training": "advanced"}
ENCODER_OF_MODEL = {"basic U-Net": "unet", "ResNet50 Attention U-Net": "resnet50", "Swin U-Net": "swin"}

CELL = ["dataset", "model", "encoder", "freeze", "scheme"]
CURVE = [*CELL, "pretrain_seed"]  # one pretraining run, fine-tuned on one target in one way: Dice against length
RUN = ["encoder", "scheme", "pretrain_seed"]  # one pretraining run
SETTING = ["metric", "margin", "pooled", "level"]  # one way of computing the robustness score

DOWNSTREAM = {
    "dataset": "dataset",
    "model": "model",
    "freeze encoder": "freeze",
    "pretraining scheme": "scheme",
    "pretraining length": "epochs",
    "seed": "seed",
    "ImageNet accuracy": "accuracy",
}
ROBUSTNESS = {
    "dataset": "dataset",
    "encoder": "encoder",
    "pretraining_scheme": "scheme",
    "metric": "metric",
    "margin": "margin",
    "pooled": "pooled",
    "level": "level",
    "pretraining_length": "epochs",
    "robustness": "score",
}
NOTE_COLUMNS = ["file", "kind", "count", "where", "treatment"]
Notes = list[dict[str, object]]


def read_downstream(path: str | Path, notes: Notes | None = None) -> pd.DataFrame:
    """Read the fine-tuning results: one row per (dataset, model, encoder, freeze, scheme, pretrain_seed, epochs, seed).

    Further columns: accuracy (ImageNet top-1, 0..1) and dice (0..1; `mean dice index` where given, else `dice index`).
    Length 0 (random initialisation) keeps the released label `simple`; its pretrain_seed is 0, as none was pretrained.
    A network name shared by several encoders gets the encoder's name added, so that `model` tells them apart.
    Findings are appended to `notes`. Raises `UserError` for missing columns, values out of range and rows that conflict.
    """
    notes = [] if notes is None else notes
    raw = _read(path, [*DOWNSTREAM, "dice index"], notes)
    frame = raw[list(DOWNSTREAM)].rename(columns=DOWNSTREAM)
    frame["dice"] = raw["mean dice index"].fillna(raw["dice index"]) if "mean dice index" in raw else raw["dice index"]
    frame["encoder"] = raw["encoder"] if "encoder" in raw else frame["model"].map(ENCODER_OF_MODEL)
    seeds = raw["pretraining seed"] if "pretraining seed" in raw else 0
    frame["pretrain_seed"] = pd.Series(seeds, index=frame.index).where(frame["epochs"] > 0, 0)
    _check(path, "encoder", frame["encoder"], lambda x: x.notna(), "a model of the study or a column `encoder`")
    _check(path, "Dice", frame["dice"], lambda x: x.between(0, 1), "0..1")
    _check(path, "ImageNet accuracy", frame["accuracy"], lambda x: x.between(0, 1) | x.isna(), "0..1")
    frame = _canonical(frame, path, [*CURVE, "epochs", "seed"], ["accuracy", "dice"])
    shared = frame.groupby("model")["encoder"].transform("nunique") > 1
    frame["model"] = frame["model"].where(~shared, frame["model"] + " (" + frame["encoder"] + ")")
    _note_missing(frame, path, notes)
    _note_identical_results(frame, path, notes)
    return frame


def read_robustness(path: str | Path, notes: Notes | None = None) -> pd.DataFrame:
    """Read the robustness scores: one row per (dataset, encoder, scheme, pretrain_seed, metric, margin, pooled, level,
    epochs) with score (>= 0, LOWER = more robust).

    Length-0 rows that repeat another length of the same curve bit for bit are left out: they are no measurement of a
    random encoder. Findings are appended to `notes`. Raises `UserError` as `read_downstream`.
    """
    notes = [] if notes is None else notes
    raw = _read(path, list(ROBUSTNESS), notes)
    frame = raw[list(ROBUSTNESS)].rename(columns=ROBUSTNESS)
    seeds = raw["pretraining_seed"] if "pretraining_seed" in raw else 0
    seeds = pd.Series(seeds, index=frame.index)
    frame["pretrain_seed"] = seeds.where(seeds.notna() | (frame["epochs"] > 0), 0)  # random weights may have none
    undefined = frame["score"].isna()
    if undefined.any():
        settings = ", ".join(frame.loc[undefined, "metric"].unique())
        _note(notes, path, "undefined score", int(undefined.sum()), settings, "left out; column `warning` says why")
        frame = frame[~undefined]
    _check(path, "robustness", frame["score"], lambda x: x.between(0, float("inf"), inclusive="left"), "0 or more")
    frame = _canonical(frame, path, ["dataset", *RUN, *SETTING, "epochs"], ["score"])
    frame = _drop_repeated_length(frame, path, notes)
    _note_flat_curves(frame, path, notes)
    return frame


def write_notes(downstream: str | Path, robustness: str | Path, output: str | Path) -> None:
    """Read both tables and write what was found in them and how it was treated (columns `NOTE_COLUMNS`)."""
    from workflow.lib.stats.summary import write_table

    notes: Notes = []
    read_downstream(downstream, notes)
    read_robustness(robustness, notes)
    write_table(pd.DataFrame(notes, columns=NOTE_COLUMNS), output)


def _read(path: str | Path, columns: list[str], notes: Notes) -> pd.DataFrame:
    """The table without exact duplicates; `UserError` when it is unreadable or lacks a column."""
    step = "check that the file is the one written by rule gather_tables or released by the study, then run again"
    try:
        raw = pd.read_csv(path)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError("unreadable table", found=error, expected="a CSV table", where=path, next=step) from error
    missing = [column for column in columns if column not in raw]
    if missing:
        raise UserError(
            f"columns are missing: {', '.join(missing)}",
            found=", ".join(raw.columns),
            expected=", ".join(columns),
            where=path,
            next=step,
        )
    if raw.empty:
        raise UserError("empty table", found="0 rows", expected="at least one row", where=path, next=step)
    repeated = raw.duplicated()
    if repeated.any():
        where = "lines " + ", ".join(str(line + 2) for line in raw.index[repeated][:10])
        _note(notes, path, "exact duplicate", int(repeated.sum()), where, "dropped")
    return raw[~repeated]


def _canonical(frame: pd.DataFrame, path: str | Path, key: list[str], values: list[str]) -> pd.DataFrame:
    """Released spellings mapped to canonical ones, columns and rows in order; `UserError` when two rows conflict."""
    _check(
        path, "pretraining seed", frame["pretrain_seed"], lambda x: x % 1 == 0, "a whole number where the length is > 0"
    )
    frame["pretrain_seed"] = frame["pretrain_seed"].astype(int)
    for column, names in (("dataset", DATASETS), ("encoder", ENCODERS), ("scheme", SCHEMES)):
        frame[column] = frame[column].replace(names)
    for column in {"freeze", "pooled"} & set(frame):
        _check(path, column, frame[column], lambda x: x.isin([True, False]), "True or False")
        frame[column] = frame[column].astype(bool)
    _check(path, "length", frame["epochs"], lambda x: (x >= 0) & (x % 1 == 0), "whole epochs, 0 or more")
    conflict = frame.duplicated(key, keep=False)
    if conflict.any():
        raise UserError(
            "two rows of the same cell disagree",
            found=", ".join(f"{k}={v}" for k, v in frame.loc[conflict, key].iloc[0].items()),
            expected="one row per " + ", ".join(key),
            where=path,
            next="remove the rows that are wrong, then run again",
        )
    return frame[key + values].sort_values(key, ignore_index=True)


def _check(path: str | Path, what: str, values: pd.Series, rule: Callable, expected: str) -> None:
    bad = values[~rule(values)]
    if len(bad):
        raise UserError(
            f"{what} out of range in {len(bad)} rows",
            found=f"{bad.iloc[0]} (line {bad.index[0] + 2})",
            expected=expected,
            where=path,
            next="mend or remove these rows, then run again",
        )


def _note(notes: Notes, path: str | Path, kind: str, count: int, where: str, treatment: str) -> None:
    log.info("%s: %s: %d rows or curves (%s): %s", path, kind, count, where, treatment)
    notes.append(dict(zip(NOTE_COLUMNS, [Path(path).name, kind, count, where, treatment], strict=True)))


def _note_missing(frame: pd.DataFrame, path: str | Path, notes: Notes) -> None:
    """Cells of the full grid (every pretraining run x length, and random initialisation, x freezing x seed) not there."""
    for dataset, part in frame.groupby("dataset"):
        columns = ["model", "scheme", "pretrain_seed", "epochs"]
        starts, seeds = part[columns].drop_duplicates(), part[["seed"]].drop_duplicates()
        grid = starts.merge(part[["freeze"]].drop_duplicates(), how="cross").merge(seeds, how="cross")
        absent = grid.merge(part, how="left", on=list(grid.columns))
        absent = absent[absent["dice"].isna()]
        for (seed, model, scheme), cells in absent.groupby(["seed", "model", "scheme"]):
            lengths = ", ".join(map(str, sorted(cells["epochs"].unique())))
            where = f"{dataset}, seed {seed}, {model}, {scheme}, lengths {lengths}"
            _note(notes, path, "missing cell", len(cells), where, "means use the seeds that are there")


def _note_identical_results(frame: pd.DataFrame, path: str | Path, notes: Notes) -> None:
    """Two checkpoints with the very same Dice on every seed (two or more): probably one file, loaded twice."""
    start = ["scheme", "pretrain_seed", "epochs"]
    for cell, part in frame.groupby(["dataset", "model", "freeze"]):
        wide = part.pivot(index=start, columns="seed", values="dice")
        wide = wide[wide.notna().sum(axis=1) > 1]
        for block in _equal_rows(wide):
            where = ", ".join(map(str, cell)) + ": " + " = ".join(str(name) for name in block)
            _note(notes, path, "identical blocks", len(block), where, "kept: check the checkpoints")


def _equal_rows(wide: pd.DataFrame) -> list[list]:
    """Groups (two or more) of index entries whose rows are equal bit for bit, missing values included."""
    groups: dict[bytes, list] = {}
    for entry, row in zip(wide.index, wide.to_numpy(float), strict=True):
        groups.setdefault(row.tobytes(), []).append(entry)
    return [entries for entries in groups.values() if len(entries) > 1]


def _drop_repeated_length(frame: pd.DataFrame, path: str | Path, notes: Notes) -> pd.DataFrame:
    """Find blocks (dataset x pretraining run x length, all settings) that equal another length's block bit for bit."""
    found: dict[tuple, int] = {}
    drop = pd.Series(False, index=frame.index)
    for (dataset, *_), part in frame.groupby(["dataset", *RUN]):
        wide = part.pivot(index="epochs", columns=SETTING, values="score")
        wide = wide[wide.nunique(axis=1) > 1]  # a block of one value (all 0) may repeat by chance
        for block in _equal_rows(wide):
            lengths = tuple(int(length) for length in block)
            first = lengths[:1]
            found[dataset, lengths] = found.get((dataset, lengths), 0) + int(part["epochs"].isin(first).sum())
            if first == (0,):
                drop |= (frame.index.isin(part.index)) & (frame["epochs"] == 0)
    for (dataset, lengths), count in found.items():
        treatment = "length-0 rows left out" if lengths[0] == 0 else "kept: check the checkpoints"
        where = f"{dataset}, length " + " = length ".join(map(str, lengths))
        _note(notes, path, "identical blocks", count, where, treatment)
    return frame[~drop].reset_index(drop=True)


def _note_flat_curves(frame: pd.DataFrame, path: str | Path, notes: Notes) -> None:
    """Score curves over the lengths > 0 that can't rank (constant) or choose only by averaging (tied lowest score)."""
    curves = frame[frame["epochs"] > 0].copy()
    groups = curves.groupby(["dataset", *RUN, *SETTING])["score"]
    curves["lowest"] = curves["score"] == groups.transform("min")
    counts = curves.assign(several=groups.transform("size") > 1).groupby(["dataset", *RUN, *SETTING])
    table = counts.agg(n=("score", "size"), values=("score", "nunique"), lowest=("lowest", "sum"))
    table = table[table["n"] > 1]
    for dataset, part in table.groupby("dataset"):
        constant, tied = int((part["values"] == 1).sum()), int((part["lowest"] > 1).sum())
        if constant:
            where = f"{dataset}, of {len(part)} curves"
            _note(notes, path, "constant score curve", constant, where, "correlation 0, choice averaged")
        if tied:
            _note(notes, path, "tied lowest score", tied, f"{dataset}, of {len(part)} curves", "choice averaged")
