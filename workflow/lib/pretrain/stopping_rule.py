"""When a pretraining stops, what it keeps, and the record of both: from the scores of its checks alone."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from workflow.lib.evidence.intervals import half_width
from workflow.lib.score.registry import SCORES
from workflow.lib.study.patience import followed
from workflow.lib.training.state import Row

# The hyperparameters of a score, and what else its value depends on; named as in the config.
FREE = {
    "view": ("metric", "margin", "pooled", "level"),
    "level": ("sample", "level"),
    "deepest": ("sample",),
    "levels": ("sample",),
    "points": (),
}
SIZES = {"view": ("draws", "seed")} | dict.fromkeys(
    ("level", "deepest", "levels", "points"), ("pixels", "samples", "components", "seed")
)

DRAW = "score draw "


@dataclass(frozen=True)
class Checks:
    """The checks so far. rows: epoch, value, ci_low, ci_high, seconds, improved, best_so_far (an epoch), missed (in a row); best:
    the last that was an improvement, None if no check has a value; stopped: whether patience has run out."""

    rows: list[dict[str, Any]]
    best: dict[str, Any] | None
    stopped: bool


def checks_of(history: Sequence[Row], stopping: Mapping[str, Any]) -> Checks:
    """Apply the rule to the epochs so far; those of `stopping["checks"]` have score, score low, score high, score seconds, and
    `score draw 1` to n: the value of each sample of pixels or pair of views, the same ones in every check.

    An improvement exceeds the best check so far by more than the tolerance: a number, or `interval`, the half-width of the 95 %
    t interval of the difference to that check, paired over draws. (The interval of one check alone is far wider, as it holds what
    all checks share: which pixels were drawn.) After `patience` checks in a row without an improvement, the pretraining stops. A
    check without a value is none. stopping: score, patience, tolerance, checks.
    """
    sign = 1 if SCORES[stopping["score"]].better == "higher" else -1
    names = {"value": "score", "ci_low": "score low", "ci_high": "score high", "seconds": "score seconds"}
    checked = [row for row in history if row["epoch"] in stopping["checks"]]
    rows = [
        dict[str, Any](epoch=int(row["epoch"])) | {key: row[name] for key, name in names.items()} for row in checked
    ]
    draws = [np.array([value for name, value in row.items() if name.startswith(DRAW)]) for row in checked]

    def improves(best: int, i: int) -> bool:
        if stopping["tolerance"] != "interval":
            return bool(sign * (rows[i]["value"] - rows[best]["value"]) > stopping["tolerance"])
        gain = sign * (draws[i] - draws[best])
        return bool(gain.mean() > half_width(len(gain) - 1, gain.std(ddof=1), len(gain)))

    best: int | None = None
    missed = 0
    for i, (row, (best, missed)) in enumerate(zip(rows, followed([r["value"] for r in rows], improves), strict=True)):
        row |= {"improved": best == i, "best_so_far": None if best is None else rows[best]["epoch"], "missed": missed}
    return Checks(rows, None if best is None else rows[best], missed >= stopping["patience"])


def decision(
    history: Sequence[Row], stopping: Mapping[str, Any], scoring: Mapping[str, Any], schedule: int
) -> dict[str, Any]:
    """The record of a finished pretraining with at least one valid check: rule, checks, what was kept, why it stopped, and what
    that saved of the `schedule` (epochs; and seconds, at this run's mean of an epoch's training)."""
    checks, name = checks_of(history, stopping), stopping["score"]
    best, of = checks.best, SCORES[name].of
    assert best is not None
    last, seconds = len(history), sum(row["seconds"] for row in history)
    if checks.stopped:
        late = ", ".join(str(check["epoch"]) for check in checks.rows[-stopping["patience"] :])
        paired = stopping["tolerance"] == "interval"
        enough = "the half-width of the paired difference over draws" if paired else f"{stopping['tolerance']:.3g}"
        reason = f"patience: no check of epochs {late} is better than {best['value']:.5g}, of epoch {best['epoch']}, by more than"
        reason += f" {enough}"
    else:
        reason = f"the schedule ended before {stopping['patience']} checks in a row were without improvement"
    return {
        "rule": {
            "score": name,
            "better": SCORES[name].better,
            "setting": {key: stopping[key] for key in FREE[of]},
            "computed_from": {key: scoring[key] for key in ("images", *SIZES[of])},
            "patience": stopping["patience"],
            "tolerance": stopping["tolerance"],
            "check_epochs": list(stopping["checks"]),
        },
        "checks": [{key: _json(value) for key, value in check.items()} for check in checks.rows],
        "stopped_early": last < schedule,
        "why": reason,
        "kept_epoch": best["epoch"],
        "last_epoch": last,
        "schedule_epochs": schedule,
        "epochs_saved": schedule - last,
        "seconds_of_training": round(seconds, 3),
        "seconds_of_scoring": round(sum(check["seconds"] for check in checks.rows), 3),
        "seconds_saved": round(seconds / last * (schedule - last), 3),
    }


def _json(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def cooled_rate(step: int, *, first: int, steps: int, start: float, end: float) -> float:
    """Learning rate of a cool-down of `steps` steps from step `first`: linear from `start` towards `end`, which the step after
    the last would have."""
    return start + (end - start) * (step - first) / steps
