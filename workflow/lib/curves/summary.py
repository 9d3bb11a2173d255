"""Means and intervals per checkpoint, from the spread between fine-tuning seeds pooled over the lengths of a cell."""

from pathlib import Path

import numpy as np
import pandas as pd

from workflow.lib.evidence.intervals import half_width
from workflow.lib.tables.headed import write_table
from workflow.lib.tables.read import CELL, CURVE, read_downstream

HEAD = """Mean Dice (0..1) over the fine-tuning seeds of each checkpoint, per data set, network, fine-tuning mode and scheme.
Length 0 is random initialisation; it belongs to no scheme and has the label simple, as released.
dice_sd: standard deviation between the seeds of this checkpoint. dice_ci_*: 95 % t interval of the mean,
dice_mean -+ t * s / sqrt(n_seeds); s pools the seeds' spread over the lengths > 0 of the cell (length 0 has its own).
Simulated coverage with 5 seeds and 9 lengths: 95 % where the seeds vary equally at all lengths; with the released
spreads taken as true 94 % on average, but 50 to 100 % for single checkpoints: `note` marks those whose own spread
exceeds twice the pooled one, where the interval is too narrow. (A bootstrap over 5 seeds covers 83 %.)
accuracy: ImageNet top-1 of the checkpoint, 0..1.
No interval covers other pretraining runs, other patients or test sets, and lengths below the last are snapshots of one
schedule, not annealed: nothing here describes a completed shorter pretraining."""

COLUMNS = [
    *("dataset", "model", "freeze", "scheme", "epochs", "n_seeds", "dice_mean", "dice_sd"),
    *("dice_ci_low", "dice_ci_high", "encoder", "pretrain_seed", "accuracy", "note"),
]


def summarise(results: pd.DataFrame) -> pd.DataFrame:
    """Dice per checkpoint (`CURVE` and epochs) of the tidy results: accuracy, n_seeds, dice_mean, dice_sd (within the
    checkpoint; empty for one seed), pooled_sd and df (of the cell: `CELL`, over its lengths and pretraining seeds).

    The pooled SD is sqrt(sum((n-1) sd^2) / sum(n-1)), df = sum(n-1); empty, df 0, when no checkpoint has two seeds.
    Length 0 has a spread of its own: it belongs to no scheme, and random networks may vary several times as much.
    """
    groups = results.groupby([*CURVE, "epochs"], as_index=False)
    table = groups.agg(
        accuracy=("accuracy", "first"), n_seeds=("dice", "size"), dice_mean=("dice", "mean"), dice_sd=("dice", "std")
    )
    table["df"] = table["n_seeds"] - 1
    table["squares"] = (table["df"] * table["dice_sd"] ** 2).fillna(0)
    table["trained"] = table["epochs"] > 0
    pooled = table.groupby([*CELL, "trained"])[["squares", "df"]].transform("sum")
    table["df"] = pooled["df"]
    table["pooled_sd"] = np.sqrt(pooled["squares"] / pooled["df"].where(pooled["df"] > 0))
    return table.drop(columns=["squares", "trained"])


def with_interval(table: pd.DataFrame) -> pd.DataFrame:
    """Add dice_ci_low, dice_ci_high: 95 % t interval of the mean with the cell's pooled SD (empty without spread)."""
    half = half_width(table["df"].where(table["df"] > 0), table["pooled_sd"], table["n_seeds"])
    return table.assign(dice_ci_low=table["dice_mean"] - half, dice_ci_high=table["dice_mean"] + half)


def share_scratch(table: pd.DataFrame) -> pd.DataFrame:
    """Give every curve of a (dataset, model, freeze) the one length-0 row (random initialisation) they share."""
    scratch, trained = table[table["epochs"] == 0], table[table["epochs"] > 0]
    curves = trained[CURVE].drop_duplicates()
    start = ["dataset", "model", "encoder", "freeze"]
    shared = curves.merge(scratch.drop(columns=["scheme", "pretrain_seed"]), on=start)
    shared = pd.concat([shared[table.columns], trained], ignore_index=True)
    return shared.sort_values([*CURVE, "epochs"], ignore_index=True)


def downstream_table(results: pd.DataFrame) -> pd.DataFrame:
    """Dice per checkpoint and way of fine-tuning with its interval (`COLUMNS`); note says where that fails, or why."""
    table = with_interval(summarise(results))
    wide = table["dice_sd"] > 2 * table["pooled_sd"]
    note = np.where(wide, "own spread over twice the pooled one: interval too narrow", "")
    note = np.where(table["pooled_sd"].isna(), "one seed only: no interval", note)
    return table.assign(note=note)[COLUMNS]


def write_downstream(downstream: str | Path, output: str | Path) -> None:
    """Write `downstream_table` of a run's results."""
    write_table(downstream_table(read_downstream(downstream)), output, HEAD)
