"""Our run against the released one, cell by cell: do they agree within a margin that matters?"""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from workflow.lib.evidence.verdicts import MARGIN
from workflow.lib.tables.headed import write_table
from workflow.lib.tables.read import read_downstream

KEY = ["dataset", "model", "freeze", "scheme", "epochs"]
COLUMNS = [
    *KEY,
    "our_dice",
    "their_dice",
    "our_n",
    "their_n",
    "difference",
    "ci_low",
    "ci_high",
    "within_margin",
    "note",
]
COLUMNS += ["tost_low", "tost_high", "encoder", "our_pretrain_seed"]

HEAD = f"""Mean Dice (0..1) over fine-tuning seeds, our run minus the released one, for each cell and pretraining run of ours.
ci_low, ci_high: 95 %, Welch's t over the fine-tuning seeds of this very checkpoint. Not with an SD pooled over runs or lengths:
ours need not vary as theirs do, and seed SDs differ so much between checkpoints (up to 87-fold) that one pooled over lengths
covers 50 to 100 %; Welch's covers 95 % in every cell (simulated with the released SDs, 5 seeds each; 94 % with 2 of ours).
Where one side has a single seed, the SD of the other is used for both.
within_margin: equivalence at D = {MARGIN} by two one-sided tests at 5 % (TOST), here by the 90 % interval tost_low, tost_high:
yes = inside -D..D, no = entirely outside, undecided = neither, too few seeds. Each cell is tested alone, not adjusted.
With five seeds on both sides even the release against itself leaves 72 of its 342 cells undecided.
Not covered: other pretraining runs, patients, test sets. Lengths below the last are un-annealed snapshots of one schedule.
The release leaves parts of its protocol open (which epoch was kept, preparation of images): results may differ for that."""


def reproduction(ours: pd.DataFrame, theirs: pd.DataFrame) -> pd.DataFrame:
    """One row per cell (`KEY`) and pretraining run of ours, from the tidy results of both (`read_downstream`).

    difference: our mean Dice minus theirs; ci_low, ci_high its 95 % interval, tost_low, tost_high the 90 % one that decides
    within_margin (`interval`, `verdict`). `note` says why something is empty, and which cells only one run has.
    """
    ours, theirs = _comparable(ours), _comparable(theirs)
    released = {cell: part["dice"].to_numpy() for cell, part in theirs.groupby([*KEY, "encoder"])}
    mine = {cell: part["dice"].to_numpy() for cell, part in ours.groupby([*KEY, "encoder", "pretrain_seed"])}
    known = {cell[:-1] for cell in mine}
    cells = [(cell[:-1], cell[-1], dice) for cell, dice in mine.items()]
    cells += [(cell, None, np.array([])) for cell in released if cell not in known]
    rows = []
    for cell, pretrain_seed, dice in sorted(cells, key=lambda one: one[0]):
        row = dict(zip([*KEY, "encoder"], cell, strict=True)) | {"our_pretrain_seed": pretrain_seed}
        rows.append(row | _compare(dice, released.get(cell, np.array([]))))
    return pd.DataFrame(rows, columns=COLUMNS).astype({"our_pretrain_seed": "Int64"})


def interval(ours: np.ndarray, theirs: np.ndarray, level: float) -> tuple[float, float]:
    """t interval of mean(ours) - mean(theirs): Welch's, or with the spread of one side where the other is a single value."""
    from scipy.stats import ttest_ind

    with warnings.catch_warnings():
        # Of equal values on one side: their spread is 0, as it should be.
        warnings.simplefilter("ignore", RuntimeWarning)
        test = ttest_ind(ours, theirs, equal_var=min(len(ours), len(theirs)) == 1)
        low, high = test.confidence_interval(level)
    return float(low), float(high)


def verdict(low: float, high: float, margin: float = MARGIN) -> str:
    """yes: -margin < low and high < margin; no: the interval lies wholly beyond a margin; else undecided."""
    if -margin < low and high < margin:
        return "yes"
    return "no" if low > margin or high < -margin else "undecided"


def write_reproduction(ours: str | Path, theirs: str | Path, output: str | Path) -> None:
    """Write `reproduction` of two downstream_scores.csv, our run's and the released one."""
    write_table(reproduction(read_downstream(ours), read_downstream(theirs)), output, HEAD)


def _comparable(results: pd.DataFrame) -> pd.DataFrame:
    """Names that don't depend on what else a run holds: networks as spelled, and random weights as scheme `simple`."""
    names = [
        model.removesuffix(f" ({encoder})") for model, encoder in zip(results["model"], results["encoder"], strict=True)
    ]
    return results.assign(model=names, scheme=results["scheme"].where(results["epochs"] > 0, "simple"))


def _compare(ours: np.ndarray, theirs: np.ndarray) -> dict[str, object]:
    row: dict[str, object] = {"our_n": len(ours), "their_n": len(theirs)}
    row |= {f"{side}_dice": dice.mean() for side, dice in (("our", ours), ("their", theirs)) if len(dice)}
    if not len(ours) or not len(theirs):
        return row | {"note": f"only in {'our' if len(ours) else 'the released'} run"}
    row |= {"difference": ours.mean() - theirs.mean()}
    if np.ptp(ours) == 0 and np.ptp(theirs) == 0:
        several = max(len(ours), len(theirs)) > 1
        return row | {
            "note": "no interval: no spread between seeds" if several else "no interval: one seed on each side"
        }
    (low, high), tost = interval(ours, theirs, 0.95), interval(ours, theirs, 0.90)
    row |= {"ci_low": low, "ci_high": high, "tost_low": tost[0], "tost_high": tost[1], "within_margin": verdict(*tost)}
    alone = [name for name, dice in (("our", ours), ("the released", theirs)) if len(dice) == 1]
    return row | {"note": f"one seed in {alone[0]} run: the other's spread is used for both" if alone else ""}
