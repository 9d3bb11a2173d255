"""Does a shorter pretraining do better than the longest? Tests and cross-fitted gains per curve of Dice on length."""

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from workflow.lib.curves.summary import share_scratch, summarise
from workflow.lib.evidence.intervals import half_width
from workflow.lib.job.run import derive_seed
from workflow.lib.tables.headed import write_table
from workflow.lib.tables.read import CURVE, read_downstream

HEAD = """The best pretraining length against the last, per data set, network, fine-tuning mode and scheme. Unit: Dice, 0..1.
best_*: the length > 0 with the highest mean Dice over the fine-tuning seeds (of ties the shortest); final_*: the last.
scratch_dice: random initialisation (length 0). gain_over_final: best minus final mean Dice; too high by construction,
as the best was chosen on the seeds that measure it.
p_dunnett: one-sided Dunnett test of all shorter lengths against the last (seed spread pooled over the lengths); p_holm:
Holm over the rows. Simulated without any effect (5 seeds, 9 lengths, 36 rows) the chance of any p_holm < 0.05 is 5 %
where the seeds vary equally at all lengths, but 32 % with the released spreads taken as true (18 % with these shrunk by
their own uncertainty). p_unequal (Welch t tests of each shorter length, the smallest p times their number) with
p_unequal_holm makes no use of equal spreads: 2 to 4 % in all these cases.
gain_upper: 95 % simultaneous upper bound of the largest true gain of any shorter length (one-sided Dunnett limits); it
holds in 98 % of simulated cells or more with the released spreads, in 86 % where the one good length varies most.
honest_gain: the length is chosen on the mean of all other seeds, its Dice minus that of the last length is taken on the
seed left out, and the differences are averaged: the gain to expect of choosing by the seeds at hand.
honest_ci_*: the wider of two 95 % t intervals over the n seeds left out: of the left-out differences, and with standard
error sqrt((v + w) / n), v the mean seed variance of the lengths chosen, w that of the last length (Satterthwaite). It
has a width even where the last length is chosen on every seed and honest_gain is 0 by construction (see note).
Simulated coverage with 5 seeds and 9 lengths: 97 % for curves as released (worst cell 94 %), 93 % or more for any curve
tried (least where one length is just better than the rest); with 10 seeds and lengths all alike 92 %. Not used, as they
cover less: the spread pooled over all lengths (88 to 94 %, worst cell 67 %), the left-out differences alone (72 to
92 %), their bootstrap (55 to 72 %).
No interval covers other pretraining runs, other patients or test sets, and lengths below the last are snapshots of one
schedule, not annealed: nothing here describes a completed shorter pretraining."""

TESTS = ["p_dunnett", "p_holm", "gain_upper", "p_unequal", "p_unequal_holm"]
HONEST = ["honest_gain", "honest_ci_low", "honest_ci_high", "honest_seeds", "honest_epochs"]
COLUMNS = [
    *("dataset", "model", "freeze", "scheme", "best_epochs", "best_dice", "final_epochs", "final_dice", "scratch_dice"),
    *("gain_over_final", "p_dunnett", "p_holm", "honest_gain", "honest_ci_low", "honest_ci_high", "epochs_saved"),
    *("encoder", "pretrain_seed", "gain_over_scratch", "gain_upper", "p_unequal", "p_unequal_holm"),
    *("honest_seeds", "honest_epochs", "note"),
]
NAN = float("nan")


class Against(NamedTuple):
    """All shorter lengths against the last: see `against_last`."""

    p_dunnett: float = NAN
    gain_upper: float = NAN
    p_unequal: float = NAN
    note: str = ""


def against_last(samples: dict[int, np.ndarray], seed: int) -> Against:
    """One-sided tests of every shorter length against the last, from Dice per seed for each length.

    p_dunnett: the smallest Dunnett p (shorter > last); gain_upper: the largest of the 95 % simultaneous upper limits of
    mean(shorter) - mean(last); p_unequal: the smallest Welch t-test p times the number of lengths tested, at most 1.
    Empty (nan) with the reason in `note`. `seed` feeds SciPy's numerical integration.
    """
    from scipy.stats import dunnett

    last = max(samples)
    shorter = [values for length, values in samples.items() if length != last]
    if not shorter:
        return Against(note="one length only")
    if sum(len(values) - 1 for values in samples.values()) < 1:
        return Against(note="one seed only")
    if all(np.ptp(values) == 0 for values in samples.values()):
        return Against(note="no spread between seeds")
    test = dunnett(*shorter, control=samples[last], alternative="greater", rng=np.random.default_rng(seed))
    upper = _upper_bound(shorter, samples[last], seed)
    note = "" if np.isfinite(upper) else "no upper bound: the integration did not converge"
    p = float(np.clip(np.min(test.pvalue), 0, 1))
    return Against(p, upper, _unequal(shorter, samples[last]), note)


def _upper_bound(shorter: list[np.ndarray], last: np.ndarray, seed: int) -> float:
    """Dunnett's limits by SciPy, which searches them among random integrals and warns where it ends off the level."""
    from scipy.stats import dunnett

    for attempt in range(5):
        rng = np.random.default_rng([seed, attempt])
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            try:
                limits = dunnett(*shorter, control=last, alternative="less", rng=rng).confidence_interval(0.95)
                return float(np.max(limits.high))
            except UserWarning:
                continue
    return NAN


def _unequal(shorter: list[np.ndarray], last: np.ndarray) -> float:
    """Smallest one-sided Welch p times the number of lengths; nan where no length and the last have two seeds."""
    from scipy.stats import ttest_ind

    if len(last) < 2:
        return NAN
    tested = [values for values in shorter if len(values) > 1 and np.ptp(values) + np.ptp(last) > 0]
    p = [ttest_ind(values, last, equal_var=False, alternative="greater").pvalue for values in tested]
    return float(min(1.0, min(p) * len(p))) if p else NAN


def holm(p: pd.Series) -> pd.Series:
    """Holm's adjusted p-values over those that are there; missing ones stay missing."""
    from statsmodels.stats.multitest import multipletests

    adjusted, known = pd.Series(NAN, index=p.index), p.notna()
    if known.any():
        adjusted[known] = multipletests(p[known], method="holm")[1]
    return adjusted


def dunnett_tests(results: pd.DataFrame) -> pd.DataFrame:
    """`against_last` for every curve (`CURVE`) with any length > 0: `TESTS`, Holm being over the curves, and note."""
    rows = []
    for curve, part in results[results["epochs"] > 0].groupby(CURVE):
        samples = {length: values.to_numpy() for length, values in part.groupby("epochs")["dice"]}
        test = against_last(samples, derive_seed("dunnett", *map(str, curve)))
        rows.append(dict(zip(CURVE, curve, strict=True)) | test._asdict())
    table = pd.DataFrame(rows, columns=[*CURVE, *Against._fields])
    table["p_holm"], table["p_unequal_holm"] = holm(table["p_dunnett"]), holm(table["p_unequal"])
    return table[[*CURVE, *TESTS, "note"]]


def leave_one_seed_out(dice: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Dice (..., seeds, lengths), nan where missing -> (differences, chosen), both (..., seeds).

    For each seed: chosen, the index of the length with the highest mean over the other seeds (of ties the first), and
    the Dice of that length minus the Dice of the last, both on the seed left out (nan where it lacks one of them).
    """
    known = np.isfinite(dice)
    values = np.where(known, dice, 0)
    count = known.sum(axis=-2, keepdims=True) - known
    total = values.sum(axis=-2, keepdims=True) - values
    others = np.divide(total, count, out=np.full(dice.shape, -np.inf), where=count > 0).round(12)
    chosen = others.argmax(axis=-1)
    left_out = np.take_along_axis(dice, chosen[..., None], axis=-1)[..., 0]
    return left_out - dice[..., -1], chosen


def honest_interval(dice: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Dice (..., seeds, lengths) -> (honest gain, half the width of its 95 % t interval), each (...).

    The left-out differences share seeds and choices, so their own spread can say too little (it is 0 where the last
    length is always chosen); the spread of the seeds at the lengths chosen says too little where the choice wavers.
    Hence the wider of two intervals, each t * sqrt(variance / n) over the n seeds left out: with v + w, v the mean seed
    variance of the lengths chosen, w that of the last, degrees of freedom (v + w)^2 / (v^2 / a + w^2 / b), a and b
    being those of v and w (Satterthwaite); and with the variance of the n differences, n - 1 degrees of freedom.
    """
    difference, chosen = leave_one_seed_out(dice)
    used = np.isfinite(difference)
    n = used.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # lengths and cells without two seeds: nan, as intended
        variance, free = np.nanvar(dice, axis=-2, ddof=1), np.isfinite(dice).sum(axis=-2) - 1
        v = np.take_along_axis(variance, chosen, axis=-1).mean(axis=-1, where=used)
        a = np.take_along_axis(free, chosen, axis=-1).mean(axis=-1, where=used)
        w, b = variance[..., -1], free[..., -1]
        seeds = half_width((v + w) ** 2 / (v**2 / a + w**2 / b), np.sqrt((v + w) / n))
        differences = half_width(n - 1, np.sqrt(np.nanvar(difference, axis=-1, ddof=1) / n))
        return np.nanmean(difference, axis=-1), np.fmax(seeds, differences)


def honest_gains(results: pd.DataFrame) -> pd.DataFrame:
    """Leave-one-seed-out gain of the best length over the last for every curve (`CURVE`, `HONEST`, note).

    honest_ci_*: `honest_interval`. honest_seeds counts the seeds left out (one that lacks its chosen or the last length
    has no difference); honest_epochs lists the lengths chosen, each once.
    """
    rows = []
    for curve, part in results[results["epochs"] > 0].groupby(CURVE):
        wide = part.pivot(index="seed", columns="epochs", values="dice")
        row = dict(zip(CURVE, curve, strict=True)) | {"honest_seeds": 0, "honest_epochs": "", "note": ""}
        if len(wide.columns) < 2 or len(wide) < 2:
            row["note"] = "one length only" if len(wide.columns) < 2 else "one seed only"
        else:
            row |= _honest_row(wide)
        rows.append(row)
    return pd.DataFrame(rows, columns=[*CURVE, *HONEST, "note"])


def _honest_row(wide: pd.DataFrame) -> dict[str, object]:
    """`HONEST` and note of one curve, from Dice with one row per seed and one column per length."""
    dice, lengths = wide.to_numpy(), wide.columns.to_numpy()
    difference, chosen = leave_one_seed_out(dice)
    used = np.isfinite(difference)
    picked = sorted(set(lengths[chosen[used]]))
    gain, half = (float(number) for number in honest_interval(dice))
    if not used.any():
        return {"note": "no seed has both its chosen and the last length"}
    notes = [] if used.all() else [f"{(~used).sum()} of {len(used)} seeds lack their chosen or the last length"]
    if picked == [lengths[-1]]:
        notes.append("last length chosen on every seed: honest gain 0 by construction, interval from the seed noise")
    if not half > 0:
        half = NAN
        notes.append("no honest interval: no spread between seeds")
    row = dict(zip(HONEST[:3], (gain, gain - half, gain + half), strict=True))
    return row | {
        "honest_seeds": int(used.sum()),
        "honest_epochs": " ".join(map(str, picked)),
        "note": "; ".join(notes),
    }


def length_effect(results: pd.DataFrame) -> pd.DataFrame:
    """One row (`COLUMNS`) per curve with any length > 0: the best length (highest mean Dice, of ties the shortest)
    against the last and against random initialisation, with `dunnett_tests` and `honest_gains`."""
    table = share_scratch(summarise(results))
    trained = table[table["epochs"] > 0].sort_values([*CURVE, "epochs"])
    best = trained.loc[trained.groupby(CURVE)["dice_mean"].idxmax(), [*CURVE, "epochs", "dice_mean"]]
    final = trained.groupby(CURVE, as_index=False)[["epochs", "dice_mean"]].last()
    scratch = table[table["epochs"] == 0].rename(columns={"dice_mean": "scratch_dice"})
    effect = best.rename(columns={"epochs": "best_epochs", "dice_mean": "best_dice"})
    effect = effect.merge(final.rename(columns={"epochs": "final_epochs", "dice_mean": "final_dice"}), on=CURVE)
    effect = effect.merge(scratch[[*CURVE, "scratch_dice"]], on=CURVE, how="left")
    effect["gain_over_final"] = effect["best_dice"] - effect["final_dice"]
    effect["gain_over_scratch"] = effect["best_dice"] - effect["scratch_dice"]
    effect["epochs_saved"] = effect["final_epochs"] - effect["best_epochs"]
    effect = effect.merge(dunnett_tests(results), on=CURVE).merge(honest_gains(results), on=CURVE)
    notes = zip(effect["note_x"], effect["note_y"], strict=True)
    effect["note"] = ["; ".join(dict.fromkeys(part for part in pair if part)) for pair in notes]
    return effect[COLUMNS]


def write_length_effect(downstream: str | Path, output: str | Path) -> None:
    """Write `length_effect` of a run's results."""
    write_table(length_effect(read_downstream(downstream)), output, HEAD)
