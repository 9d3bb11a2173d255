"""When a transferability score can be had from the data at hand, and the reason in plain words when it can't."""

from collections.abc import Sequence

import numpy as np

Array = np.ndarray


class NotApplicable(Exception):
    """This score has no meaning, or no finite value, on this data; the message says why."""


def need(condition: object, reason: str) -> None:
    """Raise `NotApplicable` with this reason unless the condition holds."""
    if not condition:
        raise NotApplicable(reason)


def usable_labels(labels: Array, *, per_class: int = 1) -> Array:
    """Labels (n,) of any kind as class numbers 0..K-1, by their sorted order.

    Raises `NotApplicable` for no labels, labels that are not finite, a single class, or a class of fewer than `per_class`
    samples.
    """
    labels = np.asarray(labels)
    need(labels.ndim == 1 and len(labels), f"needs one label per sample, found an array of shape {labels.shape}")
    if labels.dtype.kind == "f":
        need(np.isfinite(labels).all(), "some labels are not finite")
    names, numbers, counts = np.unique(labels, return_inverse=True, return_counts=True)
    need(len(names) > 1, f"needs two classes or more, all {len(labels)} samples are of class {names[0]}")
    rarest = counts.argmin()
    reason = f"needs {per_class} samples of every class, class {names[rarest]} has {counts[rarest]}"
    need(counts[rarest] >= per_class, reason)
    return numbers


def usable(features: Array, labels: Array) -> tuple[Array, Array]:
    """Features (n, D) centred, in float64, and labels (n,) as class numbers 0..K-1.

    Raises `NotApplicable` as `usable_labels` does for two samples a class, and as `usable_features`.
    """
    numbers = usable_labels(labels, per_class=2)
    return centred(usable_features(features, len(numbers))), numbers


def usable_features(features: Array, count: int) -> Array:
    """Features (count, D) in float64. Raises `NotApplicable` for another shape, for values that are not finite, and for
    features that do not vary at all."""
    features = np.asarray(features, dtype=np.float64)
    need(features.ndim == 2 and features.shape[1] and len(features) == count, _shape(features, count))
    need(np.isfinite(features).all(), "some features are not finite")
    need(_varies(features).any(), "the features are constant")
    return features


def _shape(features: Array, count: int) -> str:
    return f"needs features of shape ({count}, D), one row per label, found {features.shape}"


def centred(features: Array) -> Array:
    """Features (n, D) minus their mean over samples; exactly 0 in channels that do not vary, where rounding would be left."""
    return np.where(_varies(features), features - features.mean(axis=0), 0)


def _varies(features: Array) -> Array:
    """Which channels of features (n, D) vary by more than rounding."""
    return np.ptp(features, axis=0) > 1e-12 * np.abs(features).max(axis=0)


def usable_groups(groups: Sequence[object] | Array, count: int) -> Array:
    """Groups (count,), e.g. patients, as numbers. Raises `NotApplicable` for fewer than two groups."""
    names, numbers = np.unique(np.asarray(groups), return_inverse=True)
    need(len(numbers) == count, f"needs one group per sample ({count}), found {len(numbers)}")
    need(len(names) > 1, f"needs two groups (patients, images) or more, found {len(names)}")
    return numbers


def one_hot(labels: Array) -> Array:
    """Class numbers (n,) as indicators (n, K) in float64."""
    return np.eye(labels.max() + 1)[labels]


def class_means(features: Array, labels: Array) -> Array:
    """Mean features of each class (K, D) of features (n, D) and class numbers (n,)."""
    indicators = one_hot(labels)
    return indicators.T @ features / indicators.sum(axis=0)[:, None]


def finite(value: float | np.floating) -> float:
    """The value of a score. Raises `NotApplicable` if it is not finite."""
    need(np.isfinite(value), f"the score is not finite on these features ({value})")
    return float(value)
