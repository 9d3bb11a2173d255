"""TransRate: how many more bits the features need together than class by class.

The published form centres all samples together. Of two classes of equal size both means are then as far from 0 as the features
spread in all, so that a class needs as many bits as all together: the score does not see how far classes are apart.
"""

import numpy as np

from workflow.lib.score.applies import Array, class_means, finite, usable

EPSILON = 1e-4  # squared distortion of the published code


def coding_rate(features: Array) -> float:
    """1/2 ln det(I + X'X / (n EPSILON)) of features (n, D), in nats."""
    n, width = features.shape
    gram = features.T @ features if width <= n else features @ features.T
    return np.linalg.slogdet(np.eye(len(gram)) + gram / (n * EPSILON)).logabsdet / 2


def transrate(features: Array, labels: Array, *, own_means: bool = False) -> float:
    """R(X) - sum over classes of n_c/n R(X_c) of features (n, D) scaled to |X| = 1 (Frobenius), centred; labels (n,).
    own_means: each class is centred on its own mean, which sees two classes of equal size, too.

    Source: Huang et al., Frustratingly easy transferability estimation, ICML 2022, with the scaling and class weights of a
    later survey's code. Range: any number, mostly above 0. HIGHER is better. Cost: n D min(n, D).
    Invariant to rotation and to scale, so that it compares networks with unlike activations. It depends on n and on D:
    compare on the same samples only. Raises `NotApplicable`.
    """
    features, numbers = usable(features, labels)
    features = features / np.linalg.norm(features)
    parts = features - class_means(features, numbers)[numbers] if own_means else features
    rates = [coding_rate(parts[numbers == c]) for c in range(numbers.max() + 1)]
    return finite(coding_rate(features) - np.average(rates, weights=np.bincount(numbers)))


def transrate_original(features: Array, labels: Array) -> float:
    """R(X) - mean over classes of R(X_c) of features (n, D), centred together but not scaled; labels (n,).

    Source: Huang et al., ICML 2022, as in their code. Range: any number. HIGHER is better. Cost: n D min(n, D).
    Not comparable between networks whose features differ in scale (three times as large at scale 1 as at 0.01 in one
    example), and rare classes count as much as frequent ones: see `transrate`. Raises `NotApplicable`.
    """
    features, numbers = usable(features, labels)
    rates = [coding_rate(features[numbers == c]) for c in range(numbers.max() + 1)]
    return finite(coding_rate(features) - np.mean(rates))
