"""How much what a selector gains depends on which patients the test part holds."""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from workflow.lib.stats.summary import summarise
from workflow.lib.stats.tidy import (
    CURVE,
    DOWNSTREAM,
    DOWNSTREAM_KEY,
    name_downstream,
    read_raw,
    refuse_conflicts,
    refuse_impossible,
    settle,
    told_apart,
)

Patients = dict[str, np.ndarray]
PATIENTS = """\
patients_low, patients_high: 95 % t interval, over the patients of the test parts, of the mean over patients of that difference,
choices and networks held fixed; where Dice of single patients is known (runs made here; the released tables have none). Each
patient counts the same: where Dice is pooled over pixels, or patients have unlike numbers of images, it lies around another
number than diff_to_last."""


def read_patients(path: str | Path, results: pd.DataFrame) -> Patients:
    """Dice of each patient (checkpoints x seeds, patients), by data set; nan where there is none. Checkpoints in the order of
    `summarise(results)`, seeds in ascending order. Raises `UserError` as `read_downstream`."""
    raw = read_raw(path, [*DOWNSTREAM, "patient", "dice index"]).drop_duplicates()
    frame = name_downstream(raw).assign(patient=raw["patient"].astype(str))
    refuse_impossible(frame, path)
    refuse_conflicts(frame, [*DOWNSTREAM_KEY, "patient"], path)
    frame = told_apart(settle(frame))
    seeds = np.sort(results["seed"].unique())
    keys = summarise(results)[[*CURVE, "epochs"]].merge(pd.DataFrame({"seed": seeds}), how="cross")
    order = pd.MultiIndex.from_frame(keys[DOWNSTREAM_KEY])
    found = {}
    for name, part in frame.groupby("dataset"):
        wide = part.pivot(index=DOWNSTREAM_KEY, columns="patient", values="dice").reindex(order)
        found[str(name)] = wide.to_numpy()
    return found


def patients_interval(gain: np.ndarray, patients: Patients) -> tuple[np.ndarray, np.ndarray]:
    """Middle and half width (rows,) of the 95 % t interval of weighted sums of results over patients drawn anew, all networks
    held fixed.

    gain (rows, checkpoints x seeds): weights of the results. A sum is made of a mean over the patients of each data set, each
    counting the same; the variances of the means add up, degrees of freedom by Satterthwaite. nan where a data set has one
    patient, or a result none.
    """
    middle, variance, spread = np.zeros((3, len(gain)))
    if not patients:
        return middle, np.full(len(gain), np.nan)
    used = np.zeros(gain.shape, dtype=bool)
    for dice in patients.values():
        known = np.isfinite(dice).any(axis=1)
        used |= known
        complete = np.isfinite(dice[known]).all(axis=0)
        weights, n = gain[:, known], int(complete.sum())
        sums = weights @ dice[known][:, complete]
        middle += sums.mean(axis=1) if n else 0
        part = sums.var(axis=1, ddof=1) / n if n > 1 else np.where((weights != 0).any(axis=1), np.nan, 0.0)
        variance += part
        spread += part**2 / max(1, n - 1)
    freedom = np.divide(variance**2, spread, out=np.ones(len(gain)), where=spread > 0)
    half = stats.t.ppf(0.975, freedom) * np.sqrt(variance)
    return middle, np.where(((gain != 0) & ~used).any(axis=1), np.nan, half)
