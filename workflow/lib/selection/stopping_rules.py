"""Rules that say, while a pretraining runs, when to stop and which checkpoint to keep, from what has been seen so far."""

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from workflow.lib.evidence.verdicts import MARGIN
from workflow.lib.selection.names import FRACTION, MINIMUM, NEVER, NULLS, PATIENCE, PLATEAU
from workflow.lib.study.patience import followed
from workflow.lib.tables.read import CURVE
from workflow.lib.tables.scores import columns_of

Array = np.ndarray
Stop = tuple[int, int]  # positions of the checkpoint that is kept and of the last one that is trained
# Of the positions (in `means`) of a curve's checkpoints, in order; None: not known.
Rule = Callable[[Array], Stop | None]

# Relative gain of ImageNet accuracy per checkpoint below which a plateau is reached.
GAINS = (0.5, 0.2, 0.1, 0.05, 0.02)
CAPS = {"whole": 1.0, "half": 0.5}  # budget -> share of the schedule at which training ends at the latest


def patience(score: Array, tolerance: Array, most: int) -> Stop:
    """(best so far, stop) for scores (n,) in order, higher = better: stops once `most` checkpoints in a row have not exceeded
    the best so far by more than its tolerance (n,); at the end if that never happens."""
    checks = followed(score.tolist(), lambda best, i: bool(score[i] > score[best] + tolerance[best]))
    stop = next((i for i, (_, missed) in enumerate(checks) if missed == most), len(checks) - 1)
    return checks[stop][0] or 0, stop


def first_turn(score: Array) -> Stop:
    """(kept, stop): stops at the first checkpoint with a worse score than the one before, which is kept; equal scores go on.
    Of a score where lower is better, what is kept is the first local minimum."""
    worse = np.flatnonzero(np.diff(score) < 0)
    return (int(worse[0]), int(worse[0]) + 1) if len(worse) else (len(score) - 1, len(score) - 1)


def plateau(accuracy: Array, gain: float) -> Stop:
    """Stops at, and keeps, the first checkpoint whose accuracy (0..1) exceeds the one before by less than this share of it."""
    slow = np.flatnonzero(np.diff(accuracy) < gain * accuracy[:-1])
    stop = int(slow[0]) + 1 if len(slow) else len(accuracy) - 1
    return stop, stop


def rules(means: pd.DataFrame, scores: pd.DataFrame) -> dict[tuple[str, str], Rule]:
    """Every rule, by its family and its parameters in words. `means`: as of `summarise`; `scores`: as of `read_scores`."""
    epochs, accuracy = means["epochs"].to_numpy(), means["accuracy"].to_numpy(float)
    found: dict[tuple[str, str], Rule] = {(NEVER, ""): _last}
    last = means.groupby(CURVE)["epochs"].transform("max").to_numpy()
    share = epochs / np.where(last > 0, last, 1)
    for part in np.unique(share[epochs > 0]):
        found[FRACTION, f"{part:.3g}"] = partial(_reached, share, part)
    for gain in GAINS:
        found[PLATEAU, f"gain below {gain:g}"] = partial(_if_known, accuracy, plateau, gain)
    names, values = columns_of(scores, means)
    high = columns_of(scores, means, "high")[1]
    tolerances = {"0": np.zeros_like(values)}
    if np.isfinite(high).any():
        tolerances["interval"] = high - values
    for i, (score, setting) in enumerate(names):
        if score in NULLS:  # the same at all lengths
            continue
        found[f"{MINIMUM}, {score}", setting] = partial(_if_known, values[:, i], first_turn)
        for (words, wide), most, keep in product(tolerances.items(), (1, 2), ("best", "current")):
            text = f"patience {most}, tolerance {words}, keep the {keep}; {setting}".removesuffix("; ")
            rule = partial(_patience, values[:, i], wide[:, i], most, keep == "current")
            found[f"{PATIENCE}, {score}", text] = rule
    return found


def _last(at: Array) -> Stop:
    return len(at) - 1, len(at) - 1


def _reached(share: Array, part: float, at: Array) -> Stop | None:
    """The checkpoint at this share of the schedule; none where the run has none there."""
    here = np.flatnonzero(np.isclose(share[at], part))
    return (int(here[0]), int(here[0])) if len(here) else None


def _if_known(values: Array, rule: Callable[..., Stop], *parameters: Any) -> Stop | None:
    *limits, at = parameters
    return rule(values[at], *limits) if np.isfinite(values[at]).all() else None


def _patience(column: Array, tolerance: Array, most: int, current: bool, at: Array) -> Stop | None:
    if not (np.isfinite(column[at]).all() and np.isfinite(tolerance[at]).all()):
        return None
    best, stop = patience(column[at], tolerance[at], most)
    return (stop if current else best), stop


def thrift(others: pd.DataFrame) -> pd.Series:
    """Cost of parameters by their rows on other data sets: mean epochs trained, of equal ones the lower mean regret; those
    that lose more than `MARGIN` there come last, by their regret."""
    mean = others.groupby("setting")[["diff_to_last", "epochs_trained", "regret"]].mean().round(12)
    cheap = mean["epochs_trained"] + 1e-3 * mean["regret"]
    return cheap.where(mean["diff_to_last"] >= -MARGIN, others["epochs_trained"].max() + 1 + mean["regret"])


def walk(means: pd.DataFrame, named: dict[tuple[str, str], Rule], cap: float) -> tuple[Array, Array]:
    """What every rule keeps, and where it stops, walking through each curve up to the share `cap` of its schedule.

    Two arrays (checkpoints in the order of `means`, rules): 1 at the checkpoint, 0 elsewhere, nan where a rule lacks what it
    looks at (or has no checkpoint there).
    """
    kept, stopped = np.full((2, len(means), len(named)), np.nan)
    for _, rows in means[means["epochs"] > 0].groupby(CURVE):
        rows = rows.sort_values("epochs")
        positions = means.index.get_indexer(rows.index)
        seen = positions[rows["epochs"].to_numpy() <= cap * rows["epochs"].max()]
        for column, rule in enumerate(named.values()):
            stop = rule(seen) if len(seen) else None
            if stop is not None:
                for marks, chosen in zip((kept, stopped), stop, strict=True):
                    marks[positions, column] = 0
                    marks[seen[chosen], column] = 1
    return kept, stopped
