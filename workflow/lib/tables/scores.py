"""Scores of all kinds in one form, higher = better, and as columns beside the checkpoints that they are of."""

from pathlib import Path

import numpy as np
import pandas as pd

from workflow.lib.job.run import UserError
from workflow.lib.tables.read import RUN, line, read_raw, read_robustness, refuse_conflicts, settle
from workflow.lib.tables.settings import CHOICES, ROBUSTNESS, setting_names

CHECKPOINT = ["dataset", *RUN, "epochs"]
KEY = [*CHECKPOINT, "score", "setting"]
ORDER = ["dataset", *RUN, "score", *CHOICES, "epochs"]  # of rows
RENAMED = {"pretraining_scheme": "scheme", "pretraining_length": "epochs", "pretraining_seed": "pretrain_seed"}
COLUMNS = ["dataset", "score", *CHOICES, "better", "encoder", *RENAMED, "value", "ci_low", "ci_high"]
HERE = ["imagenet_accuracy", "epochs", "random"]  # scores of that table that are known from the results, exactly


def read_scores(robustness: str | Path, transferability: str | Path | None = None) -> pd.DataFrame:
    """Scores of checkpoints (length > 0): `KEY`, `CHOICES`, value, low, high (its interval, nan: none), HIGHER = better.

    From transferability_scores.csv, where the run has one; the score `robustness` from the robustness scores unless it
    stands there too. Left out are undefined values and the baselines `HERE`. Raises `UserError` for missing columns, a
    direction other than higher or lower, and rows that conflict.
    """
    table = pd.DataFrame(columns=[*KEY, *CHOICES, "value", "low", "high"])
    if transferability:
        table = _transferability(transferability)
    if not (table["score"] == ROBUSTNESS).any():
        scores = turned(read_robustness(robustness))
        table = pd.concat([table, scores]) if len(table) else scores
    return table[table["epochs"] > 0].sort_values(ORDER, ignore_index=True)


def turned(scores: pd.DataFrame) -> pd.DataFrame:
    """Robustness scores, as of `read_robustness`, in the form of `read_scores`."""
    scores = scores.assign(sample=None, value=-scores["score"], score=ROBUSTNESS, low=np.nan, high=np.nan)
    return scores.assign(setting=setting_names(scores))[[*KEY, *CHOICES, "value", "low", "high"]]


def _transferability(path: str | Path) -> pd.DataFrame:
    raw = read_raw(path, COLUMNS)
    raw = raw[~raw["score"].isin(HERE)]
    raw = raw[pd.to_numeric(raw["value"], errors="coerce").notna() & (raw["pretraining_length"] > 0)]
    strange = raw[~raw["better"].isin(["higher", "lower"])]
    if len(strange):
        raise UserError(
            "unknown direction of a score",
            found=f"{strange['better'].iloc[0]} (line {line(strange.index[0])})",
            expected="higher or lower",
            where=path,
            next="correct the column `better`, then run again",
        )
    table = settle(raw.rename(columns=RENAMED).drop(columns=["score", *CHOICES])).assign(**raw[["score", *CHOICES]])
    table["setting"] = setting_names(table)
    refuse_conflicts(table, KEY, path)
    numbers = table[["value", "ci_low", "ci_high"]].astype(float).to_numpy()
    higher = (raw["better"] == "higher").to_numpy()[:, None]
    table[["value", "low", "high"]] = np.where(higher, numbers, -numbers[:, [0, 2, 1]])
    return table[[*KEY, *CHOICES, "value", "low", "high"]]


def from_deepest(scores: pd.DataFrame) -> pd.DataFrame:
    """The scores with their levels, and the names of their settings, counted from the deepest of the score and encoder, so that
    settings of encoders of unlike depth are alike."""
    level = scores.groupby(["score", "encoder"])["level"].transform("max") - scores["level"]
    counted = scores.assign(level=level)
    return counted.assign(setting=setting_names(counted, deepest=True))


def columns_of(
    scores: pd.DataFrame, means: pd.DataFrame, column: str = "value"
) -> tuple[list[tuple[str, str]], np.ndarray]:
    """Score and setting of every column, in the order in which they first are in `scores`, and the values (checkpoints,
    columns), nan where unknown; checkpoints in the order of `means` (`summarise`)."""
    names = list(scores[["score", "setting"]].drop_duplicates().itertuples(index=False, name=None))
    wide = scores.pivot(index=CHECKPOINT, columns=["score", "setting"], values=column)[names]
    return names, wide.reindex(pd.MultiIndex.from_frame(means[CHECKPOINT])).to_numpy(float)
