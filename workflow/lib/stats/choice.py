"""Which checkpoints a rule takes: every choice is a weighting of checkpoints, among which ties share the weight."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from workflow.lib.stats.correlation import POOLS, count_from_deepest, score_table, setting_names
from workflow.lib.stats.effect import leave_one_seed_out
from workflow.lib.stats.summary import summarise
from workflow.lib.stats.tidy import CURVE, RUN

COLUMNS = ["selector", "setting", "pool", "dataset", "model", "freeze", "scheme", "chosen_epochs", "dice", "regret"]
COLUMNS += ["diff_to_last", "epochs_saved", "encoder", "pretrain_seed", "chosen", "note"]
SCORE = "robustness"
OTHERS = "robustness (setting chosen on the other data sets)"
EXPECTED = ("last", "random", "scratch", "fixed")  # selectors that, in pool all, leave it to chance which run is taken
NETWORK = ["dataset", "model", "encoder", "freeze"]


@dataclass
class Choices:
    """Choices, a row each (`COLUMNS`), and what they are made of.

    gain (rows, checkpoints x seeds): weight of every single fine-tuning result in diff_to_last; means: the checkpoints
    (`summarise`), in this order.
    """

    frame: pd.DataFrame
    gain: sparse.csr_array
    means: pd.DataFrame

    def take(self, rows: np.ndarray, **labels: object) -> "Choices":
        """Some of the rows, with other labels."""
        return Choices(self.frame.iloc[rows].assign(**labels).reset_index(drop=True), self.gain[rows], self.means)


def join(parts: Sequence[Choices]) -> Choices:
    """Choices of the same checkpoints, one below the other."""
    frame = pd.concat([part.frame for part in parts], ignore_index=True)
    return Choices(frame, sparse.vstack([part.gain for part in parts], format="csr"), parts[0].means)


def choose(
    results: pd.DataFrame, scores: pd.DataFrame, pools: Sequence[str] = tuple(POOLS), ties: str = "average"
) -> Choices:
    """What every selector takes in each cell: a curve (pool within_run), or all checkpoints of a data set and freezing.

    Curves of a single length are left out of the pool within_run, unless there are no others. See
    `workflow.lib.stats.selection` for the selectors. ties (of the lowest score): average | shortest | longest.
    """
    means = summarise(results)
    parts = []
    for pool in pools:
        table = score_table(count_from_deepest(scores) if pool == "all" else scores)
        names = [(SCORE, setting) for setting in setting_names(table, deepest=pool == "all")]
        values = table.reindex(pd.MultiIndex.from_frame(means[["dataset", *RUN, "epochs"]])).to_numpy()
        parts.append(choose_lowest(results, means, values, names, pool, ties))
    return join(parts)


def choose_lowest(
    results: pd.DataFrame,
    means: pd.DataFrame,
    values: np.ndarray,
    names: Sequence[tuple[str, str]],
    pool: str,
    ties: str = "average",
) -> Choices:
    """`choose` in one pool by any numbers: `values` (checkpoints in the order of means = `summarise(results)`, columns), of
    each column the lowest is taken (nan: no candidate); `names`: selector and setting of every column."""
    keys = [*CURVE, "epochs"]
    wide = results.pivot(index=keys, columns="seed", values="dice")
    dice = wide.reindex(pd.MultiIndex.from_frame(means[keys])).to_numpy()
    parts = []
    trained = np.flatnonzero(means["epochs"] > 0)
    if pool == "within_run":  # a curve of one length leaves no choice and would only thin out the means
        lengths = means.iloc[trained].groupby(CURVE)["epochs"].transform("nunique")
        trained = trained[(lengths > 1) | (lengths.max() == 1)]
    for key, rows in means.iloc[trained].groupby(POOLS[pool]).indices.items():
        everything = {"model": "all", "encoder": "all", "scheme": "all", "pretrain_seed": pd.NA}
        labels = everything | dict(zip(POOLS[pool], key, strict=True)) | {"pool": pool}
        parts.append(_cell(means, dice, trained[rows], values[trained[rows]], names, ties, labels))
    choices = join(parts)
    choices.frame["pretrain_seed"] = choices.frame["pretrain_seed"].astype("Int64")
    return choices


def _cell(
    means: pd.DataFrame,
    dice: np.ndarray,
    members: np.ndarray,
    scores: np.ndarray,
    names: Sequence[tuple[str, str]],
    ties: str,
    labels: dict[str, object],
) -> Choices:
    """Choices among the checkpoints `members` (m positions in `means`, length > 0) with scores (m, columns)."""
    length, average = means["epochs"].to_numpy(float), means["dice_mean"].to_numpy()
    curves = means.iloc[members].groupby(CURVE)["epochs"]
    lasts = members[curves.transform("max") == means["epochs"].iloc[members]]
    rules = _rules(means, members, lasts)
    known, lowest = _lowest(scores, length[members], ties)
    marks = np.zeros((1 + len(rules) + known.shape[1], len(means)))
    marks[0], oracle_gain = _oracle(dice, members, lasts)
    for row, taken in enumerate(rules.values(), start=1):
        np.add.at(marks[row], taken, 1.0)  # a network's random initialisation stands for each of its curves
    marks[1 + len(rules) :, members] = lowest.T
    total = marks.sum(axis=1, keepdims=True)
    weights = np.divide(marks, total, out=np.zeros_like(marks), where=total > 0)
    named = [*(("oracle", ""), *((rule, "") for rule in rules)), *names]
    frame = pd.DataFrame(named, columns=["selector", "setting"])
    last = 1 + list(rules).index("last")
    reached, taken = weights @ average, weights @ length
    reached[0] = reached[last] + oracle_gain @ np.nan_to_num(dice.ravel())
    frame["chosen_epochs"], frame["dice"] = taken, reached
    frame["regret"] = average[members].max() - reached
    frame["diff_to_last"], frame["epochs_saved"] = reached - reached[last], taken[last] - taken
    frame["chosen"] = _named(means, weights, frame["selector"]) if labels["pool"] == "all" else ""
    frame["note"] = _notes(frame["selector"], marks, known, int(np.isfinite(dice[members]).any(axis=0).sum()))
    empty = total[:, 0] == 0
    frame.loc[empty, ["chosen_epochs", "dice", "regret", "diff_to_last", "epochs_saved"]] = np.nan
    others = sparse.csr_array(weights[1:] - weights[last]) @ _single(dice)
    gain = sparse.vstack([sparse.csr_array(oracle_gain[None]), others])
    rows = np.flatnonzero(~empty | (np.arange(len(frame)) <= len(rules)))  # else a setting that this encoder lacks
    return Choices(frame.assign(**labels)[COLUMNS], gain.tocsr(), means).take(rows)


def _rules(means: pd.DataFrame, members: np.ndarray, lasts: np.ndarray) -> dict[str, np.ndarray]:
    """The checkpoints that each rule without a score takes (with equal weights), by the name of the selector."""
    accuracy, epochs = means["accuracy"].to_numpy()[members], means["epochs"].to_numpy()[members]
    best = accuracy == np.nanmax(accuracy) if np.isfinite(accuracy).any() else np.zeros(len(members), bool)
    random = means.assign(position=np.arange(len(means)))[means["epochs"] == 0]
    random = means.iloc[lasts][NETWORK].merge(random, on=NETWORK)["position"].to_numpy()
    rules = {"last": lasts, "imagenet_accuracy": members[best], "random": members, "scratch": random}
    return rules | {f"fixed {length}": members[epochs == length] for length in np.unique(epochs)}


def _lowest(scores: np.ndarray, epochs: np.ndarray, ties: str) -> tuple[np.ndarray, np.ndarray]:
    """Where each setting's score is known, and where it is lowest (both (checkpoints, settings)), ties broken or kept."""
    known = np.isfinite(scores)
    filled = np.where(known, scores, np.inf)
    lowest = known & (filled == filled.min(axis=0))
    if ties == "shortest":
        return known, lowest & (epochs[:, None] == np.where(lowest, epochs[:, None], np.inf).min(axis=0))
    if ties == "longest":
        return known, lowest & (epochs[:, None] == np.where(lowest, epochs[:, None], -np.inf).max(axis=0))
    return known, lowest


def _oracle(dice: np.ndarray, members: np.ndarray, lasts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What is best on the other seeds, for each left-out seed: how often it is which checkpoint, and its gain.

    Dice (checkpoints, seeds), nan where missing; the choice is that of `leave_one_seed_out`. The gain is Dice of the
    checkpoint minus that of the last ones on the left-out seed, averaged over the seeds on which all of these are known.
    Returns marks (checkpoints,), all 0 where there is no such seed, and weights (checkpoints x seeds,) of the gain.
    """
    marks, gain, known = np.zeros(len(dice)), np.zeros(dice.shape), np.isfinite(dice)
    for seed, choice in enumerate(leave_one_seed_out(dice[members].T)[1]):
        taken = members[choice]
        if np.delete(known[taken], seed).any() and known[taken, seed] and known[lasts, seed].all():
            marks[taken] += 1
            gain[taken, seed] += 1
            gain[lasts, seed] -= 1 / len(lasts)
    return marks, gain.ravel() / max(marks.sum(), 1)


def _single(dice: np.ndarray) -> sparse.csr_array:
    """Weights (checkpoints, checkpoints x seeds) that turn single results into the mean of each checkpoint."""
    known = np.isfinite(dice)
    row, column = np.nonzero(known)
    share = 1 / known.sum(axis=1)[row]
    return sparse.csr_array((share, (row, row * dice.shape[1] + column)), shape=(len(dice), dice.size))


def _notes(selectors: pd.Series, marks: np.ndarray, known: np.ndarray, seeds: int) -> list[str]:
    """Why a number is missing, how many are tied, or that not all is known; a note per choice."""
    missing = {
        "oracle": "no second fine-tuning seed to choose on",
        "scratch": "no random initialisation in this run",
        "imagenet_accuracy": "no accuracy in this run",
    }
    counts, first = np.count_nonzero(marks, axis=1), len(marks) - known.shape[1]
    notes = []
    for row, selector in enumerate(selectors):
        tied = counts[row] > 1 and (row >= first or selector == "imagenet_accuracy")
        found = [missing.get(selector, "")] if not counts[row] else [f"{counts[row]} tied, averaged"] if tied else []
        if selector == "oracle" and 0 < (judged := int(marks[row].sum())) < seeds:
            found.append(f"judged on {judged} of {seeds} seeds")
        if row >= first and (scored := known[:, row - first].sum()) < len(known):
            found.append(f"score known for {scored} of {len(known)} checkpoints")
        notes.append("; ".join(found))
    return notes


def _named(means: pd.DataFrame, weights: np.ndarray, selectors: pd.Series) -> list[str]:
    """The chosen checkpoints in words, network, scheme and length; their number where there are more than three."""
    seeds = means.loc[means["epochs"] > 0, "pretrain_seed"].nunique() > 1
    words = []
    for row, selector in zip(weights, selectors, strict=True):
        chosen = np.flatnonzero(row)
        if selector.split()[0] in EXPECTED and len(chosen) > 1:
            words.append(f"expected value over {len(chosen)}")
            continue
        table = means.iloc[chosen[:4]]
        names = [
            f"{model}, {scheme}, {epochs}" + (f", pretraining seed {seed}" if seeds else "")
            for model, scheme, epochs, seed in table[["model", "scheme", "epochs", "pretrain_seed"]].to_numpy()
        ]
        words.append("; ".join(names) if len(names) < 4 else f"{len(chosen)} checkpoints")
    return words
