"""Stopping rules applied to finished curves: what they would have saved, and what they would have lost."""

from pathlib import Path

import numpy as np
import pandas as pd

from workflow.lib.curves.summary import summarise
from workflow.lib.evidence.patients import PATIENTS
from workflow.lib.evidence.verdicts import MARGIN
from workflow.lib.selection.choice import Choices, choose_highest, join
from workflow.lib.selection.elsewhere import mean_regret
from workflow.lib.selection.goal import GOAL, contest
from workflow.lib.selection.names import FIXED, NEVER, THRIFTY
from workflow.lib.selection.selection import by_other_data_sets
from workflow.lib.selection.stopping_rules import CAPS, rules, thrift, walk
from workflow.lib.tables.headed import write_table
from workflow.lib.tables.patients import Patients, read_patients
from workflow.lib.tables.read import CURVE, read_downstream
from workflow.lib.tables.scores import read_scores

POOL = "within_run"
COLUMNS = [
    "rule",
    "budget",
    "parameters",
    *CURVE,
    "epochs_trained",
    "kept_epochs",
    "epochs_saved",
    "dice",
    "diff_to_last",
]
COLUMNS += ["regret", "note"]
SUMMARY = [
    "rule",
    "budget",
    "dataset",
    "k",
    "diff_to_last",
    "diff_low",
    "diff_high",
    "patients_low",
    "patients_high",
    "epochs_saved",
    "epochs_saved_low",
]
SUMMARY += ["epochs_saved_high", "epochs_trained", "kept_epochs", "to_fixed", "to_fixed_low", "to_fixed_high"]
SUMMARY += ["to_fixed_kept", "to_fixed_kept_low", "to_fixed_kept_high", "worst", "goal", "goal_kept", "note"]
SNAPSHOTS = """\
A snapshot of a long schedule is not a completed short one: below the last length the learning rate has not decayed. A
pretraining stopped by a rule would have to be finished (cooled down) from the chosen epoch; what that gives is not here.
`snakemake stopped` with stopping: {cool_down: n} does it, of encoders that are pretrained here (docs/stopping.md)."""
HEAD = f"""\
Stopping rules replayed on finished curves: a rule walks through the checkpoints of one pretraining run in order, sees the
scores so far, says stop (epochs_trained) and keeps a checkpoint (kept_epochs). Dice: mean over fine-tuning seeds, 0..1.
Rules: never (the last checkpoint is kept); fixed L (length L: the line to beat); fraction of the schedule; accuracy plateau
(first checkpoint whose relative gain of ImageNet accuracy over the one before is below a limit); patience, SCORE (that many
checkpoints in a row did not exceed the best so far by more than the tolerance: 0, or the best's own interval where the
scores have one; the best or the current is kept); first turn for the worse, SCORE (the first local optimum is kept).
parameters are chosen on the OTHER data sets with the same encoder, so that the data set of a row is untouched; all data sets
share the pretraining runs. budget whole: those of lowest mean regret; half: likewise, but training ends at half of the
schedule at the latest; thrifty: those that train fewest epochs of all that lose no more than {MARGIN} on those data sets.
A rule sees the kept checkpoints only: at other epochs it might stop earlier or later.
{SNAPSHOTS}"""
HEAD_SUMMARY = f"""\
Means of replay.csv (rules: see there) over the data sets, networks and fine-tuning modes of each pretraining run, then over the k
runs, with 95 % t intervals over runs (the two schemes of an encoder are not independent); dataset all, and each alone.
epochs_saved: last minus epochs_trained, with its interval; kept_epochs: the checkpoint kept, which may be an earlier one.
worst: lowest diff_to_last of a single cell. {GOAL}
{PATIENTS}
Not covered by any interval: other pretraining runs of a recipe, further test sets.
{SNAPSHOTS}"""


def replay(results: pd.DataFrame, scores: pd.DataFrame) -> Choices:
    """Every rule, its parameters chosen on the other data sets, in every cell; with one data set the rules without any."""
    means = summarise(results)
    named = rules(means, scores)
    parts = []
    for budget, cap in CAPS.items():
        kept, stopped = walk(means, named, cap)
        names = list(named)
        chosen = choose_highest(results, means, kept, names, POOL)
        trained = choose_highest(results, means, stopped, names, POOL).frame["chosen_epochs"]
        chosen.frame["epochs_trained"] = trained
        simple = chosen.frame["selector"].str.startswith(FIXED) | (chosen.frame["selector"] == NEVER)
        if budget == "whole":
            parts.append(chosen.take(np.flatnonzero(simple), budget=budget))
        for family in dict.fromkeys(family for family, _ in names if family != NEVER):
            for name, cost in [(budget, mean_regret)] + [(THRIFTY, thrift)] * (budget == "whole"):
                picked = by_other_data_sets(chosen, ["encoder"], family, family, cost)
                parts.append(picked.take(np.arange(len(picked.frame)), budget=name))
    return with_shares(join(parts))


def with_shares(chosen: Choices) -> Choices:
    """With share_trained and share_kept, of the last length; epochs_trained of a fixed length is that length."""
    frame = chosen.frame
    fixed = frame["selector"].str.startswith(FIXED)
    last = frame["chosen_epochs"] + frame["epochs_saved"]
    trained = frame["chosen_epochs"].where(fixed, frame["epochs_trained"])
    shares = {"share_trained": trained / last, "share_kept": frame["chosen_epochs"] / last}
    return Choices(frame.assign(epochs_trained=trained, last_epochs=last, **shares), chosen.gain, chosen.means)


def replay_table(chosen: Choices) -> pd.DataFrame:
    """`COLUMNS`, a row per rule, budget and cell."""
    frame = chosen.frame.rename(columns={"selector": "rule", "setting": "parameters", "chosen_epochs": "kept_epochs"})
    return frame.assign(epochs_saved=frame["last_epochs"] - frame["epochs_trained"])[COLUMNS]


def replay_summary(chosen: Choices, patients: Patients | None = None) -> pd.DataFrame:
    """`SUMMARY`, a row per rule, budget and data set. patients: as of `read_patients`, where they are known."""
    frame = chosen.frame.assign(setting=chosen.frame["budget"])
    frame["epochs_saved"] = frame["last_epochs"] - frame["epochs_trained"]
    rows = Choices(frame, chosen.gain, chosen.means)
    fixed = rows.take(np.flatnonzero(frame["selector"].str.startswith(FIXED)))
    table = contest(rows, fixed, {}, intervals=["epochs_saved"], patients=patients)
    line = table["selector"].str.startswith(FIXED) | (table["selector"] == NEVER)
    table[["goal", "goal_kept"]] = table[["goal", "goal_kept"]].mask(line, "")
    names = {"selector": "rule", "setting": "budget", "chosen_epochs": "kept_epochs"}
    return table.rename(columns=names)[SUMMARY]


def write_replay(
    downstream: str | Path,
    robustness: str | Path,
    transferability: str | Path | None,
    patients: str | Path | None,
    output: str | Path,
    means: str | Path,
) -> None:
    """Write `replay_table` of a run to `output` and `replay_summary` to `means`."""
    results = read_downstream(downstream)
    chosen = replay(results, read_scores(robustness, transferability))
    known = read_patients(patients, results) if patients else None
    write_table(replay_table(chosen), output, HEAD)
    write_table(replay_summary(chosen, known), means, HEAD_SUMMARY)
