"""Which checkpoints a rule takes: every choice is a weighting of checkpoints, among which ties share the weight."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from workflow.lib.curves.correlation import POOLS
from workflow.lib.curves.effect import leave_one_seed_out
from workflow.lib.curves.summary import summarise
from workflow.lib.tables.read import CURVE
from workflow.lib.tables.scores import columns_of, from_deepest

COLUMNS = ["selector", "setting", "pool", "dataset", "model", "freeze", "scheme", "chosen_epochs", "dice", "regret"]
COLUMNS += ["diff_to_last", "epochs_saved", "encoder", "pretrain_seed", "chosen", "note"]
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
    """What every selector takes in each cell: a curve (pool within_run), or all checkpoints of a data set and fine-tuning mode.

    Curves of a single length are left out of the pool within_run, unless there are no others. See
    `workflow.lib.selection.selection` for the selectors. scores: as of `read_scores`. ties (of the best one): average |
    shortest | longest.
    """
    means = summarise(results)
    parts = []
    for pool in pools:
        names, values = columns_of(from_deepest(scores) if pool == "all" else scores, means)
        parts.append(choose_highest(results, means, values, names, pool, ties))
    return join(parts)


def choose_highest(
    results: pd.DataFrame,
    means: pd.DataFrame,
    values: np.ndarray,
    names: Sequence[tuple[str, str]],
    pool: str,
    ties: str = "average",
) -> Choices:
    """`choose` in one pool by any numbers: `values` (checkpoints in the order of means = `summarise(results)`, columns), of
    each column the highest is taken (nan: no candidate); `names`: selector and setting of every column."""
    known = _checkpoints(results, means)
    single = _single(known.dice)
    trained = np.flatnonzero(means["epochs"] > 0)
    if pool == "within_run":  # a curve of one length leaves no choice and would only thin out the means
        lengths = means.iloc[trained].groupby(CURVE)["epochs"].transform("nunique")
        trained = trained[(lengths > 1) | (lengths.max() == 1)]
    columns, gains, keys = [], [], []
    for key, rows in means.iloc[trained].groupby(POOLS[pool]).indices.items():
        members = trained[rows]
        cell, gain = _cell(known, single, members, values[members], names, ties, named=pool == "all")
        columns.append(cell)
        gains.append(gain)
        keys += [key] * len(cell["selector"])
    frame = pd.DataFrame({name: np.concatenate([cell[name] for cell in columns]) for name in columns[0]})
    labels: dict[str, object] = {"model": "all", "encoder": "all", "scheme": "all", "pretrain_seed": pd.NA}
    labels |= {name: list(column) for name, column in zip(POOLS[pool], zip(*keys, strict=True), strict=True)}
    frame = frame.assign(pool=pool, **labels).astype({"pretrain_seed": "Int64"})
    return Choices(frame[COLUMNS], sparse.vstack(gains, format="csr"), means)


@dataclass
class _Checkpoints:
    """What is known of the checkpoints, in the order of `summarise`: Dice (checkpoints, seeds; nan where missing) and its mean,
    length, accuracy, whether it is the last of its curve, a number for its network, and its name."""

    dice: np.ndarray
    average: np.ndarray
    length: np.ndarray
    accuracy: np.ndarray
    is_last: np.ndarray
    network: np.ndarray
    name: np.ndarray


def _checkpoints(results: pd.DataFrame, means: pd.DataFrame) -> _Checkpoints:
    keys = [*CURVE, "epochs"]
    wide = results.pivot(index=keys, columns="seed", values="dice")
    last = means[means["epochs"] > 0].groupby(CURVE)["epochs"].transform("max").reindex(means.index)
    seeds = means.loc[means["epochs"] > 0, "pretrain_seed"].nunique() > 1
    names = [
        f"{model}, {scheme}, {epochs}" + (f", pretraining seed {seed}" if seeds else "")
        for model, scheme, epochs, seed in means[["model", "scheme", "epochs", "pretrain_seed"]].to_numpy()
    ]
    return _Checkpoints(
        dice=wide.reindex(pd.MultiIndex.from_frame(means[keys])).to_numpy(),
        average=means["dice_mean"].to_numpy(),
        length=means["epochs"].to_numpy(),
        accuracy=means["accuracy"].to_numpy(),
        is_last=(last == means["epochs"]).to_numpy(),
        network=means.groupby(NETWORK).ngroup().to_numpy(),
        name=np.array(names),
    )


def _cell(
    known: _Checkpoints,
    single: sparse.csr_array,
    members: np.ndarray,
    scores: np.ndarray,
    names: Sequence[tuple[str, str]],
    ties: str,
    named: bool,
) -> tuple[dict[str, np.ndarray], sparse.csr_array]:
    """Choices among the checkpoints `members` (m positions, length > 0) with scores (m, columns): columns of the frame, and the
    weights of the single results. named: whether the chosen checkpoints are named."""
    length = known.length.astype(float)
    lasts = members[known.is_last[members]]
    rules = _rules(known, members, lasts)
    scored, highest = _highest(scores, length[members], ties)
    marks = np.zeros((1 + len(rules) + scored.shape[1], len(length)))
    marks[0], oracle_gain = _oracle(known.dice, members, lasts)
    for row, taken in enumerate(rules.values(), start=1):
        np.add.at(marks[row], taken, 1.0)  # a network's random initialisation belongs to each of its curves
    marks[1 + len(rules) :, members] = highest.T
    total = marks.sum(axis=1, keepdims=True)
    weights = np.divide(marks, total, out=np.zeros_like(marks), where=total > 0)
    last = 1 + list(rules).index("last")
    reached, epochs = weights @ known.average, weights @ length
    reached[0] = reached[last] + oracle_gain @ np.nan_to_num(known.dice.ravel())
    selectors, settings = map(np.array, zip(("oracle", ""), *((rule, "") for rule in rules), *names, strict=True))
    numbers = {
        "chosen_epochs": epochs,
        "dice": reached,
        "regret": known.average[members].max() - reached,
        "diff_to_last": reached - reached[last],
        "epochs_saved": epochs[last] - epochs,
    }
    empty = total[:, 0] == 0
    rows = np.flatnonzero(~empty | (np.arange(len(empty)) <= len(rules)))  # else a setting that this encoder lacks
    chosen = _named(known.name, weights[rows], selectors[rows]) if named else [""] * len(rows)
    notes = _notes(selectors, marks, scored, int(np.isfinite(known.dice[members]).any(axis=0).sum()))
    columns = {"selector": selectors, "setting": settings, "note": np.array(notes)}
    columns |= {name: np.where(empty, np.nan, column) for name, column in numbers.items()}
    others = sparse.csr_array((weights[1:] - weights[last])[rows[1:] - 1]) @ single
    gain = sparse.vstack([sparse.csr_array(oracle_gain[None]), others], format="csr")
    return {name: column[rows] for name, column in columns.items()} | {"chosen": np.array(chosen)}, gain


def _rules(known: _Checkpoints, members: np.ndarray, lasts: np.ndarray) -> dict[str, np.ndarray]:
    """The checkpoints that each rule without a score takes (with equal weights), by the name of the selector."""
    accuracy, epochs = known.accuracy[members], known.length[members]
    best = accuracy == np.nanmax(accuracy) if np.isfinite(accuracy).any() else np.zeros(len(members), bool)
    random = [np.flatnonzero((known.length == 0) & (known.network == known.network[one])) for one in lasts]
    rules = {"last": lasts, "imagenet_accuracy": members[best], "random": members, "scratch": np.concatenate(random)}
    return rules | {f"fixed {length}": members[epochs == length] for length in np.unique(epochs)}


def _highest(scores: np.ndarray, epochs: np.ndarray, ties: str) -> tuple[np.ndarray, np.ndarray]:
    """Where each setting's score is known, and where it is highest (both (checkpoints, settings)), ties broken or kept."""
    known = np.isfinite(scores)
    filled = np.where(known, scores, -np.inf)
    highest = known & (filled == filled.max(axis=0))
    if ties == "shortest":
        return known, highest & (epochs[:, None] == np.where(highest, epochs[:, None], np.inf).min(axis=0))
    if ties == "longest":
        return known, highest & (epochs[:, None] == np.where(highest, epochs[:, None], -np.inf).max(axis=0))
    return known, highest


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


def _notes(selectors: np.ndarray, marks: np.ndarray, scored: np.ndarray, seeds: int) -> list[str]:
    """Why a number is missing, how many are tied, or that not all is known; a note per choice."""
    missing = {
        "oracle": "no second fine-tuning seed to choose on",
        "scratch": "no random initialisation in this run",
        "imagenet_accuracy": "no accuracy in this run",
    }
    counts, first = np.count_nonzero(marks, axis=1), len(marks) - scored.shape[1]
    scores = [len(scored)] * first + scored.sum(axis=0).tolist()
    notes = []
    for row, (selector, count, known) in enumerate(zip(selectors.tolist(), counts.tolist(), scores, strict=True)):
        tied = count > 1 and (row >= first or selector == "imagenet_accuracy")
        found = [missing.get(selector, "")] if not count else [f"{count} tied, averaged"] if tied else []
        if selector == "oracle" and 0 < (judged := int(marks[row].sum())) < seeds:
            found.append(f"evaluated on {judged} of {seeds} seeds")
        if known < len(scored):
            found.append(f"score known for {known} of {len(scored)} checkpoints")
        notes.append("; ".join(found))
    return notes


def _named(names: np.ndarray, weights: np.ndarray, selectors: np.ndarray) -> list[str]:
    """The chosen checkpoints by their names; their number where there are more than three."""
    words = []
    for row, selector in zip(weights, selectors, strict=True):
        chosen = names[np.flatnonzero(row)]
        if selector.split()[0] in EXPECTED and len(chosen) > 1:
            words.append(f"expected value over {len(chosen)}")
        else:
            words.append("; ".join(chosen) if len(chosen) < 4 else f"{len(chosen)} checkpoints")
    return words
