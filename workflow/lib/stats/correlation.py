"""How well does a number known before fine-tuning rank the checkpoints by the Dice they reach?"""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import rankdata, weightedtau

from workflow.lib.stats.summary import summarise, write_table
from workflow.lib.stats.tidy import CURVE, RUN, SETTING, read_downstream, read_robustness

COEFFICIENTS = ["pearson", "spearman", "kendall_weighted", "constant"]
COLUMNS = ["predictor", "setting", *SETTING, "pool", "lengths", *CURVE, "n", *COEFFICIENTS]


def setting_name(metric: str, margin: float, pooled: bool, level: int) -> str:
    """One setting of the robustness score in a word, e.g. `cosine_distance|m=0.5|pooled|level=5`."""
    return f"{metric}|m={margin:g}|{'pooled' if pooled else 'unpooled'}|level={level}"


def pearson(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson correlation of each row of x (k, n) with y (n,), as (k,); 0 where either has no spread."""
    x, y = x - x.mean(axis=1, keepdims=True), y - y.mean()
    scale = np.sqrt((x**2).sum(axis=1) * (y**2).sum())
    return np.divide(x @ y, scale, out=np.zeros(len(x)), where=scale > 0).clip(-1, 1)


def correlate(x: np.ndarray, y: np.ndarray) -> pd.DataFrame:
    """Coefficients (`COEFFICIENTS`) of each row of x (k, n), higher = predicted better, with Dice y (n,).

    All are 0, and constant is True, where a row (or Dice) does not vary. The weighted Kendall is SciPy's `weightedtau`:
    exchanges among the best checkpoints count most.
    """
    constant = (np.ptp(x, axis=1) == 0) | (np.ptp(y) == 0)
    table = {
        "pearson": pearson(x, y),
        "spearman": pearson(rankdata(x, axis=1), rankdata(y)),
        "kendall_weighted": [0.0 if constant[i] else weightedtau(row, y).statistic for i, row in enumerate(x)],
        "constant": constant,
    }
    frame = pd.DataFrame(table)
    frame.loc[constant, COEFFICIENTS[:3]] = 0.0
    return frame


def score_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Robustness scores with one row per checkpoint (index dataset, `RUN`, epochs) and one column per setting."""
    return scores.pivot(index=["dataset", *RUN, "epochs"], columns=SETTING, values="score")


def correlations(results: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Coefficients of every predictor with mean Dice over checkpoints of length > 0 (`COLUMNS`).

    Predictors: imagenet_accuracy, epochs, and robustness (sign turned: the lowest score predicts the best) in every
    setting. Pools: within_run (the lengths of one curve) and all (every network, scheme and length of a target and
    freezing; model and scheme read `all`). n counts the checkpoints that have both numbers; groups without any are left out.
    """
    table = summarise(results[results["epochs"] > 0])
    wide = score_table(scores)
    robust = -wide.reindex(pd.MultiIndex.from_frame(table[["dataset", *RUN, "epochs"]])).to_numpy()
    simple = pd.DataFrame({"predictor": ["imagenet_accuracy", "epochs"], "setting": ""})
    settings = pd.DataFrame(list(wide.columns), columns=SETTING)
    settings["setting"] = [setting_name(*row) for row in settings.itertuples(index=False)]
    predictors = pd.concat([simple, settings.assign(predictor="robustness")], ignore_index=True)
    values = np.column_stack([table["accuracy"], table["epochs"], robust]).T
    everything = {"model": "all", "encoder": "all", "scheme": "all", "pretrain_seed": None}
    parts = []
    for pool, by in (("within_run", CURVE), ("all", ["dataset", "freeze"])):
        for key, rows in table.groupby(by).indices.items():
            labels = everything | dict(zip(by, key, strict=True)) | {"pool": pool, "lengths": ">0"}
            part = _by_pattern(values[:, rows], table["dice_mean"].to_numpy()[rows])
            parts.append(predictors.join(part, how="inner").assign(**labels))
    frame = pd.concat(parts, ignore_index=True)
    frame["pretrain_seed"] = frame["pretrain_seed"].astype("Int64")
    return frame[COLUMNS]


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
    write_table(correlations(read_downstream(downstream), read_robustness(robustness)), output)
