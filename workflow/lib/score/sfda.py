"""SFDA: how well a regularised Fisher discriminant classifies features that were pulled towards the other classes."""

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.special import softmax

from workflow.lib.score.applies import Array, class_means, finite, need, one_hot, usable


def sfda(features: Array, labels: Array) -> float:
    """Mean probability of the true class under a regularised Fisher discriminant, of features (n, D) and labels (n,).

    The discriminant is fitted to all samples; each is then moved towards the mean of the other classes, the more the less
    sure it is; and a second discriminant with the same regularisation is fitted to these and evaluated on them. The within-class
    covariance W becomes (1 - s) W + s tr(W)/D, with s = max(exp(-5 lambda), 1e-10), lambda the largest eigenvalue of W.

    Source: Shao et al., Not all models are equal, ECCV 2022. Range 0..1. HIGHER is better. Cost: n D^2 + D^3.
    Not invariant to scale: s falls with the spread. Fitted and evaluated on the same samples, so near 1 for D >= n.
    Avoided: the published code changes the features it is given, and needs an eigenvalue problem for what is an inverse.
    Raises `NotApplicable`.
    """
    features, numbers = usable(features, labels)
    own = one_hot(numbers)
    within = _within(features, numbers)
    need(np.trace(within) > 1e-12 * (features**2).sum() / len(features), "the features do not vary within the classes")
    shrinkage = max(np.exp(-5 * _largest(within)), 1e-10)
    sure = softmax(_posterior(features, numbers, within, shrinkage), axis=1)
    sure = (sure * own).sum(axis=1, keepdims=True)
    counts = np.bincount(numbers)[:, None]
    others = -class_means(features, numbers) * counts / (len(features) - counts)  # as the mean of all is 0
    mixed = sure * features + (1 - sure) * others[numbers]
    mixed -= mixed.mean(axis=0)
    return finite((_posterior(mixed, numbers, _within(mixed, numbers), shrinkage) * own).sum(axis=1).mean())


def _within(features: Array, numbers: Array) -> Array:
    """Covariance (D, D) within the classes."""
    deviations = features - class_means(features, numbers)[numbers]
    return deviations.T @ deviations / len(features)


def _largest(matrix: Array) -> float:
    """The largest eigenvalue as the published code has it: after six steps of the power iteration."""
    y = x = matrix.sum(axis=1)
    for _ in range(3):
        y = matrix @ x
        y = y / np.linalg.norm(y)
        x = matrix @ y
        x = x / np.linalg.norm(x)
    return float(x @ matrix @ y)


def _posterior(features: Array, numbers: Array, within: Array, shrinkage: float) -> Array:
    """Class probabilities (n, K) of a linear discriminant with this covariance within the classes, regularised."""
    width = len(within)
    regular = (1 - shrinkage) * within + shrinkage * np.trace(within) / width * np.eye(width)
    means = class_means(features, numbers)
    coefficients = cho_solve(cho_factor(regular), means.T)
    offsets = np.log(np.bincount(numbers) / len(features)) - (means * coefficients.T).sum(axis=1) / 2
    return softmax(features @ coefficients + offsets, axis=1)
