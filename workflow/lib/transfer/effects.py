"""What a task of pretraining and a transfer gain: over random weights, over the encoder alone, over classification."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workflow.lib.evidence.crossed import crossed_mean
from workflow.lib.evidence.verdicts import FEWEST_RUNS, MARGIN
from workflow.lib.study.checkpoints import BOTH, DECODER, ENCODER, NONE
from workflow.lib.tables.headed import write_table
from workflow.lib.tables.transfer import read_transfer

UNITS = ["pretrain_seed", "seed", "draw"]  # what an interval is over
PLACE = ["dataset", "encoder", "freeze", "patients"]  # where starts are compared
START = ["scheme", "task", "source", "transfer"]
VALUES = ["value", "epochs", "images_seen", "seconds"]
MEASURES = ("dice", "area", "epochs_to_threshold")
BUDGETS = ("images", "time")
EVERYWHERE, ALL_TASKS = "all targets", "all tasks"
TRAINABLE = "trainable"
SHARE = 0.95  # of the Dice of random weights: the threshold

HEAD = f"""\
What a start of fine-tuning gains, paired by fine-tuning seed and draw of patients. against: none, random weights; encoder, the
same checkpoint without its decoder; classification, the encoder of classification on the same budget; trainable, the same start
with a trainable encoder. task: {ALL_TASKS}, the mean of those that have the transfer.
measure: dice, of the test split; area, mean validation Dice over the epochs of fine-tuning; epochs_to_threshold, epochs until the
validation Dice first reaches {SHARE:.0%} of what random weights of the same target, encoder, way and patients reach in the end
(their mean over seeds); a run that never does counts as one epoch more than there are. patients: 0 is all.
budget: images, every task at the most images that all tasks have seen; time, at the most seconds of training that all tasks took:
the longest length within it is used, and a scheme without one has no rows; images and seconds of a scheme that continues another
are of both. Few patients are tried from the longest length alone: where the budget takes a shorter one, they have no rows.
Tasks of another `source` see other images.
low, high: 95 % t interval over pretraining runs, fine-tuning seeds and draws of patients (evidence/crossed.py): their variances
are added. Targets are fixed: nothing here speaks of other targets, or of other patients in the test splits.
verdict, on Dice with the margin D = {MARGIN}: better, low > 0 and estimate >= D; worse, the same below; no better, high < D; else
inconclusive; empty with fewer than {FEWEST_RUNS} pretraining runs. Not corrected for the number of rows."""


def with_measures(frame: pd.DataFrame) -> pd.DataFrame:
    """The table of fine-tunings with `area` and `epochs_to_threshold` (columns of `MEASURES`), from the validation curves."""
    last = frame["validation"].map(lambda curve: curve[-1] if curve else np.nan)
    scratch = frame["transfer"] == NONE
    final = last.where(scratch).groupby([frame[column] for column in PLACE]).transform("mean")
    area = frame["validation"].map(lambda curve: float(np.mean(curve)) if curve else np.nan)
    reached = [
        next((epoch for epoch, value in enumerate(curve, start=1) if value >= threshold), len(curve) + 1)
        if curve and np.isfinite(threshold)
        else np.nan
        for curve, threshold in zip(frame["validation"], SHARE * final, strict=True)
    ]
    return frame.assign(area=area, epochs_to_threshold=reached)


def at_budget(frame: pd.DataFrame, budget: str) -> pd.DataFrame:
    """The fine-tunings from the checkpoints that a comparison at equal `images` or `time` uses, and those of random weights.

    Of every encoder and scheme: the longest length within what every scheme of the encoder reached, means over pretraining seeds;
    a scheme without such a length is left out. Of weights from elsewhere, of which that is not known, the longest.
    """
    spent = "images_seen" if budget == "images" else "seconds"
    scratch = frame["transfer"] == NONE
    trained = frame[~scratch]
    cell = ["encoder", "scheme", "epochs"]
    # Of a length the mean over runs: measured seconds differ from run to run.
    means = trained.drop_duplicates([*cell, "pretrain_seed"]).groupby(cell)[spent].mean()
    limit = means.groupby(["encoder", "scheme"]).max().groupby("encoder").min()
    tolerance = 1.0 if budget == "images" else 1.05
    length = means.reset_index()
    length = length[(length[spent] <= length["encoder"].map(limit) * tolerance) | length[spent].isna()]
    longest = length.groupby(["encoder", "scheme"])["epochs"].max().rename("longest").reset_index()
    chosen = trained.merge(longest, on=["encoder", "scheme"])
    return pd.concat([frame[scratch], chosen[chosen["epochs"] == chosen["longest"]].drop(columns="longest")])


def contrasts(frame: pd.DataFrame, measure: str) -> Iterator[tuple[dict[str, Any], str, pd.DataFrame]]:
    """For every start and what it is compared with: its names, `against`, and a frame of `PLACE`, `UNITS` and `value`, the
    difference."""
    scratch = frame[frame["transfer"] == NONE]
    encoder = frame[frame["transfer"] == ENCODER]
    classification = encoder[encoder["task"] == "classification"]
    for names, part in frame[frame["transfer"] != NONE].groupby(START):
        start = dict(zip(START, names, strict=True))
        pairs = {NONE: (scratch, ["seed", "draw"])}
        if start["transfer"] in (BOTH, DECODER):
            pairs[ENCODER] = (encoder[encoder["scheme"] == start["scheme"]], UNITS)
        if start["task"] != "classification":
            pairs["classification"] = (classification, UNITS)
        for against, (others, paired) in pairs.items():
            keys = [*PLACE, *paired]
            if len(both := _paired(part, others, keys, measure)):
                yield start, against, both[[*PLACE, *UNITS, *VALUES]]
    yield from _frozen(frame, measure)


def _paired(part: pd.DataFrame, others: pd.DataFrame, keys: Sequence[str], measure: str) -> pd.DataFrame:
    """The rows of `part` that `others` have by these keys, with the difference from their mean as `value`."""
    base = others.groupby(list(keys), as_index=False)[measure].mean()
    both = part.merge(base, on=list(keys), suffixes=("", "_base"))
    return both.assign(value=both[measure] - both[f"{measure}_base"]).dropna(subset="value")


def _frozen(frame: pd.DataFrame, measure: str) -> Iterator[tuple[dict[str, Any], str, pd.DataFrame]]:
    """For every start with a frozen encoder, its difference from the same with a trainable one."""
    frozen = frame["freeze"].astype(bool)
    keys = [*(column for column in PLACE if column != "freeze"), *START, *UNITS]
    for names, part in _paired(frame[frozen], frame[~frozen], keys, measure).groupby(START):
        yield dict(zip(START, names, strict=True)), TRAINABLE, part[[*PLACE, *UNITS, *VALUES]]


def _over_tasks(
    found: Sequence[tuple[dict[str, Any], str, pd.DataFrame]],
) -> Iterator[tuple[dict[str, Any], str, pd.DataFrame]]:
    """The same of all tasks together, for every transfer and what it is compared with, where there are several."""
    pairs = dict.fromkeys((start["transfer"], against) for start, against, _ in found if against != "classification")
    for transfer, against in pairs:
        every = pd.concat(
            part.assign(scheme=start["scheme"])
            for start, other, part in found
            if (start["transfer"], other) == (transfer, against)
        )
        several = every[every.groupby(PLACE)["scheme"].transform("nunique") > 1]
        if len(several):
            yield {"scheme": ALL_TASKS, "task": ALL_TASKS, "source": "", "transfer": transfer}, against, several


def effects(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of tables/transfer_effects.csv from those of transfer_scores.csv, see its head."""
    frame = with_measures(frame)
    rows = []
    for budget in BUDGETS:
        chosen = at_budget(frame, budget)
        for measure in MEASURES:
            found = list(contrasts(chosen, measure))
            for start, against, differences in [*found, *_over_tasks(found)]:
                for place, part in _places(differences):
                    rows.append({"budget": budget, **place, **start, **_row(part, measure), "against": against})
    order = [
        "budget",
        *PLACE,
        *START,
        "epochs",
        "images_seen",
        "seconds",
        "against",
        "measure",
        "estimate",
        "low",
        "high",
    ]
    return pd.DataFrame(rows, columns=[*order, "df", "runs", "seeds", "draws", "verdict"])


def _places(differences: pd.DataFrame) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """Every place alone; and of several targets that have all units, their mean."""
    for names, part in differences.groupby(PLACE):
        yield dict(zip(PLACE, names, strict=True)), part
    rest = PLACE[1:]
    for names, part in differences.groupby(rest):
        targets = part["dataset"].nunique()
        if targets < 2:
            continue
        grouped = part.groupby(UNITS)
        mean = grouped[VALUES].mean()[grouped["dataset"].nunique() == targets]
        yield {"dataset": EVERYWHERE, **dict(zip(rest, names, strict=True))}, mean.reset_index()


def _row(part: pd.DataFrame, measure: str) -> dict[str, Any]:
    found = crossed_mean(part, UNITS)
    numbers = {key: part[key].mean() for key in ("epochs", "images_seen", "seconds")}
    runs, seeds, draws = (part[unit].nunique() for unit in UNITS)
    verdict = judged(*found[:3]) if measure == "dice" and runs >= FEWEST_RUNS else ""
    counts = {"runs": runs, "seeds": seeds, "draws": draws, "verdict": verdict}
    return (
        numbers
        | {"measure": measure, "estimate": found.mean, "low": found.low, "high": found.high}
        | {"df": found.df}
        | counts
    )


def judged(estimate: float, low: float, high: float) -> str:
    """better | worse | no better | inconclusive, see the table's head."""
    if low > 0 and estimate >= MARGIN:
        return "better"
    if high < 0 and estimate <= -MARGIN:
        return "worse"
    return "no better" if high < MARGIN else "inconclusive"


def write_effects(transfer: str | Path, output: str | Path) -> None:
    """Write `effects` of a run's transfer_scores.csv."""
    write_table(effects(read_transfer(transfer)), output, HEAD)
