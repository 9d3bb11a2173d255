"""GBC: how much the classes, as Gaussians in feature space, overlap."""

from itertools import combinations
from typing import Literal

import numpy as np

from workflow.lib.score.applies import Array, class_means, finite, usable

FLOOR = 1e-4  # least variance, of the published code


def gbc(features: Array, labels: Array, kind: Literal["diagonal", "spherical"] = "diagonal") -> float:
    """-sum over ordered pairs of classes of exp(-B), B the Bhattacharyya distance of their Gaussians.

    Features (n, D), labels (n,). Variances of each class (over n_c, at least 1e-4): of each channel (diagonal), or their mean
    over the channels (spherical).

    Source: Pandy et al., Transferability estimation using Bhattacharyya class separability, CVPR 2022. Range -K(K-1)..0.
    HIGHER is better. Cost: n D. Not invariant to scale (only through the floor) nor, diagonal, to rotation. With hundreds
    of channels exp(-B) vanishes: its logarithm would still rank, so reduce the channels first (published: PCA to 64).
    Avoided: the published spherical code counts the log term of B once instead of D times. Raises `NotApplicable`.
    """
    features, numbers = usable(features, labels)
    means = class_means(features, numbers)
    variances = class_means((features - means[numbers]) ** 2, numbers)
    if kind == "spherical":
        variances = np.broadcast_to(variances.mean(axis=1, keepdims=True), means.shape)
    return finite(overlap(means, np.maximum(variances, FLOOR)))


def overlap(means: Array, variances: Array) -> float:
    """-sum over ordered pairs of exp(-Bhattacharyya distance) of Gaussians with means and variances, (K, D) each.

    Variances of shape (K, 1) count the log term once, as the published spherical code does.
    """
    total = 0.0
    for a, b in combinations(range(len(means)), 2):
        both = (variances[a] + variances[b]) / 2
        logs = (np.log(both) - np.log(variances[a]) / 2 - np.log(variances[b]) / 2).sum()
        total -= 2 * np.exp(-((means[a] - means[b]) ** 2 / both).sum() / 8 - logs / 2)
    return total
