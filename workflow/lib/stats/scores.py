"""Scores of all kinds in one form, higher = better, and as columns beside the checkpoints that they are of."""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from workflow.lib.run import UserError
from workflow.lib.stats.choice import SCORE
from workflow.lib.stats.correlation import setting_name
from workflow.lib.stats.tidy import RUN, SETTING, line, read_raw, read_robustness, refuse_conflicts, settle

KEY = ["dataset", *RUN, "epochs", "score", "setting"]
RENAMED = {"pretraining_scheme": "scheme", "pretraining_length": "epochs", "pretraining_seed": "pretrain_seed"}
COLUMNS = ["dataset", "score", "setting", "better", "encoder", *RENAMED, "value", "ci_low", "ci_high"]
HERE = ["imagenet_accuracy", "epochs", "random"]  # scores of that table that are known from the results, exactly
NULLS = ["parameters", "feature_dimension"]  # properties of the network, not of the checkpoint
LEVEL = re.compile(r"\blevel[ =](\d+)")


def read_scores(robustness: str | Path, transferability: str | Path | None = None) -> pd.DataFrame:
    """Scores of checkpoints (length > 0): `KEY`, value, low, high (its interval, nan where there is none), HIGHER = better.

    From transferability_scores.csv, where the run has one; the score `robustness` from the robustness scores unless it
    stands there too. Left out are undefined values and the baselines `HERE`. Raises `UserError` for missing columns, a
    direction other than higher or lower, and rows that conflict.
    """
    table = pd.DataFrame(columns=[*KEY, "value", "low", "high"])
    if transferability:
        table = _transferability(transferability)
    if not (table["score"] == SCORE).any():
        scores = read_robustness(robustness)
        settings = [setting_name(*setting) for setting in scores[SETTING].itertuples(index=False, name=None)]
        scores = scores.assign(setting=settings, value=-scores["score"], score=SCORE, low=np.nan, high=np.nan)
        table = pd.concat([table, scores[table.columns]]) if len(table) else scores[table.columns]
    return table[table["epochs"] > 0].sort_values(KEY, ignore_index=True)


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
            next="mend the column `better`, then run again",
        )
    table = settle(raw.rename(columns=RENAMED).drop(columns=["score"])).assign(score=raw["score"])
    table["setting"] = raw["setting"].fillna("").astype(str)
    refuse_conflicts(table, KEY, path)
    numbers = table[["value", "ci_low", "ci_high"]].astype(float).to_numpy()
    turned = -numbers[:, [0, 2, 1]]
    higher = (raw["better"] == "higher").to_numpy()[:, None]
    table[["value", "low", "high"]] = np.where(higher, numbers, turned)
    return table[[*KEY, "value", "low", "high"]]


def count_from_deepest(scores: pd.DataFrame) -> pd.DataFrame:
    """The scores with `level N` or `level=N` in a setting counted from the deepest level (`from_deepest=0`) of the score and
    encoder, so that settings of encoders of unlike depth are alike."""
    named = scores[["score", "encoder", "setting"]].drop_duplicates()
    level = named["setting"].str.extract(LEVEL)[0].astype(float)
    counted = (level.groupby([named["score"], named["encoder"]]).transform("max") - level).tolist()
    words = [
        text if np.isnan(count) else LEVEL.sub(f"from_deepest={count:.0f}", text)
        for text, count in zip(named["setting"], counted, strict=True)
    ]
    keys = ["score", "encoder", "setting"]
    return scores.merge(named.assign(words=words), on=keys).drop(columns="setting").rename(columns={"words": "setting"})


def columns_of(
    scores: pd.DataFrame, means: pd.DataFrame, column: str = "value"
) -> tuple[list[tuple[str, str]], np.ndarray]:
    """Score and setting of every column, and the values (checkpoints, columns), nan where unknown; checkpoints in the order of
    `means` (`summarise`)."""
    wide = scores.pivot(index=["dataset", *RUN, "epochs"], columns=["score", "setting"], values=column)
    values = wide.reindex(pd.MultiIndex.from_frame(means[["dataset", *RUN, "epochs"]])).to_numpy(float)
    return list(wide.columns), values
