"""H-score: the features' spread between the classes, in units of their covariance."""

import numpy as np

from workflow.lib.score.applies import Array, class_means, finite, one_hot, usable
from workflow.lib.score.logme import spectrum


def h_score(features: Array, labels: Array) -> float:
    """tr(pinv(cov X) cov(E[X|y])) of features (n, D) and labels (n,).

    Source: Bao et al., An information-theoretic approach to transferability, ICIP 2019. Range 0..K-1. HIGHER is better.
    Cost: n D min(n, D). Invariant to every invertible linear map of the features.
    Saturates at K-1 when D >= n - 1, whatever the features, and noise channels raise it: use `regularised_h_score` then.
    Avoided: a pseudo-inverse with a threshold below rounding, which inverts rounding errors where D >= n. Raises
    `NotApplicable`.
    """
    features, numbers = usable(features, labels)
    targets = one_hot(numbers)
    # With X = USV' the trace is that of U'PU, P the mean over each class.
    return finite((spectrum(features, targets)[1] ** 2 / targets.sum(axis=0)).sum())


def regularised_h_score(features: Array, labels: Array) -> float:
    """(1 - s) tr(C^-1 cov(E[X|y])) with C the Ledoit-Wolf covariance of features (n, D), s its shrinkage; labels (n,).

    Source: Ibrahim et al., Newer is not always better, ECML PKDD 2022. Range 0..about K-1. HIGHER is better.
    Cost: n D^2 + D^3. Unlike the H-score it does not saturate for n <= D, nor rise with noise channels. Invariant to
    rotation and to one common scale. Raises `NotApplicable`.
    """
    from sklearn.covariance import ledoit_wolf  # here and in other scores, as its import takes a second

    features, numbers = usable(features, labels)
    covariance, shrinkage = ledoit_wolf(features, assume_centered=True)
    means, counts = class_means(features, numbers), np.bincount(numbers)
    between = np.linalg.solve(covariance, means.T)
    trace = (counts[:, None] * means * between.T).sum() / (len(features) - 1)
    return finite((1 - shrinkage) * trace)
