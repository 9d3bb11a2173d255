"""The study's question in plain words: which checkpoint to start from, how sure that is, and what stopping early costs."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from workflow.lib.run import atomic_path, write_json
from workflow.lib.stats.selection import OTHERS
from workflow.lib.stats.selection_summary import RANGE
from workflow.lib.stats.summary import summarise
from workflow.lib.stats.table import read_table
from workflow.lib.stats.tidy import read_downstream

START = ["model", "encoder", "scheme", "pretrain_seed", "epochs"]
SCOPE = (
    "Intervals of Dice and of gains: 95 %, for all starts of a target at once (so they hold for the one picked as best), "
    "from the spread between fine-tuning seeds only. They say nothing about another pretraining run of the same scheme, "
    "other patients or another test set."
)


@dataclass
class Estimate:
    """A mean or difference of Dice with its interval (None where no checkpoint has two seeds)."""

    dice: float
    low: float | None
    high: float | None


def pool_freezings(table: pd.DataFrame) -> pd.DataFrame:
    """Starts of one target (rows of `summarise`), averaged over the freezings that every start has: columns `START`,
    mean, variance (of the mean), df (Satterthwaite), n_seeds (fewest), freezings.

    When no freezing has every start, the freezing with the most starts is used alone.
    """
    counts = table.groupby("freeze").size()
    common = counts.index[counts == len(table[START].drop_duplicates())]
    used = list(common) if len(common) else [counts.idxmax()]
    part = table[table["freeze"].isin(used)]
    part = part.assign(variance=part["pooled_sd"] ** 2 / part["n_seeds"] / len(used) ** 2)
    part["ratio"] = part["variance"] ** 2 / part["df"]
    rows = part.groupby(START, as_index=False).agg(
        mean=("dice_mean", "mean"),
        variance=("variance", lambda x: x.sum(skipna=False)),
        ratio=("ratio", "sum"),
        n_seeds=("n_seeds", "min"),
    )
    rows["freezings"] = " and ".join("frozen" if freeze else "tuned" for freeze in used)
    return rows


def estimate(start: pd.Series, minus: pd.Series | None, count: int) -> Estimate:
    """Mean Dice of a start, or its difference from another, with the 95 % interval for `count` of them at once
    (Bonferroni; t with Satterthwaite's degrees of freedom)."""
    dice = start["mean"] - (0 if minus is None else minus["mean"])
    half = _margin(start, minus, 0.025 / count)
    return Estimate(float(dice), *((None, None) if np.isnan(half) else (float(dice - half), float(dice + half))))


def _margin(start: pd.Series, minus: pd.Series | None, tail: float) -> float:
    """t quantile (upper `tail`) times the standard error of a start's mean or of a difference; nan without spread."""
    variance = start["variance"] + (0 if minus is None else minus["variance"])
    ratio = start["ratio"] + (0 if minus is None else minus["ratio"])
    if not variance > 0:
        return float("nan")
    return float(stats.t.ppf(1 - tail, variance**2 / ratio) * np.sqrt(variance))


def best_start(table: pd.DataFrame) -> dict[str, Any]:
    """The best start of one target (rows of `summarise` of that target): its Dice, which others can't be told from it
    (one-sided t bounds, Bonferroni over the others), and its gain over random initialisation and the longest length."""
    trained = table.loc[table["epochs"] > 0, "pretrain_seed"]
    starts = pool_freezings(table).assign(several=trained.nunique() > 1)
    best, count = starts.loc[starts["mean"].idxmax()], len(starts)
    others = starts.drop(index=best.name)
    told = [best["mean"] - row["mean"] > _margin(best, row, 0.05 / (count - 1)) for _, row in others.iterrows()]
    near = [row for (_, row), apart in zip(others.iterrows(), told, strict=True) if not apart]
    shortest = min(near, key=lambda row: row["epochs"], default=None)
    network = starts[starts["model"] == best["model"]]
    scratch = network[network["epochs"] == 0]
    curve = network[(network["scheme"] == best["scheme"]) & (network["pretrain_seed"] == best["pretrain_seed"])]
    longest = curve.loc[curve["epochs"].idxmax()]
    gains = {"random": None if scratch.empty else scratch.iloc[0], "longest": longest}
    dice = asdict(estimate(best, None, count))
    answer: dict[str, Any] = {"start": _name(best), "dice": dice, "n_seeds": int(best["n_seeds"])}
    answer |= {"starts": count, "freezings": best["freezings"], "longest_epochs": int(longest["epochs"])}
    answer |= {"not_told_apart": [_name(row) for row in near], "shortest_of_these": _name(shortest)}
    for name, row in gains.items():
        same = row is None or best["epochs"] in (0, row["epochs"])
        answer[f"gain_over_{name}"] = None if same else asdict(estimate(best, row, count))
    return answer


def _name(start: pd.Series | None) -> dict[str, Any] | None:
    """A start as JSON; its label names the pretraining seed where the run has several."""
    if start is None:
        return None
    scheme, seed, epochs = start["scheme"], int(start["pretrain_seed"]), int(start["epochs"])
    label = f"{start['encoder']}, {scheme} pretraining, {epochs} epoch{'s' * (epochs != 1)}"
    label += f" (pretraining seed {seed})" if start["several"] else ""
    if epochs == 0:
        scheme, label = "random", f"{start['encoder']} with random initialisation"
    key = {"encoder": start["encoder"], "network": start["model"], "scheme": scheme, "pretrain_seed": seed}
    return key | {"epochs": epochs, "label": label}


def answer(results: pd.DataFrame, means: pd.DataFrame) -> dict[str, Any]:
    """Per target the best start, pooled and for each freezing alone; and the mean effect of stopping by the score.

    `means` is the summary of the selectors (selection_summary.csv).
    """
    targets = {}
    for target, table in summarise(results).groupby("dataset"):
        alone = {("frozen" if freeze else "tuned"): best_start(part) for freeze, part in table.groupby("freeze")}
        targets[str(target)] = best_start(table) | {
            "alone": {name: {key: part[key] for key in ("start", "dice")} for name, part in alone.items()}
        }
    row = means[(means["selector"] == OTHERS) & (means["pool"] == "within_run")]
    row = row.astype({"k": int}).astype(object).replace(np.nan, None)
    stopping = None if row.empty else row.iloc[0].to_dict()
    ends = means.loc[means["selector"] == RANGE, "diff_to_last"]
    if stopping and len(ends):
        stopping["range"] = [float(ends.min()), float(ends.max())]
    return {"targets": targets, "stopping": stopping, "scope": SCOPE}


def in_words(content: dict[str, Any]) -> str:
    """The answer: a line per target, then the details."""
    head = "\n".join(_headline(target, found) for target, found in content["targets"].items())
    lines = [_target_line(target, found) for target, found in content["targets"].items()]
    stopping = content["stopping"]
    if stopping is None:
        lines.append("Stopping by the robustness score can't be judged: it needs scores on two data sets.")
    else:
        names = {"dice": "diff_to_last", "low": "diff_low", "high": "diff_high"}
        change = _shown({key: stopping[name] for key, name in names.items()}, "+")
        lines.append(
            f"Stopping pretraining at the lowest robustness score (setting chosen on the other data sets) would have "
            f"changed Dice by {change} on average against the last checkpoint and saved {stopping['epochs_saved']:.0f} "
            f"epochs (mean over {stopping['k']} pretraining run{'s' * (stopping['k'] > 1)}; "
            f"{'95 % t interval over these runs' if stopping['k'] > 1 else 'no interval from one run'})."
        )
        if "range" in stopping:
            low, high = stopping["range"]
            lines[-1] += f" Other defensible choices of the analyst give {low:+.4f} to {high:+.4f}."
    return "\n\n".join([head, *lines, content["scope"]]) + "\n"


def _headline(target: str, found: dict[str, Any]) -> str:
    near, others = len(found["not_told_apart"]), found["starts"] - 1
    sure = f"{near} of the {others} other starts can't be told from it" if near else f"better than all {others} others"
    sure = f"none of the {others} other starts can be told from it" if near == others else sure
    sure = "how sure can't be said" if found["dice"]["low"] is None else sure
    average = ", average of tuned and frozen encoder" if "and" in found["freezings"] else ""
    return f"{target}: start from {found['start']['label']}: Dice {_shown(found['dice'])}{average}; {sure}."


def _target_line(target: str, found: dict[str, Any]) -> str:
    near, others = found["not_told_apart"], found["starts"] - 1
    text = f"{target}: the best start is {found['start']['label']}, mean Dice {_shown(found['dice'])} "
    average = "average of tuned and frozen" if "and" in found["freezings"] else found["freezings"]
    text += f"({average} encoder, {found['n_seeds']} seed{'s' * (found['n_seeds'] > 1)}). "
    if found["dice"]["low"] is None:
        text += "How sure this is can't be said: there is no spread between seeds. "
    elif near:
        text += f"Of the {others} other start{'s' * (others > 1)}, {len(near)} can't be told from it"
        text += f", the shortest being {found['shortest_of_these']['label']}. "
    else:
        text += f"It is better than each of the {others} other starts. "
    for name, gain in (("random initialisation of this network", found["gain_over_random"]), _longest(found)):
        text += f"Gain over {name}: {_shown(gain, '+')}. " if gain else ""
    longest = 0 < found["start"]["epochs"] == found["longest_epochs"]
    text += "It is the longest pretraining of its kind. " if longest else ""
    alone = [f"{name}, {part['start']['label']} ({part['dice']['dice']:.3f})" for name, part in found["alone"].items()]
    return text + (f"Best for one way alone: {'; '.join(alone)}." if len(alone) > 1 else "")


def _longest(found: dict[str, Any]) -> tuple[str, dict[str, Any] | None]:
    return f"the longest pretraining of this kind ({found['longest_epochs']} epochs)", found["gain_over_longest"]


def _shown(value: dict[str, Any], sign: str = "") -> str:
    text = f"{value['dice']:{sign}.4f}"
    return text if value["low"] is None else f"{text} [{value['low']:{sign}.4f}, {value['high']:{sign}.4f}]"


def write_answer(downstream: str | Path, means: str | Path, output: str | Path, text: str | Path) -> None:
    """Write the answer as JSON (`answer`) and in words."""
    results = read_downstream(downstream)
    content = answer(results, read_table(means))
    write_json(output, content)
    with atomic_path(text) as temporary:
        temporary.write_text(in_words(content))
