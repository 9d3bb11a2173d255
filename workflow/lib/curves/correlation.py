"""How well does a number known before fine-tuning rank the checkpoints by the Dice they reach?"""

from inspect import unwrap
from pathlib import Path

import numpy as np
import pandas as pd

from workflow.lib.curves.summary import summarise
from workflow.lib.tables.headed import write_table
from workflow.lib.tables.read import CURVE, SETTING, read_downstream
from workflow.lib.tables.scores import columns_of, from_deepest, read_scores
from workflow.lib.tables.settings import ROBUSTNESS

POOLS = {"within_run": CURVE, "all": ["dataset", "freeze"]}  # which checkpoints are ranked, or chosen among, together
LENGTHS = {">0": 1, ">=50": 50}  # from 50 epochs on the networks are trained: what ranks these is of practical use
COEFFICIENTS = ["pearson", "spearman", "kendall_weighted", "constant"]
COLUMNS = ["predictor", "setting", "pool", "lengths", "dataset", "model", "freeze", "scheme", "n", *COEFFICIENTS]
COLUMNS += ["encoder", "pretrain_seed", *SETTING, "from_deepest", "note"]
HEAD = """\
Correlation of what is known before fine-tuning (predictor, in one setting) with mean Dice (0..1) over n checkpoints.
Oriented so that positive = predicted better, reached better; robustness: sign turned (the lowest score predicts best).
pool within_run: the lengths of one pretraining run; all: every network, scheme and length of a data set and fine-tuning mode,
levels then counted from the deepest (0), as encoders differ in their number. lengths: which pretraining lengths (epochs)
take part; random initialisation never does. kendall_weighted: weighted Kendall, the best checkpoints count most.
constant: predictor (or Dice) does not vary, all coefficients are set to 0. Within a run accuracy mostly grows with epochs.
No intervals, no p-values: with this many settings, some are high by chance; the inference is in claims.csv.
Not covered: other pretraining runs, patients or test sets; lengths below the last are un-annealed snapshots of one
schedule, not completed shorter pretrainings."""


def pearson(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson correlation of each row of x (k, n) with y (n,), as (k,); 0 where either has no spread."""
    x, y = x - x.mean(axis=1, keepdims=True), y - y.mean()
    scale = np.sqrt((x**2).sum(axis=1) * (y**2).sum())
    return np.divide(x @ y, scale, out=np.zeros(len(x)), where=scale > 0).clip(-1, 1)


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks (1 = lowest) along each row of values (k, n), ties sharing their mean rank; nan stays."""
    return pd.DataFrame(values).rank(axis=1).to_numpy()


def weighted_kendall(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """SciPy's `weightedtau` of each row of x (k, n) with y (n,), as (k,): exchanges among the best checkpoints count most; 0
    where either is constant."""
    from scipy.stats import weightedtau

    plain = unwrap(weightedtau)  # without SciPy's checks of axes and of missing values, which take longer
    if np.ptp(y) == 0:
        return np.zeros(len(x))
    orders, which = np.unique(ranks(x), axis=0, return_inverse=True)  # it depends on nothing else, and many are alike
    return np.array([plain(row, y).statistic if np.ptp(row) else 0.0 for row in orders])[which]


def correlate(x: np.ndarray, y: np.ndarray) -> pd.DataFrame:
    """Coefficients (`COEFFICIENTS`) of each row of x (k, n), higher = predicted better, with Dice y (n,).

    All are 0, and constant is True, where a row (or Dice) does not vary.
    """
    constant = (np.ptp(x, axis=1) == 0) | (np.ptp(y) == 0)
    table = {
        "pearson": pearson(x, y),
        "spearman": pearson(ranks(x), ranks(y[None])[0]),
        "kendall_weighted": weighted_kendall(x, y),
        "constant": constant,
    }
    frame = pd.DataFrame(table)
    frame.loc[constant, COEFFICIENTS[:3]] = 0.0
    return frame


def correlations(results: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Coefficients of every predictor with mean Dice over checkpoints of length > 0, and of length >= 50 (`COLUMNS`). scores: of
    robustness alone, as of `read_scores`.

    Predictors: imagenet_accuracy, epochs, and robustness (sign turned: the lowest score predicts the best) in every
    setting. Pools: within_run (the lengths of one curve; `level` names the setting, as in the scores) and all (every
    network, scheme and length of a target and fine-tuning mode; model and scheme read `all`; `from_deepest` names the setting).
    n counts the checkpoints that have both numbers; groups without any are left out, fewer than 3 are noted.
    """
    table = summarise(results[results["epochs"] > 0])
    parts = []
    for pool, by in POOLS.items():
        predictors, values = _predictors(table, scores, deepest=pool == "all")
        for lengths, shortest in LENGTHS.items():
            used = table["epochs"].to_numpy() >= shortest
            for key, rows in table[used].groupby(by).indices.items():
                rows = np.flatnonzero(used)[rows]
                everything = {"model": "all", "encoder": "all", "scheme": "all", "pretrain_seed": None}
                labels = everything | dict(zip(by, key, strict=True)) | {"pool": pool, "lengths": lengths}
                part = _by_pattern(values[:, rows], table["dice_mean"].to_numpy()[rows])
                parts.append(predictors.join(part, how="inner").assign(**labels))
    frame = pd.concat(parts, ignore_index=True)
    frame["note"] = np.where(frame["n"] < 3, "fewer than 3 checkpoints", "")
    whole = ["pretrain_seed", "level", "from_deepest"]
    return frame.astype(dict.fromkeys(whole, "Int64"))[COLUMNS]


def _predictors(table: pd.DataFrame, scores: pd.DataFrame, deepest: bool) -> tuple[pd.DataFrame, np.ndarray]:
    """What each predictor is called and its values (predictors, rows of the table), higher = predicted better."""
    scores = from_deepest(scores) if deepest else scores
    simple = pd.DataFrame({"predictor": ["imagenet_accuracy", "epochs"], "setting": ""})
    settings = scores.drop_duplicates("setting")[["setting", *SETTING]].assign(predictor=ROBUSTNESS)
    settings["from_deepest"] = settings["level"] if deepest else None
    settings["level"] = None if deepest else settings["level"]
    predictors = pd.concat([simple, settings], ignore_index=True)
    return predictors, np.column_stack([table["accuracy"], table["epochs"], columns_of(scores, table)[1]]).T


def _by_pattern(x: np.ndarray, y: np.ndarray) -> pd.DataFrame:
    """`correlate` with n, each row of x over the checkpoints where it is known; rows known nowhere are left out."""
    known, which = np.unique(np.isfinite(x), axis=0, return_inverse=True)
    parts = []
    for i, columns in enumerate(known):
        rows = np.flatnonzero(which == i)
        if columns.any():
            parts.append(correlate(x[np.ix_(rows, columns)], y[columns]).set_index(rows).assign(n=int(columns.sum())))
    return pd.concat(parts)


def write_correlations(downstream: str | Path, robustness: str | Path, output: str | Path) -> None:
    """Write `correlations` of a run."""
    write_table(correlations(read_downstream(downstream), read_scores(robustness)), output, HEAD)
