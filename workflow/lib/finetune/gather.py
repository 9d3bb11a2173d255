"""The tables of a run, in the column names of the study's release."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from workflow.lib.data.table import read_table
from workflow.lib.finetune.patients import patients_dice, patients_of
from workflow.lib.grid import RANDOM
from workflow.lib.run import UserError, atomic_path, read_json
from workflow.lib.stats.correlation import setting_name

METRICS = [
    "accuracy",
    "balanced accuracy",
    "sensitivity",
    "specificity",
    "precision",
    "dice index",
    "jaccard index",
    "mcc",
    "modified hausdorff distance",
    "area under roc",
    "average precision score",
    "mean dice index",
    "mean jaccard index",
    "hausdorff distance 95",
]


def downstream_row(card: dict[str, Any], networks: dict[str, str], schemes: dict[str, list[str]]) -> dict[str, Any]:
    """One row of downstream_scores.csv from a fine-tuning's card.

    networks and schemes: the name in tables and the schemes of each encoder; length 0 has the first scheme, as released.
    """
    names = card["names"]
    random = names["scheme"] == RANDOM
    return {
        "model": networks[names["encoder"]],
        "dataset": names["target"],
        "pretraining length": int(names["epochs"]),
        "ImageNet accuracy": card["pretraining"]["accuracy"],
        "freeze encoder": names["freeze"] == "frozen",
        "pretraining scheme": schemes[names["encoder"]][0] if random else names["scheme"],
        "seed": int(names["seed"]),
        **{metric: card["metrics"].get(metric) for metric in METRICS},
        "encoder": names["encoder"],
        # Random weights belong to no pretraining run.
        "pretraining seed": None if random else int(names["pretrain_seed"]),
    }


# Names in both tables of scores, as in the study's release.
NAMES = {
    "target": "dataset",
    "encoder": "encoder",
    "scheme": "pretraining_scheme",
    "epochs": "pretraining_length",
    "pretrain_seed": "pretraining_seed",
}
NUMBERS = ["ci_low", "ci_high", "draws", "warning"]


def robustness_table(scores: pd.DataFrame, schemes: dict[str, list[str]], score: str) -> pd.DataFrame:
    """robustness_scores.csv from the rows of all score files; `score` names the one that stands in it. Length 0: see
    `with_random_means`."""
    rows = scores[scores["score"] == score].astype({"level": int})
    table = with_random_means(rows, ["metric", "margin", "pooled", "level"], schemes)
    order = ["dataset", "metric", "margin", "encoder", "pretraining_scheme", "pooled", "level", "pretraining_length"]
    return table.rename(columns={"value": "robustness"})[[*order, "robustness", "pretraining_seed", *NUMBERS]]


def transferability_table(scores: pd.DataFrame, schemes: dict[str, list[str]]) -> pd.DataFrame:
    """transferability_scores.csv: a row for every checkpoint, score and setting (its free choices, in words). Length 0: see
    `with_random_means`."""
    rows = scores.assign(setting=_settings(scores))
    table = with_random_means(rows, ["score", "setting", "better"], schemes, ["seconds"])
    order = ["dataset", "score", "setting", "better", "encoder", "pretraining_scheme", "pretraining_length"]
    return table[[*order, "pretraining_seed", "value", *NUMBERS, "seconds"]]


def with_random_means(
    rows: pd.DataFrame, choices: list[str], schemes: dict[str, list[str]], means: Iterable[str] = ()
) -> pd.DataFrame:
    """Rows of score files under the released names. Length 0 is the mean over its random encoders, given for each of the
    encoder's `schemes`, and without an interval: that would be one over jitter or pixels alone."""
    keys = ["target", "encoder", "epochs", *choices, "draws", "warning"]
    is_random = rows["scheme"] == RANDOM
    random = rows[is_random].groupby(keys, as_index=False, sort=False, dropna=False)[["value", *means]].mean()
    random = random.assign(scheme=random["encoder"].map(schemes)).explode("scheme")
    table = pd.concat([rows[~is_random], random], ignore_index=True).rename(columns=NAMES)
    return table.astype({"pretraining_seed": "Int64"})


def _settings(scores: pd.DataFrame) -> list[str]:
    free = scores[["metric", "margin", "pooled", "sample", "level"]].itertuples(index=False, name=None)
    return [
        setting_name(metric, margin, pooled == True, int(level))  # noqa: E712  (read as text or bool)
        if isinstance(metric, str) and metric
        else "|".join([str(sample)] * isinstance(sample, str) + [f"level={level:.0f}"] * pd.notna(level))
        for metric, margin, pooled, sample, level in free
    ]


def read_scores(paths: Iterable[str]) -> pd.DataFrame:
    """The rows of all score files. Raises `UserError` for a file that is damaged, or has fewer rows than another one of the
    same encoder and target: every checkpoint is scored in the same settings."""
    tables = {path: read_table(path) for path in paths}
    fullest: dict[tuple[str, ...], str] = {}
    for path, table in tables.items():
        other = fullest.setdefault(_scored(table, path), path)
        if len(table) > len(tables[other]):
            fullest[_scored(table, path)] = path
    for path, table in tables.items():
        other = fullest[_scored(table, path)]
        if len(table) < len(tables[other]):
            raise _incomplete(path, f"{len(table)} rows", f"{len(tables[other])} rows, as in {other}")
    return pd.concat(tables.values(), ignore_index=True)


def _scored(table: pd.DataFrame, path: str) -> tuple[str, ...]:
    """Target and encoder of a score file."""
    keys = ["target", "encoder"]
    if absent := [key for key in keys if key not in table]:
        raise _incomplete(path, f"columns {', '.join(table)}", f"a column {absent[0]}")
    return tuple(str(table[key].iloc[0]) for key in keys)


def _incomplete(path: str, found: str, expected: str) -> UserError:
    advice = f"rm '{path}', then run the same command again: it will be made anew"
    return UserError("incomplete score file", found=found, expected=expected, where=path, next=advice)


def patients_table(rows: pd.DataFrame, cards: Iterable[str], items: dict[str, str | Path]) -> pd.DataFrame:
    """patient_scores.csv.gz: Dice of every test patient after every fine-tuning. rows: of downstream_scores.csv, in the order of
    `cards`, beside which the tables of cases lie; items: items.csv of each prepared target."""
    patients = {target: patients_of(path) for target, path in items.items()}
    keys = rows.drop(columns=METRICS).to_dict("records")
    tables = []
    for key, card in zip(keys, cards, strict=True):
        dice = patients_dice([Path(card).with_name("cases.csv")], patients[key["dataset"]])
        tables.append(pd.DataFrame({**key, "patient": dice.index, "dice index": dice.to_numpy()}))
    return pd.concat(tables, ignore_index=True).astype({"pretraining seed": "Int64"})


def gather_tables(
    *,
    cards: Iterable[str],
    scores: Iterable[str],
    items: dict[str, str | Path],
    downstream: Path,
    robustness: Path,
    transferability: Path,
    patients: Path,
    schemes: dict[str, list[str]],
    networks: dict[str, str],
    score: str,
) -> None:
    """Write the four tables from the cards of all fine-tunings and the files of all scores; items: see `patients_table`.
    Raises as `read_scores`."""
    cards = list(cards)
    table = pd.DataFrame([downstream_row(read_json(card), networks, schemes) for card in cards])
    table = table.astype({"pretraining seed": "Int64"})
    rows = read_scores(scores)
    frames = {downstream: table, robustness: robustness_table(rows, schemes, score)}
    frames[transferability] = transferability_table(rows, schemes)
    frames[patients] = patients_table(table, cards, items)
    for path, frame in frames.items():
        with atomic_path(path) as temporary:
            frame.to_csv(temporary, index=False)
