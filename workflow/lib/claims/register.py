"""The register of claims, declared before anything is computed: what is said, by whom, which number decides, by which rule."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from workflow.lib.evidence import verdicts
from workflow.lib.evidence.verdicts import Rule
from workflow.lib.tables.read import RUN

OTHER_MARGINS = (0.0025, 0.01)  # D, in Dice, beside `MARGIN`
LENGTHS = (100, 150, 200, 250)  # of C11
NETWORKS = {"Swin": "swin", "ResNet50": "resnet50", "basic U-Net": "unet"}  # name in the claims: encoder
SHORT = {"C4R": "ResNet50", "C4S": "Swin", "C4b": "basic U-Net"}

BEFORE = """Every claim of the register with its estimate, 95 % interval and verdict. Unit: Dice 0..1, or rank correlation.
CAUTION: the released data had been seen when the margins (D = 0.005 Dice; Spearman 0.5) were fixed. They are not
pre-registered: every verdict is also shown at D = 0.0025 and 0.01. C9 is the primary claim; C3 was asked post hoc."""
RELEASED = """\
SCOPE of every interval: the released data hold 54 checkpoints from ONE pretraining run per encoder and scheme: six runs, and
the two schemes of an encoder are not independent (effective k between 3 and 6). The test sets are fixed and without values
per case: the sampling of patients is in no interval. The released Dice may be that of the best epoch on the test set."""
AFTER = """\
Lengths below the last are un-annealed snapshots of one schedule: nothing here describes a completed shorter pretraining.
The last length is {last}. A run's mean weighs its targets and fine-tuning modes alike.
Interval over runs: t over one mean per pretraining run (k in the note). At six runs it covers 95 % if the runs are independent,
89 % if the two schemes of an encoder correlate by 0.5, 75 % if they are as one. So the note adds the interval over encoders,
and verdict_encoders is the verdict by it (at D = 0.005).
Interval "seeds only": other fine-tuning seeds of the same checkpoints, from the cells' pooled SD; other runs are not in it.
Spearman takes Dice as the mean over the seeds there are: their noise pulls it towards 0.
p_value: two-sided t test of the value that the rule tests first: 0; 0.5 in C4; -0.005 in C10a and C11. C1: Holm p of the
cell that would make half. C5, C8: permutations of whole runs, one-sided. Not corrected for the number of claims.
Superiority: supported if low > 0 and estimate >= D; contradicted if high < D. "No more than D": supported if low > -D;
contradicted if high < -D. Poor guide: supported if high < 0.5; contradicted if low > 0.5. C6, C7: supported if low > 0;
contradicted: C6 if estimate <= 0 and high < 0.5, C7 if high < 0. C8: supported if p <= 0.05, never contradicted. C1: supported
if at least half of the cells are significant, contradicted if a gain of D is excluded in at least half. C13: all pairs > 0.5,
all pairs < 0.5. Else inconclusive. Fewer than three pretraining runs: no verdict, but for "seeds only"."""


@dataclass(frozen=True)
class Claim:
    """A row of the register. rule: None, and `needed` says what it would take, where the study's release can't decide it."""

    claim_id: str
    source: str
    claim: str
    estimand: str
    scope: str
    rule: Rule | None
    needed: str


def read_register(path: str | Path) -> list[Claim]:
    """The register, workflow/registry/claims.tsv; its rules are functions of `verdicts`."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    rules = [getattr(verdicts, name) if (name := row.pop("rule")) else None for row in rows]
    return [Claim(**row, rule=rule) for row, rule in zip(rows, rules, strict=True)]


def head(results: pd.DataFrame, released: bool) -> str:
    """What is said above the table: of the study's release as declared, of another run with its own numbers."""
    trained = results[results["epochs"] > 0]
    last = f"{trained['epochs'].max()} epochs" if len(trained) else "0 epochs"
    if released:
        return "\n".join([BEFORE, RELEASED, AFTER.format(last=f"{last} in the released data")])
    runs, checkpoints = (len(trained[columns].drop_duplicates()) for columns in (RUN, [*RUN, "epochs"]))
    held = f"{_counted(checkpoints, 'trained checkpoint')} of {_counted(runs, 'pretraining run')}"
    scope = f"""\
SCOPE of every interval: this run holds {held} ({_names(trained, "encoder")};
{_names(trained, "scheme")}), fine-tuned on {_names(results, "dataset")}.
Pretraining runs of one encoder are not independent. The test sets are fixed: the sampling of patients is in no interval.
Claims of which these tables hold no number are not listed. How other scores rank, and intervals over patients, where they are
known: score_selection_summary.csv."""
    return "\n".join([BEFORE, scope, AFTER.format(last=last)])


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _names(frame: pd.DataFrame, column: str) -> str:
    names: Sequence[str] = sorted(map(str, frame[column].unique()))
    noun = {"dataset": "target"}.get(column, column)
    return f"{_counted(len(names), noun)}: {', '.join(names)}"
