"""When a pretraining stops, what it keeps, and the record of both: from the scores of its checks alone."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workflow.lib.score.registry import SCORES
from workflow.lib.state import Row

# What is free in a score, by what it looks at, and what else its value depends on; the same names stand in the config.
FREE = {
    "view": ("metric", "margin", "pooled", "level"),
    "level": ("sample", "level"),
    "deepest": ("sample",),
    "levels": ("sample",),
}
SIZES = {"view": ("draws", "seed")} | dict.fromkeys(
    ("level", "deepest", "levels"), ("pixels", "samples", "components", "seed")
)


@dataclass(frozen=True)
class Judgement:
    """What the checks so far say. checks: epoch, value, ci_low, ci_high, seconds, improved, best_so_far (an epoch), missed (in
    a row); best: the last that was an improvement, None if no check has a value; stopped: whether patience has run out."""

    checks: list[dict[str, Any]]
    best: dict[str, Any] | None
    stopped: bool


def judge(history: Sequence[Row], stopping: Mapping[str, Any]) -> Judgement:
    """Apply the rule to the epochs so far; those of `stopping["checks"]` have score, score low, score high, score seconds.

    An improvement exceeds the best check so far by more than the tolerance: `interval`, the distance of that check's value from
    the end of its interval, or a number. After `patience` checks in a row without one, the pretraining stops. A check without
    a value is no improvement. stopping: score, patience, tolerance, checks.
    """
    sign = 1 if SCORES[stopping["score"]].better == "higher" else -1
    checks: list[dict[str, Any]] = []
    best: dict[str, Any] | None = None
    missed = 0
    for row in history:
        if row["epoch"] not in stopping["checks"]:
            continue
        value = row["score"]
        gain = math.inf if best is None else sign * (value - best["value"]) - tolerance_of(best, stopping)
        improved = math.isfinite(value) and gain > 0
        missed = 0 if improved else missed + 1
        check = {"epoch": int(row["epoch"]), "value": value, "ci_low": row["score low"], "ci_high": row["score high"]}
        check |= {"seconds": row["score seconds"], "improved": improved}
        best = check if improved else best
        checks.append(check | {"best_so_far": best["epoch"] if best else None, "missed": missed})
    return Judgement(checks, best, missed >= stopping["patience"])


def tolerance_of(best: Mapping[str, Any], stopping: Mapping[str, Any]) -> float:
    """By how much a check must exceed the check `best`."""
    return best["ci_high"] - best["value"] if stopping["tolerance"] == "interval" else stopping["tolerance"]


def decision(
    history: Sequence[Row], stopping: Mapping[str, Any], scoring: Mapping[str, Any], schedule: int
) -> dict[str, Any]:
    """The record of a finished pretraining with at least one valid check: rule, checks, what was kept, why it stopped, and what
    that saved of the `schedule` (epochs; and seconds, at this run's mean of an epoch's training)."""
    judgement, name = judge(history, stopping), stopping["score"]
    best, of = judgement.best, SCORES[name].of
    assert best is not None
    last, seconds = len(history), sum(row["seconds"] for row in history)
    if judgement.stopped:
        late = ", ".join(str(check["epoch"]) for check in judgement.checks[-stopping["patience"] :])
        reason = (
            f"patience: no check of epochs {late} is better than {best['value']:.5g}, of epoch {best['epoch']}, by more"
            f" than {tolerance_of(best, stopping):.3g}"
        )
        reason += ", the half-width of its interval" * (stopping["tolerance"] == "interval")
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
        "checks": [{key: _json(value) for key, value in check.items()} for check in judgement.checks],
        "stopped_early": last < schedule,
        "why": reason,
        "kept_epoch": best["epoch"],
        "last_epoch": last,
        "schedule_epochs": schedule,
        "epochs_saved": schedule - last,
        "seconds_of_training": round(seconds, 3),
        "seconds_of_scoring": round(sum(check["seconds"] for check in judgement.checks), 3),
        "seconds_saved": round(seconds / last * (schedule - last), 3),
    }


def _json(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def cooled_rate(step: int, *, first: int, steps: int, start: float, end: float) -> float:
    """Learning rate of a cool-down of `steps` steps from step `first`: linear from `start` towards `end`, which the step after
    the last would have."""
    return start + (end - start) * (step - first) / steps
