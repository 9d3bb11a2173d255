"""Which candidates are distinguishable by these images: paired differences over patients."""

import math
from dataclasses import dataclass

import numpy as np

from workflow.lib.evidence.intervals import half_width

Array = np.ndarray

LEVEL = 0.05
FOLDS = 5  # of the probes (workflow/lib/score/probe.py)


@dataclass(frozen=True)
class Comparison:
    """k candidates on n groups, higher is better. value (k,) and its 95 % interval; gain (k,) over the default and loss (k,)
    against the best, each with the half-width (k,) of an interval that holds for all k - 1 differences at once, nan where
    there is none; undecided (k,): not distinguishable from the best; order (k,): candidates from the best to the worst; power:
    a true difference of so many half-widths is found in 80 % of data sets like this one (one of a half-width in 50 %)."""

    value: Array
    half: Array
    gain: Array
    gain_half: Array
    loss: Array
    loss_half: Array
    undecided: Array
    order: Array
    power: float

    @property
    def best(self) -> int:
        return int(self.order[0])

    @property
    def resolvable(self) -> float:
        """The true loss against the best that is found in 80 % of cases: the median over the others; nan without any."""
        others = self.loss_half[self.order[1:]] * self.power
        return float(np.median(others)) if np.isfinite(others).all() and len(others) else math.nan


def compare(values: Array, default: int, *, folds: int | None = None) -> Comparison:
    """Compare candidates by their `values` (k, n) of the same n groups, higher is better; `default` is the row to beat.

    Intervals are t intervals of paired differences over groups, at a joint level of 95 % (Bonferroni over k - 1). So the
    undecided set holds the candidate that is best over all patients like these with a confidence of 95 % or more. Of one
    group there is no spread, and everything is undecided. folds: where the values come from models that were trained on the
    other folds of the groups, see `stretch`. Of equal candidates the first one goes first.
    """
    k, n = values.shape
    wider = stretch(min(folds, n)) if folds else 1.0
    mean = values.mean(axis=1)
    order = np.argsort(-mean, kind="stable")
    half = _half(values, LEVEL / 2, wider)
    tail = LEVEL / 2 / max(1, k - 1)
    gain, loss = values - values[default], values[order[0]] - values
    gain_half, loss_half = _half(gain, tail, wider), _half(loss, tail, wider)
    undecided = ~(loss.mean(axis=1) > loss_half)  # also where there is no interval
    power = 1 + half_width(n - 1, 1.0, tail=0.2) / half_width(n - 1, 1.0, tail=tail) if n > 1 else math.nan
    return Comparison(mean, half, gain.mean(axis=1), gain_half, loss.mean(axis=1), loss_half, undecided, order, power)


def stretch(folds: int) -> float:
    """By how much intervals over cross-validated values are widened: sqrt(1 + J n_test / n_train) for J folds.

    All groups of a fold share one model, and the models share most of their training groups, so that the values are not
    independent; this is the correction of Nadeau and Bengio (Machine Learning 2003). Two sets of features of equal worth,
    scored as the pipeline does, were declared different in 10 to 13 % of simulations without it, and in 1 to 4 % with it, at a
    nominal 5 %.
    """
    return math.sqrt(1 + folds / (folds - 1)) if folds > 1 else 1.0


def groups_needed(difference: float, resolvable: float, groups: int) -> int | None:
    """About how many groups find a true difference in 80 % of cases, where `groups` find `resolvable`; None where unknown."""
    if not (math.isfinite(resolvable) and difference > 0):
        return None
    return math.ceil(groups * (resolvable / difference) ** 2)


def _half(values: Array, tail: float, wider: float) -> Array:
    """Half-width of the t interval of the mean of each row (k, n), upper `tail`; nan for one group."""
    n = values.shape[1]
    if n < 2:
        return np.full(len(values), math.nan)
    return half_width(n - 1, values.std(axis=1, ddof=1), n, tail) * wider
