"""What a run says about the claims of Dippel et al. (D1 to D6): which task, which transfer, how few patients."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from workflow.lib.claims.register import OTHER_MARGINS, read_register
from workflow.lib.evidence.crossed import crossed_mean
from workflow.lib.evidence.verdicts import FEWEST_RUNS, MARGIN, Found, untestable, verdict
from workflow.lib.study.checkpoints import BOTH, ENCODER, NONE
from workflow.lib.tables.headed import write_table
from workflow.lib.tables.transfer import ALL, read_transfer
from workflow.lib.transfer.effects import PLACE, UNITS, at_budget, contrasts, with_measures

CLASSIFICATION = "classification"
DENSE = ["segmentation", "reconstruction"]
CONREC = "contrastive_reconstruction"


COLUMNS = ["claim_id", "source", "claim", "estimand", "estimate", "ci_low", "ci_high", "verdict"]
COLUMNS += [*(f"verdict_{margin}" for margin in OTHER_MARGINS), "scope", "note"]
HEAD = f"""\
The claims of an unreviewed preprint, of which only the abstract could be read: its data sets and tables are not known here, and
the numbers that decide are ours (workflow/registry/claims_transfer.tsv). Unit: Dice 0..1, at equal images of pretraining,
encoders trainable. ci_low, ci_high: 95 % t interval over pretraining runs, fine-tuning seeds and draws of patients; targets and
tasks are fixed, and so are the test splits. Margins D = {MARGIN} and, beside it, {" and ".join(map(str, OTHER_MARGINS))}.
Superiority: supported if low > 0 and estimate >= D; contradicted if high < D. No better (D2): supported if high < D;
contradicted if low > 0 and estimate >= D. Above zero (D3): supported if low > 0; contradicted if high < 0. Else inconclusive.
Fewer than {FEWEST_RUNS} pretraining runs: no verdict."""


def transfer_claims(frame: pd.DataFrame) -> dict[str, Found]:
    """By id, from the table of `read_transfer`, at equal images of pretraining, of trainable encoders: frozen random weights
    are no start to compare with."""
    frame = at_budget(with_measures(frame[~frame["freeze"].astype(bool)]), "images")
    everybody = frame[frame["patients"] == ALL]
    few = frame[frame["patients"] != ALL]
    found = {
        "D1": over_units(_differences(everybody, "dice", ENCODER, NONE)),
        "D2": over_units(_differences(everybody, "dice", BOTH, ENCODER)),
        "D3": over_units(_differences(everybody, "area", BOTH, ENCODER)),
        "D4": over_units(_of_tasks(everybody, DENSE, [CLASSIFICATION])),
        "D5": untestable("no numbers of training patients but all"),
        "D6": over_units(_of_tasks(everybody, [CONREC], ["contrastive", "reconstruction"])),
    }
    if len(few):
        fewest = few[few["patients"] == few["patients"].min()]
        keys = [*PLACE[:3], "scheme", "pretrain_seed", "seed"]
        here, there = (_differences(part, "dice", ENCODER, NONE) for part in (fewest, everybody))
        both = here.merge(there.groupby(keys, as_index=False)["value"].mean(), on=keys, suffixes=("", "_all"))
        found["D5"] = over_units(both.assign(value=both["value"] - both["value_all"]))
    return found


def _differences(frame: pd.DataFrame, measure: str, transfer: str, against: str) -> pd.DataFrame:
    """All differences of a transfer from what it is compared with, whatever the task."""
    parts = [
        part.assign(scheme=start["scheme"], task=start["task"])
        for start, other, part in contrasts(frame, measure)
        if start["transfer"] == transfer and other == against
    ]
    return pd.concat(parts) if parts else pd.DataFrame(columns=[*PLACE, *UNITS, "scheme", "task", "value"])


def _of_tasks(frame: pd.DataFrame, ours: Sequence[str], theirs: Sequence[str]) -> pd.DataFrame:
    """Dice from the encoders of some tasks minus that of others, on the same images: means over tasks, paired."""
    encoder = frame[frame["transfer"] == ENCODER]
    keys = [*PLACE, "source", *UNITS]
    means = [
        encoder[encoder["task"].isin(tasks)].groupby(keys)["dice"].agg(["mean", "size"]) for tasks in (ours, theirs)
    ]
    complete = [mean["mean"][mean["size"] >= len(tasks)] for mean, tasks in zip(means, (ours, theirs), strict=True)]
    return (complete[0] - complete[1]).dropna().rename("value").reset_index()


def over_units(differences: pd.DataFrame) -> Found:
    """The mean over targets, tasks and `UNITS`, its interval over `UNITS`; no verdict with fewer than three pretraining runs."""
    if differences.empty:
        return untestable("the run has not both sides of it")
    runs = differences["pretrain_seed"].nunique()
    found = crossed_mean(differences, UNITS)
    if runs < FEWEST_RUNS:
        return untestable(f"k = {runs} pretraining runs of each task: {FEWEST_RUNS} are needed", found.mean)
    parts = differences.groupby("dataset")["value"].mean()
    seeds, draws = (differences[unit].nunique() for unit in ("seed", "draw"))
    note = f"k = {runs} runs of each task, {seeds} seeds, {draws} draw{'s' * (draws != 1)}; "
    return Found(
        found.mean,
        found.low,
        found.high,
        note=note + ", ".join(f"{name} {value:+.4f}" for name, value in parts.items()),
    )


def write_transfer_claims(transfer: str | Path, output: str | Path, registry: str | Path) -> None:
    """Write the claims of `registry` (claims_transfer.tsv) with what a run's transfer_scores.csv says of them."""
    found, rows = transfer_claims(read_transfer(transfer)), []
    for claim in read_register(registry):
        here = found[claim.claim_id]
        if claim.rule is None:
            raise ValueError(f"claim {claim.claim_id} has no rule")
        row = [claim.claim_id, claim.source, claim.claim, claim.estimand, here.estimate, here.low, here.high]
        row += [verdict(claim.rule, here, margin) for margin in (MARGIN, *OTHER_MARGINS)]
        rows.append([*row, claim.scope, here.note])
    write_table(pd.DataFrame(rows, columns=COLUMNS), output, HEAD)
