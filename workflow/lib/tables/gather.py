"""The tables of a run, in the column names of the study's release."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from workflow.lib.job.csv import read_table
from workflow.lib.job.run import UserError, atomic_path, read_json
from workflow.lib.study.checkpoints import RANDOM
from workflow.lib.tables.patients import patients_dice, patients_of, read_cases
from workflow.lib.tables.read import SETTING
from workflow.lib.tables.settings import CHOICES

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
    """One row of downstream_scores.csv from the card of one fine-tuning.

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
    """robustness_scores.csv from the rows of all score files; `score` names the one in it. Length 0: see
    `with_random_means`."""
    rows = scores[scores["score"] == score].astype({"level": int})
    table = with_random_means(rows, SETTING, schemes)
    order = ["dataset", "metric", "margin", "encoder", "pretraining_scheme", "pooled", "level", "pretraining_length"]
    return table.rename(columns={"value": "robustness"})[[*order, "robustness", "pretraining_seed", *NUMBERS]]


def transferability_table(scores: pd.DataFrame, schemes: dict[str, list[str]]) -> pd.DataFrame:
    """transferability_scores.csv: a row for every checkpoint, score and setting (its free choices). Length 0: see
    `with_random_means`."""
    table = with_random_means(scores, ["score", *CHOICES, "better"], schemes, ["seconds"])
    order = ["dataset", "score", *CHOICES, "better", "encoder", "pretraining_scheme", "pretraining_length"]
    return table[[*order, "pretraining_seed", "value", *NUMBERS, "seconds"]]


def with_random_means(
    rows: pd.DataFrame, choices: list[str], schemes: dict[str, list[str]], means: Iterable[str] = ()
) -> pd.DataFrame:
    """Rows of score files under the released names. Length 0 is the mean over its random encoders, given for each of the
    encoder's `schemes`, and without an interval: that would be one over jitter or pixels alone."""
    keys = ["target", "encoder", "epochs", *choices, "draws"]
    is_random = rows["scheme"] == RANDOM
    cells = rows[is_random].groupby(keys, as_index=False, sort=False, dropna=False)
    random = cells.agg({name: "mean" for name in ["value", *means]} | {"warning": _each_once})
    random = random.assign(scheme=random["encoder"].map(schemes)).explode("scheme")
    table = pd.concat([rows[~is_random], random], ignore_index=True).rename(columns=NAMES)
    return table.astype({"pretraining_seed": "Int64"})


def _each_once(warnings: pd.Series) -> str | float:
    """The warnings of a cell's encoders, each once; nan where there is none."""
    return "; ".join(dict.fromkeys(warnings.dropna())) or math.nan


# Of a checkpoint on a target, in score files and cards.
KEY = ["target", "encoder", "scheme", "pretrain_seed", "epochs"]


def read_score_files(paths: Iterable[str], wanted: Iterable[tuple[str, ...]]) -> pd.DataFrame:
    """The rows of the checkpoints `wanted` (their `KEY`, as text) in all score files, which may hold more.

    Raises `UserError` for a file that is damaged, in which a checkpoint lacks, or has fewer rows than another one of the same
    encoder and target: every checkpoint is scored in the same settings.
    """
    tables = {path: _with_key(path, read_table(path)) for path in paths}
    counts = pd.concat({path: table.groupby(KEY).size() for path, table in tables.items()})
    fullest = counts.groupby(["target", "encoder"]).transform("max")
    for (path, *checkpoint), count in counts[counts < fullest].items():
        most = fullest[path, *checkpoint]
        raise _incomplete(
            path, f"{count} rows of {' '.join(checkpoint)}", f"{most} rows, as others of this encoder have"
        )
    wanted, there = set(wanted), {tuple(index[1:]) for index in counts.index}
    for lost in sorted(wanted - there):
        target, encoder, scheme, seed, _ = lost
        end = f"/{target}/{encoder}/{RANDOM if scheme == RANDOM else f'{scheme}/seed{seed}'}.csv"
        path = next((path for path in tables if path.endswith(end)), end)
        raise _incomplete(path, f"no rows of {' '.join(lost)}", "rows of every checkpoint that was fine-tuned")
    rows = pd.concat(tables.values()).set_index(KEY, drop=False)
    return rows[rows.index.isin(list(wanted))].reset_index(drop=True)


def _with_key(path: str, table: pd.DataFrame) -> pd.DataFrame:
    if absent := [key for key in KEY if key not in table]:
        raise _incomplete(path, f"columns {', '.join(table)}", f"a column {absent[0]}")
    return table.astype(dict.fromkeys(KEY, str))


def _incomplete(path: str, found: str, expected: str) -> UserError:
    advice = f"rm '{path}', then run the same command again: it will be made again"
    return UserError("incomplete score file", found=found, expected=expected, where=path, next=advice)


def patients_table(rows: pd.DataFrame, cases: Iterable[pd.DataFrame], items: dict[str, str | Path]) -> pd.DataFrame:
    """patient_scores.csv.gz: Dice of every test patient after every fine-tuning. rows: of downstream_scores.csv; cases: the table
    of cases of each; items: items.csv of each prepared target."""
    patients = {target: patients_of(path) for target, path in items.items()}
    tables = []
    for key, table in zip(rows.drop(columns=METRICS).to_dict("records"), cases, strict=True):
        dice = patients_dice(table, patients[key["dataset"]])
        tables.append(pd.DataFrame({**key, "patient": dice.index, "dice index": dice.to_numpy()}))
    return pd.concat(tables, ignore_index=True).astype({"pretraining seed": "Int64"})


def read_runs(cards: Iterable[str], seeds: Iterable[int]) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    """Card and table of cases of every fine-tuning with one of `seeds`, from the jobs' cards (and cases.csv beside them)."""
    wanted = set(seeds)
    runs: dict[tuple[str, ...], tuple[dict[str, Any], pd.DataFrame]] = {}
    for path in cards:
        table = read_cases(Path(path).with_name("cases.csv"))
        for card in read_json(path)["runs"]:
            seed = int(card["names"]["seed"])
            if seed in wanted:
                runs.setdefault(tuple(card["names"].values()), (card, table[table["seed"] == seed]))
    return list(runs.values())


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
    seeds: Iterable[int],
) -> None:
    """Write the four tables from the cards of all fine-tuning jobs (of which the grid's `seeds` count) and the files of all
    scores; items: see `patients_table`. Raises as `read_score_files`."""
    runs = read_runs(cards, seeds)
    table = pd.DataFrame([downstream_row(card, networks, schemes) for card, _ in runs])
    table = table.astype({"pretraining seed": "Int64"})
    rows = read_score_files(scores, [tuple(str(card["names"][key]) for key in KEY) for card, _ in runs])
    rows = rows.astype({"pretrain_seed": int, "epochs": int})
    frames = {downstream: table, robustness: robustness_table(rows, schemes, score)}
    frames[transferability] = transferability_table(rows, schemes)
    frames[patients] = patients_table(table, [cases for _, cases in runs], items)
    for path, frame in frames.items():
        with atomic_path(path) as temporary:
            frame.to_csv(temporary, index=False)
