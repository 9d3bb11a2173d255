"""Claims on what ranks lengths and encoders: ImageNet accuracy (C4, C5) and the robustness score (C6, C7, C8)."""

from dataclasses import replace
from itertools import permutations
from math import factorial

import numpy as np
import pandas as pd
from scipy.special import ndtri

from workflow.lib.claims.register import NETWORKS, SHORT
from workflow.lib.curves.correlation import pearson, ranks
from workflow.lib.evidence.verdicts import POOR, Found, noted, over_runs, untestable
from workflow.lib.job.run import derive_seed
from workflow.lib.selection.elsewhere import best_elsewhere, misfit
from workflow.lib.tables.read import CURVE, RUN
from workflow.lib.tables.scores import CHECKPOINT

DRAWS = 2000
FEWEST_ORDERED = 4  # runs: p can't fall below 1/6 with three
NO_CHOICE = "no score on two data sets: its setting can't be chosen on the other ones"


def spearman_over_seeds(cells: list[pd.DataFrame], seed: int) -> Found:
    """Mean over cells of Spearman(accuracy, dice_mean), with a seeds-only interval: +-1.96 SD of the same mean over
    draws of every dice_mean from t(df) with SD pooled_sd / sqrt(n_seeds). Cells: rows of `summarise`, 3 or more each."""
    if not cells:
        return untestable("no cell with three checkpoints of known ImageNet accuracy")
    rng, observed, drawn = np.random.default_rng(seed), [], np.zeros(DRAWS)
    for cell in cells:
        rank, mean = cell["accuracy"].rank().to_numpy(), cell["dice_mean"].to_numpy()
        observed.append(pearson(ranks(mean[None]), rank)[0])
        error = (cell["pooled_sd"] / np.sqrt(cell["n_seeds"])).to_numpy()
        noise = rng.standard_t(np.maximum(cell["df"], 1), (DRAWS, len(cell)))
        drawn += pearson(ranks(mean + error * noise), rank) / len(cells)
    mean = float(np.mean(observed))
    if all(cell["accuracy"].nunique() == 1 for cell in cells):
        return untestable("ImageNet accuracy does not vary")
    if not all((cell["pooled_sd"] > 0).all() for cell in cells):
        return untestable("no spread between seeds", mean)
    half = ndtri(0.975) * drawn.std()
    note = "seeds only; real level 90 to 96 %, simulated at the study's size; seed noise pulls it towards 0: "
    note += f"seeds drawn once more move it by {drawn.mean() - mean:+.3f}"
    return Found(mean, max(mean - half, -1), min(mean + half, 1), note=note)


def if_there(network: str, table: pd.DataFrame, found: Found) -> Found:
    """The finding, unless the run lacks the network (a name in `NETWORKS`)."""
    return found if (table["encoder"] == NETWORKS[network]).any() else untestable(f"this run has no {network}")


def at_last(table: pd.DataFrame) -> pd.DataFrame:
    """The rows (of `summarise`) of the last length of each curve."""
    trained = table[table["epochs"] > 0]
    return trained[trained["epochs"] == trained.groupby(CURVE)["epochs"].transform("max")]


def accuracy_guides(table: pd.DataFrame, ranked: pd.DataFrame) -> dict[str, Found]:
    """C4 and C5: how ImageNet accuracy ranks lengths and encoders. `table`: `summarise` of the lengths > 0; `ranked`:
    rows of `correlations` within runs."""
    found = {"C4": over_runs(ranked[ranked["predictor"] == "imagenet_accuracy"], "spearman", null=POOR, limit=1.0)}
    known = table[table["accuracy"].notna()]
    for name, network in SHORT.items():
        part = known[known["encoder"] == NETWORKS[network]]
        cells = [cell for _, cell in part.groupby(CURVE) if len(cell) > 2]
        found[name] = if_there(network, table, spearman_over_seeds(cells, derive_seed("claims", name)))
    last = at_last(table).sort_values(RUN)
    last = last[last["accuracy"].notna()]
    runs = len(last[RUN].drop_duplicates())
    cells = [cell for _, cell in last.groupby(["dataset", "freeze"]) if len(cell) == runs]
    if runs < FEWEST_ORDERED or not cells:
        why = f"k = {runs} pretraining runs of known accuracy: {FEWEST_ORDERED} on the same targets are needed"
        return found | {"C5": untestable(why)}
    note = f"k = {runs} runs, held fixed by the interval: others may differ; p: orders of the runs, correlation above 0"
    p = order_test([(cell["accuracy"].to_numpy(), cell["dice_mean"].to_numpy()) for cell in cells])
    return found | {"C5": noted(replace(spearman_over_seeds(cells, derive_seed("claims", "C5")), p=p), note)}


def score_ranks(table: pd.DataFrame, scores: pd.DataFrame, ranked: pd.DataFrame) -> dict[str, Found]:
    """C6 to C8: how the robustness score ranks the lengths. Arguments as in `accuracy_guides`."""
    score = ranked[ranked["predictor"] == "robustness"]
    score = score.loc[best_elsewhere(score, ["encoder"], misfit)]
    if score.empty:
        return dict.fromkeys(("C6", "C7", "C8"), untestable(NO_CHOICE))
    epochs = ranked.loc[ranked["predictor"] == "epochs", [*CURVE, "spearman"]]
    both = score.merge(epochs, on=CURVE, suffixes=("", "_epochs"))
    both["difference"] = both["spearman"] - both["spearman_epochs"]
    return {
        "C6": over_runs(score, "spearman", limit=1.0),
        "C7": over_runs(both, "difference", limit=2.0),
        "C8": own_curves(table, scores),
    }


def orders(n: int, most: int = 5040) -> np.ndarray:
    """Orders of n things, one per row, the present one first: all of them up to `most`, else that many, drawn."""
    if factorial(n) <= most:
        return np.array(list(permutations(range(n))))
    rng = np.random.default_rng(derive_seed("orders", n))
    return np.vstack([np.arange(n), rng.permuted(np.tile(np.arange(n), (most - 1, 1)), axis=1)])


def share_as_high(values: np.ndarray) -> float:
    """p of a permutation test: the share of values as high as the first (itself included)."""
    return float(np.mean(values >= values[0] - 1e-12))


def order_test(cells: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """One-sided p of the mean over cells of Spearman(x, y), x permuted in all cells alike. Cells: (x, y), n each."""
    order = orders(len(cells[0][0]))
    return share_as_high(np.mean([pearson(ranks(x[None])[0][order], ranks(y[None])[0]) for x, y in cells], axis=0))


def unit_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks along the last axis, centred and of length 1, so that sums of products are Spearman; 0 if constant, nan if
    any value is missing."""
    n = values.shape[-1]
    centred = ranks(values.reshape(-1, n)).reshape(values.shape) - (n + 1) / 2
    length = np.sqrt((centred**2).sum(axis=-1, keepdims=True))
    unit = np.divide(centred, length, out=np.zeros(centred.shape), where=length > 0)
    return np.where(np.isfinite(values).all(axis=-1, keepdims=True), unit, np.nan)


def pairings(table: pd.DataFrame, scores: pd.DataFrame) -> tuple[pd.MultiIndex, np.ndarray]:
    """How each run's Dice fits every run's score curve: the n runs (`RUN`) that have all targets and fine-tuning modes, and an
    array (n, n, targets, settings), entry i, j: mean over fine-tuning modes of Spearman(score of run i, Dice of run j), over the
    lengths that all have in common. Settings in alphabetical order, nan where unknown; no run where fewer than 3 lengths.
    `table`: `summarise` of the lengths > 0."""
    wide = scores.pivot(index=CHECKPOINT, columns="setting", values="value")
    dice = table.pivot_table(index=["dataset", *RUN, "freeze"], columns="epochs", values="dice_mean")
    dice = dice[dice.index.droplevel("freeze").isin(wide.index.droplevel("epochs"))].dropna(thresh=3).dropna(axis=1)
    cells, lengths = dice.groupby(level=RUN).size(), dice.columns
    runs = cells.index[cells == cells.max()] if len(lengths) > 2 else cells.index[:0]
    unit = pd.DataFrame(unit_ranks(dice.to_numpy()), dice.index).groupby(level=["dataset", *RUN]).mean()
    targets = unit.index.unique("dataset")
    keys = [(target, *run) for target in targets for run in runs]
    shape = (len(targets), len(runs), len(lengths))
    y = unit.reindex(pd.MultiIndex.from_tuples(keys, names=unit.index.names)).to_numpy().reshape(shape)
    keys = [(*key, length) for key in keys for length in lengths]
    x = wide.reindex(pd.MultiIndex.from_tuples(keys, names=wide.index.names)).to_numpy().reshape(*shape, -1)
    return runs, np.einsum("tisl,tjl->ijts", unit_ranks(np.moveaxis(x, 3, 2)), y)


def own_curves(table: pd.DataFrame, scores: pd.DataFrame) -> Found:
    """C8: C6 with every run's own score curve, against all orders of the runs' curves, the setting chosen again each time."""
    runs, fit = pairings(table, scores)
    targets = fit.shape[2]
    if len(runs) < FEWEST_ORDERED or targets < 2:
        why = f"k = {len(runs)} runs with scores at three or more common lengths on {targets} data sets"
        return untestable(f"{why}: {FEWEST_ORDERED} and 2 are needed")
    order, encoders = orders(len(runs)), runs.get_level_values("encoder")
    values = np.zeros(len(order))
    for encoder in encoders.unique():  # the setting is chosen within the encoder that the curves come from
        own = np.flatnonzero(encoders == encoder)
        here = np.sum([fit[i, order[:, i]] for i in own], axis=0)  # orders, targets, settings
        elsewhere = here.sum(axis=1, keepdims=True) - here
        best = np.where(np.isnan(elsewhere), -np.inf, elsewhere).round(12).argmax(axis=-1)
        values += np.take_along_axis(here, best[..., None], axis=-1).sum(axis=(1, 2)) / (len(runs) * targets)
    if np.isnan(values).any():
        return untestable("no setting of the score is known at all common lengths")
    strange = values[(order != np.arange(len(runs))).all(axis=1)].mean()
    note = f"k = {len(runs)} runs; own curves {values[0]:+.3f}, other runs' {strange:+.3f}; p of {len(order)} orders of the runs"
    return Found(float(round(values[0] - strange, 12)), p=share_as_high(values), note=note)
