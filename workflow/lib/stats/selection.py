"""What is lost, in Dice, by stopping pretraining where a rule says instead of at the best or the last length?"""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from workflow.lib.stats.correlation import score_table, setting_name
from workflow.lib.stats.summary import summarise, write_table
from workflow.lib.stats.tidy import CURVE, RUN, read_downstream, read_robustness

COLUMNS = ["selector", "setting", *CURVE, "chosen_epochs", "dice", "regret", "diff_to_last", "epochs_saved"]
OTHERS = "robustness (setting chosen on the other data sets)"
SUMMARY = ["selector", "setting", "k", "diff_to_last", "diff_low", "diff_high", "regret", "epochs_saved", "note"]


def selection(results: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """One row per selector, setting and curve (`COLUMNS`), over the lengths > 0 of the curve.

    Selectors: last; each fixed length (`fixed 50`); random (expected value over the lengths); imagenet_accuracy (the
    highest); robustness (the lowest score, per setting); and robustness with the setting that lost least on the other
    data sets (`OTHERS`). Ties are averaged: chosen_epochs and dice are then means. regret = best mean Dice of the curve
    minus dice (>= 0); diff_to_last = dice minus that of the longest length (> 0: better than the last).
    """
    table, wide = summarise(results[results["epochs"] > 0]), score_table(scores)
    parts = []
    for curve, part in table.groupby(CURVE):
        labels = dict(zip(CURVE, curve, strict=True))
        key = [(labels["dataset"], *(labels[column] for column in RUN), length) for length in part["epochs"]]
        names, marks = _marks(part, wide.reindex(pd.MultiIndex.from_tuples(key, names=wide.index.names)))
        weights = marks / marks.sum(axis=1, keepdims=True)
        dice, epochs = weights @ part["dice_mean"].to_numpy(), weights @ part["epochs"].to_numpy(float)
        last = part["dice_mean"].iloc[-1]
        choice = pd.DataFrame(names, columns=["selector", "setting"]).assign(
            **labels,
            chosen_epochs=epochs,
            dice=dice,
            regret=part["dice_mean"].max() - dice,
            diff_to_last=dice - last,
            epochs_saved=part["epochs"].max() - epochs,
        )
        parts.append(choice)
    chosen = pd.concat(parts, ignore_index=True)[COLUMNS]
    return pd.concat([chosen, _from_other_data_sets(chosen)], ignore_index=True)


def _marks(part: pd.DataFrame, scores: pd.DataFrame) -> tuple[list[tuple[str, str]], np.ndarray]:
    """Names (selector, setting) and a 0/1 row per selector over the lengths of one curve: 1 where it would stop."""
    epochs, accuracy, n = part["epochs"].to_numpy(), part["accuracy"].to_numpy(), len(part)
    names, rows = [("last", ""), ("random", "")], [epochs == epochs.max(), np.ones(n)]
    if np.isfinite(accuracy).any():
        names.append(("imagenet_accuracy", ""))
        rows.append(accuracy == np.nanmax(accuracy))
    names += [(f"fixed {length}", "") for length in epochs]
    known = scores.loc[:, scores.notna().any().to_numpy()]
    names += [("robustness", setting_name(*setting)) for setting in known.columns]
    lowest = (known == known.min()).to_numpy().T
    return names, np.vstack([*rows, np.eye(n), lowest]).astype(float)


def _from_other_data_sets(chosen: pd.DataFrame) -> pd.DataFrame:
    """For each curve the robustness row whose setting has the lowest mean regret on the other data sets, within the
    encoder (levels of different encoders are not alike); the first in alphabetical order if several have."""
    scored = chosen[chosen["selector"] == "robustness"]
    parts = []
    for dataset, encoder in scored[["dataset", "encoder"]].drop_duplicates().itertuples(index=False):
        same = scored[scored["encoder"] == encoder]
        here, others = same[same["dataset"] == dataset], same[same["dataset"] != dataset]
        regret = others[others["setting"].isin(here["setting"])].groupby("setting")["regret"].mean().round(12)
        if len(regret):
            parts.append(here[here["setting"] == regret.idxmin()])
    return pd.concat([chosen.iloc[:0], *parts]).assign(selector=OTHERS)


def t_interval(values: np.ndarray) -> tuple[float, float]:
    """95 % t interval of the mean of k values; (nan, nan) for k < 2."""
    if len(values) < 2:
        return float("nan"), float("nan")
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    return float(np.mean(values) - half), float(np.mean(values) + half)


def summary(chosen: pd.DataFrame) -> pd.DataFrame:
    """Mean per selector and setting (`SUMMARY`): first over targets, networks and freezings within each pretraining run
    (encoder x scheme x pretraining seed), then over the k runs; diff_low, diff_high is the 95 % t interval over runs.

    The row of `OTHERS` has no single setting; it is absent when there is only one data set.
    """
    chosen = chosen.assign(setting=chosen["setting"].where(chosen["selector"] != OTHERS, ""))
    numbers = ["diff_to_last", "regret", "epochs_saved"]
    runs = chosen.groupby(["selector", "setting", *RUN], sort=False)[numbers].mean()
    rows = []
    for (selector, setting), part in runs.groupby(["selector", "setting"], sort=False):
        low, high = t_interval(part["diff_to_last"].to_numpy())
        note = "" if len(part) > 1 else "no interval: one pretraining run"
        row = {"selector": selector, "setting": setting, "k": len(part), "note": note}
        rows.append(row | {"diff_low": low, "diff_high": high} | part.mean().to_dict())
    return pd.DataFrame(rows)[SUMMARY]


def write_selection(downstream: str | Path, robustness: str | Path, output: str | Path, means: str | Path) -> None:
    """Write `selection` of a run to `output` and its `summary` to `means`."""
    chosen = selection(read_downstream(downstream), read_robustness(robustness))
    write_table(chosen, output)
    write_table(summary(chosen), means)
