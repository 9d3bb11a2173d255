"""Means of the selectors with their intervals, and how far other defensible analyst choices would move them."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from workflow.lib.evidence.intervals import half_width, t_interval
from workflow.lib.evidence.patients import patients_interval
from workflow.lib.selection.choice import Choices, choose
from workflow.lib.selection.names import ANALYST, OTHERS, RANGE
from workflow.lib.selection.selection import HEAD as HEAD_CHOICES
from workflow.lib.selection.selection import by_other_data_sets, selection
from workflow.lib.tables.headed import write_table
from workflow.lib.tables.patients import Patients
from workflow.lib.tables.read import CELL, RUN, read_downstream
from workflow.lib.tables.scores import from_deepest, read_scores

SUMMARY = ["selector", "setting", "pool", "k", "diff_to_last", "diff_low", "diff_high", "seeds_low", "seeds_high"]
SUMMARY += ["worst", "regret", "epochs_saved", "chosen_epochs", "note"]
SCOPES = {
    "within the encoder": ["encoder"],  # the declared choice
    "across all encoders": [],
    "within encoder and fine-tuning mode": ["encoder", "freeze"],
    "within encoder and scheme": ["encoder", "scheme"],
}
HEAD = f"""\
Means of selection.csv (selectors and columns: see there), first over the data sets, networks and fine-tuning modes of each
pretraining run (encoder x scheme x pretraining seed), then over the k runs; Dice on the scale 0..1.
diff_to_last is primary: Dice of the choice minus Dice of the longest length (pool all: of the runs' longest lengths).
diff_low, diff_high: 95 % t interval over the k runs. The runs share data sets, and schemes of one encoder are not
independent: their effective number is smaller than k.
seeds_low, seeds_high: 95 % t interval from the spread between fine-tuning seeds alone (SD pooled over the lengths of a
cell, Satterthwaite's degrees of freedom), the choices held fixed: it covers these checkpoints only. Simulated at
the study's sizes, each checkpoint having its own SD, it covers 93 to 95 % (pool all, single checkpoints: 89 to 95 %).
pool all: mean over data sets x fine-tuning modes, no t interval (one set of checkpoints, a few data sets: no sample; each cell
is in selection.csv). worst: lowest diff_to_last of a single cell.
regret: against the best candidate, which is picked on the same seeds: biased upward. The oracle is cross-fitted: its
diff_to_last is not optimistic. Choosing the score's setting on other data sets leaves choices to the analyst: rows
'{ANALYST}' have other rules for tied lowest scores, for counting the levels (it
matters only where encoders share a setting, then one that all of them have), and for where regret is averaged; rows
'{RANGE}' are the lowest and highest of these and the declared one (ties
averaged, within the encoder; of settings equally good the first in alphabetical order).
Not covered by any interval: other pretraining runs of a recipe, patients, test sets; lengths below the last are
un-annealed snapshots of one schedule, not completed shorter pretrainings."""


def summary(chosen: Choices, also: Sequence[str] = (), patients: Patients | None = None) -> pd.DataFrame:
    """Mean per selector, setting and pool (`SUMMARY`, and further columns of the frame), see `HEAD`. The rows of `OTHERS`
    have no single setting. With `patients` also patients_low, patients_high (`patients_interval`)."""
    frame = chosen.frame.assign(setting=chosen.frame["setting"].where(chosen.frame["selector"] != OTHERS, ""))
    within, by = frame["pool"] == "within_run", ["selector", "setting", "pool"]
    cells = frame.groupby(["dataset", "freeze"]).ngroup()
    frame["unit"] = frame.groupby(RUN, dropna=False).ngroup().where(within, cells)
    total = frame.loc[within, "unit"].nunique()
    frame["group"] = frame.groupby(by, sort=False).ngroup()
    known = frame[frame["diff_to_last"].notna()]
    size = known.groupby(["group", "unit"])["unit"].transform("size")
    weight = 1 / size / known.groupby("group")["unit"].transform("nunique")
    shape = (frame["group"].max() + 1, len(frame))
    gain = (sparse.csr_array((weight, (known["group"], known.index)), shape=shape) @ chosen.gain).toarray()
    seeds = seeds_interval(gain, chosen.means)
    numbers = ["diff_to_last", "regret", "epochs_saved", "chosen_epochs", *also]
    table = frame.drop_duplicates("group").set_index("group")[by].copy()
    units = known.groupby(["group", "unit"])[numbers].mean()
    table[numbers] = units.groupby(level=0).mean()
    table["worst"] = known.groupby("group")["diff_to_last"].min()
    values = {group: part.to_numpy() for group, part in units["diff_to_last"].groupby(level=0)}
    table["k"] = pd.Series({group: len(part) for group, part in values.items()}, dtype=float)
    pooled = table["pool"] == "all"
    intervals = [(np.nan, np.nan) if pooled[i] else t_interval(values.get(i, np.empty(0))) for i in table.index]
    table[["diff_low", "diff_high"]] = np.array(intervals)
    table["seeds_low"], table["seeds_high"] = (table["diff_to_last"] + sign * seeds["half"] for sign in (-1, 1))
    if patients is not None:
        middle, half = patients_interval(gain, patients)
        half = np.where(table["diff_to_last"].isna(), np.nan, half)
        table["patients_low"], table["patients_high"] = middle - half, middle + half
        also = ["patients_low", "patients_high", *also]
    parts = zip(table["pool"], table["k"].fillna(0).astype(int), seeds["reason"], strict=True)
    table["note"] = [_note(pool, k, total, reason) for pool, k, reason in parts]
    table["k"] = table["k"].mask(pooled).astype("Int64")
    return table[[*SUMMARY, *also]].reset_index(drop=True)


def _note(pool: str, k: int, total: int, seeds: str) -> str:
    """Why an interval of the summary is missing, or its mean partial; `seeds` is the reason of the one over seeds."""
    if k == 0:
        return "not known in any cell: see selection.csv"
    notes = ["no t interval: one set of checkpoints"] if pool == "all" else []
    if pool != "all":
        notes += [f"{k} of {total} pretraining runs"] if k < total else []
        notes += ["no t interval: one pretraining run"] if k < 2 else []
    return "; ".join([*notes, seeds] if seeds else notes)


def seeds_interval(gain: np.ndarray, means: pd.DataFrame) -> pd.DataFrame:
    """Half width of the 95 % t interval of each weighted sum of results, gain (rows, checkpoints x seeds), and the
    reason if there is none.

    V = sum w^2 s^2 with the pooled SD s of each result's cell (random initialisation: its own); degrees of freedom by
    Satterthwaite, V^2 / sum over cells of (V_cell^2 / df_cell).
    """
    squares = (gain.reshape(len(gain), len(means), -1) ** 2).sum(axis=2)
    code = means.assign(trained=means["epochs"] > 0).groupby([*CELL, "trained"]).ngroup().to_numpy()
    unknown = means["pooled_sd"].isna().to_numpy()
    member = np.eye(code.max() + 1)[code] * means["pooled_sd"].fillna(0).to_numpy()[:, None] ** 2
    variance = squares @ member
    df = np.maximum(means.groupby(code)["df"].first().to_numpy(), 1)
    whole, spread = variance.sum(axis=1), (variance**2 / df).sum(axis=1)
    freedom = np.divide(whole**2, spread, out=np.ones(len(gain)), where=spread > 0)
    half = np.where((squares[:, unknown] > 0).any(axis=1), np.nan, half_width(freedom, np.sqrt(whole)))
    moved = squares.sum(axis=1) > 0
    reason = np.where(np.isnan(half), "no interval over seeds: a cell has one seed", "")
    reason = np.where(moved & (half == 0), "no spread between seeds", reason)
    return pd.DataFrame({"half": half, "reason": reason})


def sensitivity(results: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """`OTHERS` in pool within_run under other defensible choices: columns ties, levels, scope, then those of `SUMMARY`.

    ties of the lowest score: average | shortest | longest; levels counted from the shallowest | the deepest, which
    matters only where encoders share a setting; scope: where the mean regret of a setting is taken (`SCOPES`), always on
    the other data sets. The first row is the declared choice; there are none with a single data set.
    """
    rows = []
    for levels, ties in product(("shallowest", "deepest"), ("average", "shortest", "longest")):
        counted = from_deepest(scores) if levels == "deepest" else scores
        chosen = choose(results, counted, ["within_run"], ties)
        for scope, within in SCOPES.items():
            if within and levels == "deepest":
                continue  # within an encoder another count is only another name of the same settings
            picked = by_other_data_sets(chosen, within)
            labels = {"ties": ties, "levels": "either end" if within else f"the {levels}", "scope": scope}
            if len(picked.frame):
                rows.append(summary(picked).iloc[0].to_dict() | labels)
    return pd.DataFrame(rows, columns=["ties", "levels", "scope", *SUMMARY])


def full_summary(chosen: Choices, results: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """`summary`, then a row for every choice of `sensitivity` (`ANALYST`), and its lowest and highest (`RANGE`)."""
    table = sensitivity(results, scores)
    words = "ties: " + table["ties"] + "; levels from " + table["levels"] + "; setting chosen " + table["scope"]
    choices = table.assign(selector=ANALYST, setting=words)[SUMMARY]
    ends = choices.iloc[[choices["diff_to_last"].argmin(), choices["diff_to_last"].argmax()] if len(choices) else []]
    bounds = [f"{end} ({setting})" for end, setting in zip(("lowest", "highest"), ends["setting"], strict=False)]
    ends = ends.assign(selector=RANGE, setting=bounds)
    return pd.concat([summary(chosen), choices, ends], ignore_index=True).astype({"k": "Int64"})


def write_selection(downstream: str | Path, robustness: str | Path, output: str | Path, means: str | Path) -> None:
    """Write `selection` of a run to `output`; its `summary` and the range of analyst choices to `means`."""
    results, scores = read_downstream(downstream), read_scores(robustness)
    chosen = selection(results, scores)
    table = full_summary(chosen, results, scores)
    write_table(chosen.frame, output, HEAD_CHOICES)
    write_table(table, means, HEAD)
