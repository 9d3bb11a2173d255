"""Learning curves: Dice against the number of training patients, and how many patients a pretraining is worth."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import isotonic_regression

from workflow.lib.evidence.crossed import crossed_mean
from workflow.lib.study.checkpoints import NONE
from workflow.lib.tables.headed import write_table
from workflow.lib.tables.transfer import read_transfer
from workflow.lib.transfer.effects import START, UNITS, at_budget

CURVE = ["dataset", "encoder", "freeze"]

HEAD = """\
Dice of the test split against the number of training patients, at equal images of pretraining. low, high: 95 % t interval over
pretraining runs, fine-tuning seeds and draws of patients (evidence/crossed.py). fitted: the monotone curve nearest to the means.
draws_lacking: draws of patients whose images show not all classes: these are not learnt.
gain: over random weights, paired by seed and draw. worth: the number of patients with which random weights would reach the same
Dice: their fitted curve, read backwards between the numbers that were tried, on a logarithmic axis; worth_low and worth_high: the
same of the ends of the gain's interval, the curve itself being taken as known. bound: at least, at most, where the curve of
random weights ends before: the value is its end. No interval speaks of other targets or test patients."""


def learning_curves(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of tables/learning_curves.csv from those of transfer_scores.csv, see its head."""
    rows = []
    for place, part in at_budget(frame, "images").groupby(CURVE):
        names = dict(zip(CURVE, place, strict=True))
        scratch = part[part["transfer"] == NONE]
        reference = _curve(scratch)
        for start, trained in part.groupby(START):
            curve = _curve(trained)
            found = names | dict(zip(START, start, strict=True))
            for row in curve.itertuples():
                cells: dict[str, Any] = {"patients": row.patients, "dice": row.dice, "low": row.low, "high": row.high}
                cells |= {"fitted": row.fitted, "draws": row.draws, "draws_lacking": row.draws_lacking}
                if found["transfer"] != NONE and len(reference):
                    cells |= _gain(trained[trained["patients_used"] == row.patients], scratch, reference)
                rows.append(found | cells)
    order = [*CURVE, *START, "patients", "draws", "draws_lacking", "dice", "low", "high", "fitted"]
    order += ["gain", "gain_low", "gain_high"]
    return pd.DataFrame(rows, columns=[*order, "worth", "worth_low", "worth_high", "bound"])


def _curve(part: pd.DataFrame) -> pd.DataFrame:
    """Mean Dice for each number of patients, ascending, and its monotone fit."""
    rows = []
    for patients, cell in part.groupby("patients_used"):
        found = crossed_mean(cell, UNITS, "dice")
        lacking = cell.loc[cell["classes_lacking"] != "", "draw"].nunique()
        numbers = {"patients": patients, "dice": found.mean, "low": found.low, "high": found.high}
        rows.append(numbers | {"draws": cell["draw"].nunique(), "draws_lacking": lacking})
    curve = pd.DataFrame(rows, columns=["patients", "dice", "low", "high", "draws", "draws_lacking"])
    return curve.assign(fitted=isotonic_regression(curve["dice"].to_numpy()).x if len(curve) else [])


def _gain(cell: pd.DataFrame, scratch: pd.DataFrame, reference: pd.DataFrame) -> dict[str, Any]:
    keys = ["patients", "seed", "draw"]
    both = cell.merge(scratch[[*keys, "dice"]], on=keys, suffixes=("", "_scratch"))
    if both.empty:
        return {}
    found = crossed_mean(both.assign(value=both["dice"] - both["dice_scratch"]), UNITS)
    numbers = {"gain": found.mean, "gain_low": found.low, "gain_high": found.high}
    if len(reference) < 2:
        return numbers
    here = np.interp(cell["patients_used"].iloc[0], reference["patients"], reference["fitted"])
    sizes, fitted = reference["patients"].to_numpy(float), reference["fitted"].to_numpy(float)
    worth, low, high = (equivalent(here + gain, sizes, fitted) for gain in (found.mean, found.low, found.high))
    level = here + found.mean
    bound = "at least" if level > fitted[-1] else "at most" if level < fitted[0] else ""
    return numbers | {"worth": worth, "worth_low": low, "worth_high": high, "bound": bound}


def equivalent(dice: float, sizes: Sequence[float] | np.ndarray, fitted: Sequence[float] | np.ndarray) -> float:
    """The number of patients at which a rising curve (`fitted` at `sizes`) first reaches `dice`, on a logarithmic axis between
    them; the first or last size beyond its ends; nan for nan."""
    sizes, fitted = np.asarray(sizes, float), np.asarray(fitted, float)
    if math.isnan(dice):
        return math.nan
    above = np.flatnonzero(fitted >= dice)
    if not len(above):
        return float(sizes[-1])
    i = int(above[0])
    if i == 0:
        return float(sizes[0])
    share = (dice - fitted[i - 1]) / (fitted[i] - fitted[i - 1])
    return float(np.exp((1 - share) * np.log(sizes[i - 1]) + share * np.log(sizes[i])))


def write_learning_curves(transfer: str | Path, output: str | Path) -> None:
    """Write `learning_curves` of a run's transfer_scores.csv."""
    write_table(learning_curves(read_transfer(transfer)), output, HEAD)
