"""How much what a selector gains depends on which patients are in the test split."""

import numpy as np

from workflow.lib.evidence.intervals import half_width
from workflow.lib.tables.patients import Patients

PATIENTS = """\
patients_low, patients_high: 95 % t interval, over the patients of the test splits, of the mean over patients of that difference,
choices and networks held fixed; where Dice of single patients is known (runs made here; the released tables have none). Each
patient counts the same: where Dice is pooled over pixels, or patients have unlike numbers of images, its centre differs
from diff_to_last."""


def patients_interval(gain: np.ndarray, patients: Patients) -> tuple[np.ndarray, np.ndarray]:
    """Middle and half width (rows,) of the 95 % t interval of weighted sums of results over newly sampled patients, all networks
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
    half = half_width(freedom, np.sqrt(variance))
    return middle, np.where(((gain != 0) & ~used).any(axis=1), np.nan, half)
