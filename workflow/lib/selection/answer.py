"""The study's question in plain words: which checkpoint to start from, how sure that is, and what stopping early costs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workflow.lib.curves.summary import summarise
from workflow.lib.evidence.intervals import half_width
from workflow.lib.evidence.spread import moderated
from workflow.lib.job.run import atomic_path, write_json
from workflow.lib.selection.names import OTHERS, RANGE
from workflow.lib.tables.headed import read_table
from workflow.lib.tables.read import read_downstream

CURVE = ["model", "scheme", "pretrain_seed", "freeze"]
HARDLY = 0.2  # Dice below which a network has hardly learnt
SCOPE = (
    "Intervals of Dice and of gains: 95 %, for all starts of a target at once, or, in its list of modes, for those of the mode "
    "(so they hold for the one picked as best), "
    "from the spread between fine-tuning seeds only. They do not cover other pretraining runs of the same scheme, "
    "other patients or other test sets."
)


def with_spread(table: pd.DataFrame) -> pd.DataFrame:
    """Add to the starts of one target (rows of `summarise`) the variance of each mean and ratio, variance^2 / df.

    The spread of a start is its own, moderated by the others (`moderated`): pooled over the lengths of a cell, as in
    downstream.csv, intervals for all starts at once cover 44 to 59 % with the released spreads taken as true, these 95 to 96 %.
    """
    variance, df = moderated((table["dice_sd"] ** 2).to_numpy(), (table["n_seeds"] - 1).to_numpy())
    variance = variance / table["n_seeds"]
    return table.assign(variance=variance, ratio=variance**2 / np.where(df > 0, df, np.nan))


def estimate(start: pd.Series, minus: pd.Series | None, count: int) -> dict[str, float | None]:
    """Mean Dice of a start, or its difference from another, with the 95 % interval for `count` of them at once
    (Bonferroni; t with Satterthwaite's degrees of freedom), None where no start has two seeds."""
    dice = float(start["dice_mean"] - (0 if minus is None else minus["dice_mean"]))
    half = _margin(start, minus, 0.025 / count)
    if np.isnan(half):
        return {"dice": dice, "low": None, "high": None}
    least = 0.0 if minus is None else -1.0  # nothing lies outside of what Dice, or a difference, can be
    return {"dice": dice, "low": max(least, dice - half), "high": min(1.0, dice + half)}


def _margin(start: pd.Series, minus: pd.Series | None, tail: float) -> float:
    """t quantile (upper `tail`) times the standard error of a start's mean or of a difference; nan without spread."""
    variance = start["variance"] + (0 if minus is None else minus["variance"])
    ratio = start["ratio"] + (0 if minus is None else minus["ratio"])
    if not variance > 0:
        return float("nan")
    return float(half_width(variance**2 / ratio, np.sqrt(variance), tail=tail))


def best_start(starts: pd.DataFrame) -> dict[str, Any]:
    """The best of the starts of one target, a checkpoint and a fine-tuning mode each (rows of `with_spread`): its Dice, the
    others within its confidence set (one-sided t bounds, Bonferroni over the others), and its gain over random initialisation
    and over the longest length, fine-tuned in the same mode."""
    several = starts.loc[starts["epochs"] > 0, "pretrain_seed"].nunique() > 1
    best, count = starts.loc[starts["dice_mean"].idxmax()], len(starts)
    near = [
        row
        for _, row in starts.drop(index=best.name).iterrows()
        if not best["dice_mean"] - row["dice_mean"] > _margin(best, row, 0.05 / (count - 1))
    ]
    shortest = min(near, key=lambda row: row["epochs"], default=None)
    scratch = starts[(starts[["model", "freeze"]] == best[["model", "freeze"]]).all(axis=1) & (starts["epochs"] == 0)]
    curve = starts[(starts[CURVE] == best[CURVE]).all(axis=1)]
    longest = curve.loc[curve["epochs"].idxmax()]
    found: dict[str, Any] = {"start": _name(best, several), "dice": estimate(best, None, count)}
    found |= {"n_seeds": int(best["n_seeds"]), "starts": count, "longest_epochs": int(longest["epochs"])}
    found |= {"confidence_set": [_name(row, several) for row in near]}
    found |= {"shortest_of_these": None if shortest is None else _name(shortest, several)}
    for name, row in {"random": None if scratch.empty else scratch.iloc[0], "longest": longest}.items():
        same = row is None or best["epochs"] in (0, row["epochs"])
        found[f"gain_over_{name}"] = None if same else estimate(best, row, count)
    return found


def _name(start: pd.Series, several: bool) -> dict[str, Any]:
    """A start as JSON; its label names the pretraining seed where the run has several."""
    scheme, seed, epochs = start["scheme"], int(start["pretrain_seed"]), int(start["epochs"])
    label = f"{start['model']}, {scheme} pretraining, {epochs} epoch{'s' * (epochs != 1)}"
    label += f" (pretraining seed {seed})" if several else ""
    if epochs == 0:
        scheme, label = "random", f"{start['model']} with random initialisation"
    key = {"encoder": start["encoder"], "network": start["model"], "scheme": scheme, "pretrain_seed": seed}
    return key | {
        "epochs": epochs,
        "mode": _mode(start["freeze"]),
        "label": f"{label}, {_mode(start['freeze'])} encoder",
    }


def _mode(freeze: bool) -> str:
    return "frozen" if freeze else "trainable"


def best_starts(results: pd.DataFrame, means: pd.DataFrame, warnings: Sequence[str] = ()) -> dict[str, Any]:
    """Per target the best start of all, and of each fine-tuning mode; and the mean effect of stopping by the score.

    `means` is the summary of the selectors (selection_summary.csv); warnings: of the run; targets on which networks have hardly
    learnt join them.
    """
    targets = {}
    for target, table in summarise(results).groupby("dataset"):
        starts = with_spread(table)
        modes = {_mode(freeze): best_start(part) for freeze, part in starts.groupby("freeze")}
        targets[str(target)] = best_start(starts) | {"modes": modes}
    row = means[(means["selector"] == OTHERS) & (means["pool"] == "within_run")]
    row = row.astype({"k": int}).astype(object).replace(np.nan, None)
    stopping = None if row.empty else row.iloc[0].to_dict()
    ends = means.loc[means["selector"] == RANGE, "diff_to_last"]
    if stopping and len(ends):
        stopping["range"] = [float(ends.min()), float(ends.max())]
    said = list(warnings)
    if hardly := [name for name, found in targets.items() if found["dice"]["dice"] < HARDLY]:
        said.append(
            f"{', '.join(hardly)}: the best Dice is below {HARDLY}. These networks have hardly learnt to segment, and "
            "differences between their starts say little. More finetune.epochs, finetune.steps_per_epoch or image_size may help."
        )
    return {"targets": targets, "stopping": stopping, "scope": SCOPE, "warnings": said}


def answer_text(content: dict[str, Any]) -> str:
    """The answer: a line per target, then the details; warnings are the last paragraph."""
    head = "\n".join(_headline(target, found) for target, found in content["targets"].items())
    lines = [_details(target, found) for target, found in content["targets"].items()]
    said = [" ".join(content["warnings"])] if content["warnings"] else []
    return "\n\n".join([head, *lines, about_stopping(content["stopping"]), content["scope"], *said]) + "\n"


def about_stopping(stopping: dict[str, Any] | None) -> str:
    """What stopping by the robustness score costs, in words; `stopping`: of `best_starts`."""
    if stopping is None:
        return "Early stopping by the robustness score cannot be judged: it needs scores on two data sets."
    names = {"dice": "diff_to_last", "low": "diff_low", "high": "diff_high"}
    change = with_interval({key: stopping[name] for key, name in names.items()}, "+")
    runs = f"{stopping['k']} pretraining run{'s' * (stopping['k'] > 1)}"
    text = "The checkpoint with the lowest robustness score (setting chosen on the other data sets) "
    if stopping["epochs_saved"] == 0:
        text += f"is always the last one ({runs}): it saves no epochs."
    else:
        text += (
            f"changes Dice by {change} on average against the last checkpoint, and lies {stopping['epochs_saved']:.0f} epochs "
            f"before it (mean over {runs}; "
            f"{'95 % t interval over these runs' if stopping['k'] > 1 else 'no interval from one run'}). It is known only "
            "once all epochs are trained."
        )
    text += " What rules save that stop as they go is in replay_summary.csv."
    if "range" in stopping:
        low, high = stopping["range"]
        text += f" Other defensible choices of the analyst change Dice by {low:+.4f} to {high:+.4f}."
    return text


def _headline(target: str, found: dict[str, Any]) -> str:
    return f"{target}: start from {found['start']['label']}: Dice {with_interval(found['dice'])}; {certainty(found)}."


def certainty(found: dict[str, Any]) -> str:
    """How many starts are not distinguishable from the best one, in words; `found`: of `best_start`."""
    near, others = len(found["confidence_set"]), found["starts"] - 1
    if found["dice"]["low"] is None:
        return "one seed each, so how sure this is cannot be said"
    if not near:
        return f"better than all {others} others"
    some = "none" if near == others else f"{near}"
    return f"{some} of the {others} other starts {'is' if near in (1, others) else 'are'} " + (
        "distinguishable from it" if near == others else "not distinguishable from it"
    )


def _details(target: str, found: dict[str, Any]) -> str:
    """A paragraph: the best start of every fine-tuning mode."""
    return "\n".join([f"{target}:", *(f"  {_best_of_mode(part)}" for part in found["modes"].values())])


def _best_of_mode(found: dict[str, Any]) -> str:
    seeds, start = found["n_seeds"], found["start"]
    text = (
        f"{start['label']}: Dice {with_interval(found['dice'])} ({seeds} seed{'s' * (seeds > 1)}); {certainty(found)}"
    )
    if found["confidence_set"] and found["dice"]["low"] is not None:
        text += f", the shortest of these being {found['shortest_of_these']['label']}"
    text += ". "
    longest = f"the longest pretraining of this kind ({found['longest_epochs']} epochs)"
    gains = {"random initialisation of this network": found["gain_over_random"], longest: found["gain_over_longest"]}
    text += "".join(f"Gain over {name}: {with_interval(gain, '+')}. " for name, gain in gains.items() if gain)
    if 0 < start["epochs"] == found["longest_epochs"]:
        text += "It is the longest pretraining of its kind."
    return text.rstrip()


def with_interval(value: dict[str, Any], sign: str = "") -> str:
    """A number (dice) and its interval (low, high), where it has one; sign "+": of a difference."""
    text = f"{value['dice']:{sign}.4f}"
    return text if value["low"] is None else f"{text} [{value['low']:{sign}.4f}, {value['high']:{sign}.4f}]"


def write_answer(
    downstream: str | Path, means: str | Path, output: str | Path, text: str | Path, warnings: Sequence[str] = ()
) -> None:
    """Write the answer as JSON (`best_starts`) and in words."""
    content = best_starts(read_downstream(downstream), read_table(means), warnings)
    write_json(output, content)
    with atomic_path(text) as temporary:
        temporary.write_text(answer_text(content))
