"""When a transferability score can be computed from the data at hand, and the reason when it cannot."""

from collections.abc import Sequence

import numpy as np
from scipy.linalg import eigh

Array = np.ndarray

# Networks compute in float32, so what is smaller is noise of their arithmetic.
ROUNDING = float(np.finfo(np.float32).eps)


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
    """Features (n, D) minus their mean over samples, in float64; exactly 0 in channels that do not vary, where rounding would
    be left."""
    features = np.asarray(features, dtype=np.float64)
    return np.where(_varies(features), features - features.mean(axis=0), 0)


def above_rounding(sizes: Array, shape: tuple[int, ...]) -> Array:
    """Which of these singular values of features of shape (n, D), or norms of their channels, are more than rounding: above
    max(n, D) times float32's precision times the largest. The rest must not be scaled up to the size of the others."""
    return sizes > max(shape) * ROUNDING * sizes.max()


def principal_axes(features: Array, most: int | None) -> Array:
    """Directions (D, d) of length 1 of the first principal components of centred features (n, D), d = `most` or fewer: as many
    as are above rounding. None: all of these."""
    vectors, sizes = _leading(features, most)
    return features.T @ vectors / sizes if _is_wide(features) else vectors


def principal_components(features: Array, most: int | None) -> Array:
    """Centred features (n, D) along their `principal_axes`, (n, d). The components keep their sizes."""
    vectors, sizes = _leading(features, most)
    return vectors * sizes if _is_wide(features) else features @ vectors


def _is_wide(features: Array) -> bool:
    return features.shape[1] > len(features)


def _leading(features: Array, most: int | None) -> tuple[Array, Array]:
    """The first singular vectors, as columns, and values of features (n, D): those on the shorter side, n or D, whose products
    are fewer."""
    products = features @ features.T if _is_wide(features) else features.T @ features
    count = len(products)
    values, vectors = eigh(products, subset_by_index=[max(0, count - (most or count)), count - 1])
    sizes = np.sqrt(values[::-1].clip(0))
    kept = above_rounding(sizes, features.shape)
    return vectors[:, ::-1][:, kept], sizes[kept]


def reduced(features: Array, components: int | None) -> Array:
    """Features (n, D), centred, in their first `components` principal components that are above rounding, and scaled to a root
    mean square of 1: dimension and scale are the same for all encoders that have so many. None: all channels as they are."""
    found = centred(features)
    found = found if components is None else principal_components(found, components)
    size = float(np.sqrt((found**2).mean())) if found.size else 0.0
    return found / size if size > 0 else centred(features)


def standard_components(levels: Sequence[Array], most: int | None) -> Array:
    """Features (n, D) of one level or several as `most` common dimensions (n, d), d as in `principal_components`, the same for
    every encoder, whatever its channels and levels.

    Channels are centred and scaled to unit variance (those at rounding left out), all levels have the same total variance,
    and the components of all together keep their sizes: whitened, the noise in the last ones would weigh as much as the
    first. The mean square of a row is 1.
    """
    parts = []
    for level in levels:
        level = centred(level)
        sizes = np.linalg.norm(level, axis=0)
        varying = above_rounding(sizes, level.shape)
        parts.append(level[:, varying] / (sizes[varying] * np.sqrt(varying.sum() / len(level))))
    found = principal_components(np.hstack(parts), most)
    return found * np.sqrt(len(found)) / np.linalg.norm(found)


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
