"""Means and intervals per checkpoint, from the spread between fine-tuning seeds pooled over the lengths of a cell."""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from workflow.lib.run import atomic_path
from workflow.lib.stats.tidy import CELL, CURVE, read_downstream


def write_table(frame: pd.DataFrame, path: str | Path) -> None:
    """Write a frame as CSV, atomically; full precision, missing values as empty fields."""
    with atomic_path(path) as temporary:
        frame.to_csv(temporary, index=False)


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
    half = stats.t.ppf(0.975, table["df"].where(table["df"] > 0)) * table["pooled_sd"] / np.sqrt(table["n_seeds"])
    return table.assign(dice_ci_low=table["dice_mean"] - half, dice_ci_high=table["dice_mean"] + half)


def share_scratch(table: pd.DataFrame) -> pd.DataFrame:
    """Give every curve of a (dataset, model, freeze) the one length-0 row (random initialisation) they share."""
    scratch, trained = table[table["epochs"] == 0], table[table["epochs"] > 0]
    curves = trained[CURVE].drop_duplicates()
    start = ["dataset", "model", "encoder", "freeze"]
    shared = curves.merge(scratch.drop(columns=["scheme", "pretrain_seed"]), on=start)
    shared = pd.concat([shared[table.columns], trained], ignore_index=True)
    return shared.sort_values([*CURVE, "epochs"], ignore_index=True)


def write_downstream(downstream: str | Path, output: str | Path) -> None:
    """Write Dice per checkpoint and way of fine-tuning with its interval (`summarise`, `with_interval`)."""
    table = with_interval(summarise(read_downstream(downstream)))
    columns = [*CURVE, "epochs", "accuracy", "n_seeds", "dice_mean", "dice_sd", "dice_ci_low", "dice_ci_high"]
    write_table(table[columns], output)
