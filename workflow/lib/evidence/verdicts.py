"""From numbers to a verdict: the t test over pretraining runs and the decision rules of the register (D in Dice, 0..1)."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from workflow.lib.evidence.intervals import t_interval, two_sided
from workflow.lib.tables.read import RUN

MARGIN = 0.005  # D of the register, in Dice
POOR = 0.5  # a rank correlation below this is a poor guide
FEWEST_RUNS = 3
SUPPORTED, CONTRADICTED, INCONCLUSIVE = "supported", "contradicted", "inconclusive"
UNTESTED = "not testable with these data"


@dataclass(frozen=True)
class Found:
    """What the data say about a claim: estimate, 95 % interval, p (nan: none), the single numbers that a rule counts
    (`parts`), and a note. `encoders`: estimate and interval with two or more encoders as units, instead of pretraining runs.
    `testable` False: a verdict is not possible, and the note says why."""

    estimate: float = math.nan
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan
    note: str = ""
    parts: tuple[float, ...] = ()
    encoders: tuple[float, float, float] | None = None
    testable: bool = True


Rule = Callable[[Found, float], str]


def _verdict(supported: bool, contradicted: bool) -> str:
    return SUPPORTED if supported else CONTRADICTED if contradicted else INCONCLUSIVE


def superiority(found: Found, margin: float) -> str:
    """Better (the interval lies above 0), and by the margin or more; contradicted where the margin is excluded."""
    return _verdict(found.low > 0 and found.estimate >= margin, found.high < margin)


def non_inferiority(found: Found, margin: float) -> str:
    """Worse by no more than the margin."""
    return _verdict(found.low > -margin, found.high < -margin)


def no_better(found: Found, margin: float) -> str:
    """Better by less than the margin; contradicted where it is better by the margin or more."""
    return _verdict(found.high < margin, found.low > 0 and found.estimate >= margin)


def above_zero(found: Found, margin: float) -> str:
    """Above 0, in a unit that has no margin."""
    return _verdict(found.low > 0, found.high < 0)


def poor_guide(found: Found, margin: float) -> str:
    """A rank correlation below `POOR`."""
    return _verdict(found.high < POOR, found.low > POOR)


def ranks(found: Found, margin: float) -> str:
    """A rank correlation above 0; contradicted only where it is not above 0 and can't be large."""
    return _verdict(found.low > 0, found.estimate <= 0 and found.high < POOR)


def fits_better(found: Found, margin: float) -> str:
    """A permutation test: it can support, never contradict."""
    return _verdict(found.p <= 0.05, False)


def half_of_cells(found: Found, margin: float) -> str:
    """At least half of the cells: significant (p is that of the cell that makes half), or with a gain of the margin
    excluded (parts: each cell's upper bound of its largest gain)."""
    excluded = sum(bound < margin for bound in found.parts)
    return _verdict(found.p <= 0.05, 2 * excluded >= len(found.parts) > 0)


def stable(found: Found, margin: float) -> str:
    """All rank correlations (parts: one per pair of data sets) above `POOR`, or all below."""
    return _verdict(all(pair > POOR for pair in found.parts), all(pair < POOR for pair in found.parts))


def verdict(rule: Rule, found: Found, margin: float) -> str:
    """The rule's verdict, where there is one."""
    return rule(found, margin) if found.testable else UNTESTED


def verdict_over_encoders(rule: Rule, found: Found, margin: float) -> str:
    """The rule's verdict with encoders as units; empty without an interval over them."""
    if not found.testable or found.encoders is None:
        return ""
    estimate, low, high = found.encoders
    return rule(replace(found, estimate=estimate, low=low, high=high, p=math.nan), margin)


def untestable(note: str, estimate: float = math.nan) -> Found:
    """No verdict, and why."""
    return Found(estimate, note=note, testable=False)


def over_runs(table: pd.DataFrame, column: str, null: float = 0.0, limit: float = math.inf) -> Found:
    """Mean of a column per pretraining run, then over the k runs, with the 95 % t interval over runs and the two-sided t
    test of `null`; intervals are cut at -limit and limit. The note gives k, the interval with encoders as units, and the mean of
    each data set."""
    table = table.dropna(subset=[column])
    runs = table.groupby(RUN)[column].mean()
    mean, k = float(runs.mean()) if len(runs) else math.nan, len(runs)
    if k < FEWEST_RUNS:
        return untestable(f"k = {k} pretraining run{'s' * (k != 1)} with these numbers: {FEWEST_RUNS} are needed", mean)
    low, high = np.clip(t_interval(runs.to_numpy()), -limit, limit).tolist()
    flat = np.ptp(runs.to_numpy()) < 1e-12
    p = math.nan if flat else two_sided(mean - null, math.sqrt(runs.to_numpy().var(ddof=1) / k), k - 1)
    notes = [f"k = {k} runs" + ", no spread between them: interval of no width" * bool(flat)]
    means, encoders = runs.groupby(level="encoder").mean(), None
    if len(means) > 1:
        ends = np.clip(t_interval(means.to_numpy()), -limit, limit).tolist()
        encoders = float(means.mean()), *ends
        notes += [f"over the {len(means)} encoders [{_span(ends)}]"] * (k > len(means))
    notes.append(", ".join(f"{name} {value:+.4f}" for name, value in table.groupby("dataset")[column].mean().items()))
    return Found(mean, low, high, p, "; ".join(notes), encoders=encoders)


def _span(interval: Iterable[float]) -> str:
    return ", ".join(f"{value:+.4f}" for value in interval)


def noted(found: Found, note: str) -> Found:
    """With a further note."""
    return replace(found, note=f"{found.note}; {note}")
