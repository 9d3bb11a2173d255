"""Does a shorter pretraining do better than the longest? One test per curve of Dice against length."""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from workflow.lib.run import derive_seed
from workflow.lib.stats.summary import share_scratch, summarise, write_table
from workflow.lib.stats.tidy import CURVE, read_downstream


def dunnett(samples: dict[int, np.ndarray], seed: int) -> tuple[float, str]:
    """Smallest one-sided Dunnett p (any shorter length > the last), from Dice per seed for each length.

    Returns (p, "") or (nan, the reason why there is none). `seed` feeds SciPy's numerical integration.
    """
    last = max(samples)
    shorter = [values for length, values in samples.items() if length != last]
    if not shorter:
        return float("nan"), "one length only"
    if sum(len(values) - 1 for values in samples.values()) < 1:
        return float("nan"), "one seed only"
    if all(np.ptp(values) == 0 for values in samples.values()):
        return float("nan"), "no spread between seeds"
    result = stats.dunnett(*shorter, control=samples[last], alternative="greater", rng=np.random.default_rng(seed))
    return float(np.clip(np.min(result.pvalue), 0, 1)), ""


def length_effect(results: pd.DataFrame) -> pd.DataFrame:
    """One row per curve with any length > 0: the best length (highest mean Dice, of ties the shortest) against the last
    and against random initialisation, p_dunnett (see `dunnett`) and p_holm over the rows that have one."""
    from statsmodels.stats.multitest import multipletests

    table = share_scratch(summarise(results))
    samples_of = dict(list(results[results["epochs"] > 0].groupby(CURVE)))
    rows = []
    for curve, part in table.groupby(CURVE):
        means = part.set_index("epochs")["dice_mean"]
        scratch = means.get(0, float("nan"))
        means = means[means.index > 0]
        best, final = means.idxmax(), means.index.max()
        samples = {length: values.to_numpy() for length, values in samples_of[curve].groupby("epochs")["dice"]}
        p, note = dunnett(samples, derive_seed("dunnett", *map(str, curve)))
        row = dict(zip(CURVE, curve, strict=True)) | {"best_epochs": best, "best_dice": means[best]}
        row |= {"final_epochs": final, "final_dice": means[final], "scratch_dice": scratch}
        row |= {"gain_over_final": means[best] - means[final], "p_dunnett": p, "p_holm": float("nan")}
        row |= {"gain_over_scratch": means[best] - scratch, "epochs_saved": final - best, "note": note}
        rows.append(row)
    columns = [*CURVE, "best_epochs", "best_dice", "final_epochs", "final_dice", "scratch_dice", "gain_over_final"]
    columns += ["p_dunnett", "p_holm", "gain_over_scratch", "epochs_saved", "note"]
    effect = pd.DataFrame(rows, columns=columns)
    tested = effect["p_dunnett"].notna()
    if tested.any():
        effect.loc[tested, "p_holm"] = multipletests(effect.loc[tested, "p_dunnett"], method="holm")[1]
    return effect


def write_length_effect(downstream: str | Path, output: str | Path) -> None:
    """Write `length_effect` of a run's results."""
    write_table(length_effect(read_downstream(downstream)), output)
