"""Read a run's two tables into tidy frames: canonical names, no duplicates, no impossible values; audit.py lists the rest."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workflow.lib.job.run import UserError

DATASETS = {"COVIDQUDataset": "COVID-QU"}
ENCODERS = {"u-net_encoder": "unet", "unet_encoder": "unet", "swin_transformer": "swin"}
SCHEMES = {"simple_training": "simple", "advanced_training": "advanced"}
ENCODER_OF_MODEL = {"basic U-Net": "unet", "ResNet50 Attention U-Net": "resnet50", "Swin U-Net": "swin"}

CELL = ["dataset", "model", "encoder", "freeze", "scheme"]
CURVE = [*CELL, "pretrain_seed"]  # one pretraining run, fine-tuned on one target in one way: Dice against length
RUN = ["encoder", "scheme", "pretrain_seed"]  # one pretraining run
SETTING = ["metric", "margin", "pooled", "level"]  # one way of computing the robustness score

DOWNSTREAM_KEY = [*CURVE, "epochs", "seed"]
ROBUSTNESS_KEY = ["dataset", *RUN, *SETTING, "epochs"]
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


def _numbers(values: pd.Series) -> pd.Series:
    return pd.to_numeric(values, errors="coerce")


def _whole(values: pd.Series) -> pd.Series:
    return _numbers(values).ge(0) & _numbers(values).mod(1).eq(0)  # of infinity, the remainder is no number


def _share(values: pd.Series) -> pd.Series:
    return _numbers(values).between(0, 1)


def _not_negative(values: pd.Series) -> pd.Series:
    return _numbers(values).between(0, np.inf, inclusive="left")


# column -> its name, which of its values are possible, the same in words
POSSIBLE: dict[str, tuple[str, Callable[[pd.Series], pd.Series], str]] = {
    **{column: (column, pd.Series.notna, "a name") for column in ("dataset", "model", "scheme", "metric")},
    "encoder": ("encoder", pd.Series.notna, "a model of the study or a column `encoder`"),
    "freeze": ("freeze", lambda x: x.isin([True, False]), "True or False"),
    "pooled": ("pooled", lambda x: x.isin([True, False]), "True or False"),
    "epochs": ("length", _whole, "whole epochs, 0 or more"),
    "seed": ("seed", _whole, "a whole number"),
    "pretrain_seed": ("pretraining seed", _whole, "a whole number where the length is > 0"),
    "level": ("level", _whole, "a whole number"),
    "margin": ("margin", _not_negative, "0 or more"),
    "accuracy": ("ImageNet accuracy", lambda x: _share(x) | x.isna(), "0..1"),
    "dice": ("Dice", _share, "0..1"),
    "score": ("robustness", _not_negative, "0 or more"),
}


def read_downstream(path: str | Path) -> pd.DataFrame:
    """Read the fine-tuning results: one row per (dataset, model, encoder, freeze, scheme, pretrain_seed, epochs, seed).

    Further columns: accuracy (ImageNet top-1, 0..1) and dice (0..1; `mean dice index` where given, else `dice index`).
    Length 0 (random initialisation) keeps the released label `simple`; its pretrain_seed is 0, as none was pretrained.
    A network name shared by several encoders gets the encoder's name added, so that `model` tells them apart.
    Exact duplicates are dropped. Raises `UserError` for missing columns, values out of range and rows that conflict.
    """
    frame = name_downstream(read_raw(path, [*DOWNSTREAM, "dice index"]).drop_duplicates())
    refuse_impossible(frame, path)
    frame = settle(frame)
    refuse_conflicts(frame, DOWNSTREAM_KEY, path)
    return told_apart(frame)[[*DOWNSTREAM_KEY, "accuracy", "dice"]].sort_values(DOWNSTREAM_KEY, ignore_index=True)


def told_apart(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with the encoder's name added to a network name that several encoders share."""
    shared = frame.groupby("model")["encoder"].transform("nunique") > 1
    return frame.assign(model=frame["model"].where(~shared, frame["model"] + " (" + frame["encoder"] + ")"))


def read_robustness(path: str | Path) -> pd.DataFrame:
    """Read the robustness scores: one row per (dataset, encoder, scheme, pretrain_seed, metric, margin, pooled, level,
    epochs) with score (>= 0, LOWER = more robust).

    Left out: exact duplicates, undefined scores, and length-0 rows that repeat a trained encoder's (`repeats_trained`).
    Raises `UserError` as `read_downstream`.
    """
    frame = name_robustness(read_raw(path, list(ROBUSTNESS)).drop_duplicates())
    frame = frame[frame["score"].notna()]
    refuse_impossible(frame, path)
    frame = settle(frame)
    refuse_conflicts(frame, ROBUSTNESS_KEY, path)
    frame = frame[~repeats_trained(frame)]
    return frame[[*ROBUSTNESS_KEY, "score"]].sort_values(ROBUSTNESS_KEY, ignore_index=True)


def read_raw(path: str | Path, columns: list[str]) -> pd.DataFrame:
    """The table as it stands; `UserError` when it is unreadable, empty or lacks a column."""
    step = "check that the file is the one written by rule gather_tables or released by the study, then run again"
    try:
        raw = pd.read_csv(path, dtype={"patient": str})  # 3.1 and 3.10 are two patients
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
    return raw


def name_downstream(raw: pd.DataFrame) -> pd.DataFrame:
    """Raw fine-tuning results under canonical names, values as they stand, same index."""
    frame = _renamed(raw, DOWNSTREAM)
    frame["dice"] = raw["dice index"].astype(object)  # either column may hold a text by mistake
    if "mean dice index" in raw:
        frame["dice"] = raw["mean dice index"].astype(object).fillna(frame["dice"])
    frame["encoder"] = raw["encoder"] if "encoder" in raw else frame["model"].map(ENCODER_OF_MODEL)
    frame["encoder"] = frame["encoder"].replace(ENCODERS)
    seeds = pd.Series(raw["pretraining seed"] if "pretraining seed" in raw else 0, index=raw.index)
    frame["pretrain_seed"] = seeds.where(_numbers(frame["epochs"]) > 0, 0)
    return frame


def name_robustness(raw: pd.DataFrame) -> pd.DataFrame:
    """Raw robustness scores under canonical names, values as they stand, same index."""
    frame = _renamed(raw, ROBUSTNESS)
    seeds = pd.Series(raw["pretraining_seed"] if "pretraining_seed" in raw else 0, index=raw.index)
    frame["pretrain_seed"] = seeds.mask(seeds.isna() & (_numbers(frame["epochs"]) == 0), 0)  # random: it may have none
    return frame


def impossible(frame: pd.DataFrame) -> dict[str, pd.Series]:
    """Per column the values that can't be (`POSSIBLE`), with their index in the file; only columns that have any."""
    bad = {
        column: frame.loc[~rule(frame[column]), column] for column, (_, rule, _) in POSSIBLE.items() if column in frame
    }
    return {column: values for column, values in bad.items() if len(values)}


def settle(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame of possible values, numbers as numbers and truths as truths."""
    types: dict[str, type] = {column: int for column in ("epochs", "seed", "pretrain_seed", "level")}
    types |= {column: float for column in ("margin", "accuracy", "dice", "score")}
    frame = frame.assign(
        **{column: _numbers(frame[column]).astype(types[column]) for column in types if column in frame}
    )
    return frame.astype({column: bool for column in ("freeze", "pooled") if column in frame})


def refuse_impossible(frame: pd.DataFrame, path: str | Path) -> None:
    """Raise `UserError` for the first column that holds an impossible value."""
    for column, bad in impossible(frame).items():
        name, _, expected = POSSIBLE[column]
        raise UserError(
            f"{name} out of range in {len(bad)} rows",
            found=f"{bad.iloc[0]} (line {line(bad.index[0])})",
            expected=expected,
            where=path,
            next="correct or remove these rows, then run again",
        )


def refuse_conflicts(frame: pd.DataFrame, key: list[str], path: str | Path) -> None:
    """Raise `UserError` when two rows are of the same cell."""
    conflict = frame.duplicated(key, keep=False)
    if conflict.any():
        raise UserError(
            "two rows of the same cell disagree",
            found=", ".join(f"{k}={v}" for k, v in frame.loc[conflict, key].iloc[0].items()),
            expected="one row per " + ", ".join(key),
            where=path,
            next="remove the rows that are wrong, then run again",
        )


def line(index: int) -> int:
    """The line of a CSV file on which the row with this index stands."""
    return index + 2


def equal_blocks(frame: pd.DataFrame, block: list[str], within: list[str], value: str) -> list[list[tuple[Any, ...]]]:
    """Groups (two or more) of blocks, named by `block`, whose values over all of `within` agree bit for bit.

    A block without two different values is left out: single values (zeros above all, where a score saturates) agree by
    chance. Missing values must agree too.
    """
    wide = frame.pivot(index=block, columns=within, values=value)
    wide = wide[wide.nunique(axis=1) > 1]
    groups: dict[bytes, list[tuple[Any, ...]]] = {}
    for entry, row in zip(wide.index, wide.to_numpy(float), strict=True):
        groups.setdefault(row.tobytes(), []).append(entry)
    return [entries for entries in groups.values() if len(entries) > 1]


def repeats_trained(scores: pd.DataFrame) -> pd.Series:
    """Which rows are of length 0 and repeat the whole block of a trained encoder: no measurement of a random one."""
    block = ["dataset", *RUN, "epochs"]
    groups = [group for group in equal_blocks(scores, block, SETTING, "score") if any(entry[-1] > 0 for entry in group)]
    repeated = [entry for group in groups for entry in group if entry[-1] == 0]
    return pd.Series(pd.MultiIndex.from_frame(scores[block]).isin(repeated), index=scores.index)


def _renamed(raw: pd.DataFrame, names: dict[str, str]) -> pd.DataFrame:
    """The columns of `names`, released spellings mapped to canonical ones."""
    frame = raw[list(names)].rename(columns=names)
    for column, spellings in (("dataset", DATASETS), ("encoder", ENCODERS), ("scheme", SCHEMES)):
        if column in frame:
            frame[column] = frame[column].replace(spellings)
    for column in {"freeze", "pooled"} & set(frame):  # texts where pandas found another value among them
        frame[column] = frame[column].map(lambda x: {"True": True, "False": False}.get(str(x), x))
    return frame
