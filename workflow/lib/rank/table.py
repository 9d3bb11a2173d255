"""The score files of all candidates of a target, as arrays and tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workflow.lib.job.csv import read_table
from workflow.lib.job.run import UserError, read_json
from workflow.lib.rank.candidates import PROBE, ROBUSTNESS
from workflow.lib.study.checkpoints import Checkpoint
from workflow.lib.tables.settings import DECLARED

KEY = list(Checkpoint._fields)


@dataclass(frozen=True)
class Scored:
    """What is known of k candidates on one target.

    values: for each score that ranks, (k, n) means of n groups as they are, nan rows where a candidate has none.
    missing: for each such score, the reason of the first candidate without values. summaries: (k rows) one number of every
    other score, nan where there is none. seconds (k,): of the whole score job. inputs, warnings (k): in words; inputs: what
    the network sees. licences (k): as timm states them, None where it does not.
    """

    candidates: list[Checkpoint]
    groups: dict[str, int]
    values: dict[str, np.ndarray]
    missing: dict[str, str]
    better: dict[str, str]
    summaries: pd.DataFrame
    seconds: np.ndarray
    inputs: list[str]
    licences: list[str | None]
    warnings: list[str]


def read_scored(
    candidates: Sequence[Checkpoint], scores: Sequence[str | Path], by_group: Sequence[str | Path]
) -> Scored:
    """Read the candidates' rows in the `scores` files, and their values of groups (`by_group`, JSON), of each pretraining.

    Raises `UserError` where a candidate was not scored, or the candidates were not scored on the same images.
    """
    table = pd.concat([read_table(path) for path in scores]).set_index(KEY)
    known = {name: (path, found) for path in by_group for name, found in read_json(path).items()}
    lost = [c.path for c in candidates if c.path not in known or tuple(c) not in table.index]
    if lost:
        raise UserError(
            "candidates have no scores",
            found=f"none of {', '.join(lost)}",
            expected=f"rows of all {len(candidates)} candidates",
            where=", ".join(map(str, scores)),
            next="rm these files, then run the same command again: they will be made again",
        )
    rows = [table.loc[[tuple(c)]] for c in candidates]
    facts = [known[c.path][1] for c in candidates]
    groups: dict[str, int] = facts[0]["groups"]
    for path, found in (known[c.path] for c in candidates):
        if found["groups"] != groups:
            raise UserError(
                "candidates were scored on other images",
                found=f"{len(found['groups'])} groups, {sum(found['groups'].values())} images",
                expected=f"the {len(groups)} groups and {sum(groups.values())} images of {candidates[0].path}",
                where=path,
                next=f"rm '{path}', then run the same command again: it will be made again",
            )
    names = [name for name in (PROBE, ROBUSTNESS) if any(name in {**f["values"], **f["missing"]} for f in facts)]
    better = dict(zip(table["score"], table["better"], strict=True))
    return Scored(
        candidates=list(candidates),
        groups=groups,
        values={name: np.array([_values(found, name, groups) for found in facts]) for name in names},
        missing={name: next((f["missing"][name] for f in facts if name in f["missing"]), "") for name in names},
        better=better,
        summaries=pd.DataFrame([_summary(found) for found in rows]),
        seconds=np.array([found["seconds"] for found in facts]),
        inputs=[found["inputs"] for found in facts],
        licences=[found.get("licence") for found in facts],
        warnings=[_warnings(found) for found in rows],
    )


def _values(facts: dict[str, Any], name: str, groups: dict[str, int]) -> list[float]:
    found = facts["values"].get(name, {})
    return [found.get(group, np.nan) for group in groups]


def _summary(table: pd.DataFrame) -> dict[str, float]:
    """One number of every score: of label scores the mean over the levels, balanced sample; of the robustness scores the
    deepest level in the setting `DECLARED`."""
    chosen = table[table["sample"].isna() | (table["sample"] == "balanced")]
    robust = chosen["metric"].notna()
    setting = pd.concat([chosen[choice] == value for choice, value in DECLARED.items()], axis=1).all(axis=1)
    chosen = chosen[~robust | (setting & (chosen["level"] == chosen["level"].max()))]
    return chosen.groupby("score", sort=False)["value"].mean().to_dict()


def _warnings(table: pd.DataFrame) -> str:
    """Every warning once, with the scores that it is about."""
    found = table.dropna(subset="warning").drop_duplicates(["score", "warning"])
    said = found.groupby("warning", sort=False)["score"].agg(", ".join)
    return "; ".join(f"{scores}: {warning}" for warning, scores in said.items())
