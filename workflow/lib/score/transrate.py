"""TransRate: how many more bits the features need together than class by class."""

import numpy as np

from workflow.lib.score.applies import Array, finite, usable

EPSILON = 1e-4  # squared distortion of the published program


def coding_rate(features: Array) -> float:
    """1/2 ln det(I + X'X / (n EPSILON)) of features (n, D), in nats."""
    n, width = features.shape
    gram = features.T @ features if width <= n else features @ features.T
    return np.linalg.slogdet(np.eye(len(gram)) + gram / (n * EPSILON)).logabsdet / 2


def transrate(features: Array, labels: Array) -> float:
    """R(X) - sum over classes of n_c/n R(X_c) of features (n, D) scaled to |X| = 1 (Frobenius), centred; labels (n,).

    Source: Huang et al., Frustratingly easy transferability estimation, ICML 2022, with the scaling and class weights of a
    later survey's program. Range: any number, mostly above 0. HIGHER is better. Cost: n D min(n, D).
    Invariant to rotation and to scale, so that it compares networks with unlike activations. It depends on n and on D:
    compare on the same samples only. Raises `NotApplicable`.
    """
    features, numbers = usable(features, labels)
    features = features / np.linalg.norm(features)
    rates = [coding_rate(features[numbers == c]) for c in range(numbers.max() + 1)]
    return finite(coding_rate(features) - np.average(rates, weights=np.bincount(numbers)))


def transrate_original(features: Array, labels: Array) -> float:
    """R(X) - mean over classes of R(X_c) of features (n, D), centred together but not scaled; labels (n,).

    Source: Huang et al., ICML 2022, as their program has it. Range: any number. HIGHER is better. Cost: n D min(n, D).
    Not comparable between networks whose features differ in scale (three times as large at scale 1 as at 0.01 in one
    example), and rare classes count as much as frequent ones: see `transrate`. Raises `NotApplicable`.
    """
    features, numbers = usable(features, labels)
    rates = [coding_rate(features[numbers == c]) for c in range(numbers.max() + 1)]
    return finite(coding_rate(features) - np.mean(rates))
