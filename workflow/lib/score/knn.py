"""Nearest neighbour: is the most alike sample of another patient of the same class?"""

import numpy as np

from workflow.lib.score.applies import Array, finite, usable, usable_groups

ROWS = 1024  # samples whose distances to all others are in memory at once


def knn(features: Array, labels: Array, groups: Array) -> float:
    """Share of samples whose nearest neighbour (Euclidean) of another group is of their class.

    Features (n, D), labels (n,), groups (n,) such as patients: pixels of one image are alike, and would find each other.
    With every sample its own group this is the leave-one-out accuracy. Of neighbours at equal distance the first counts.

    Source: as a transferability score, Bolya et al., PARC, NeurIPS 2021. Range 0..1. HIGHER is better; chance depends on the
    frequencies of the classes. Cost: n^2 D. Invariant to rotation, shift and one common scale. Raises `NotApplicable`.
    """
    features, numbers = usable(features, labels)
    members = usable_groups(groups, len(numbers))
    squares = (features**2).sum(axis=1)
    right = 0
    for rows in np.split(np.arange(len(features)), range(ROWS, len(features), ROWS)):
        distances = squares - 2 * features[rows] @ features.T  # but for a term that is the same for all neighbours
        distances[members[rows][:, None] == members] = np.inf
        right += int((numbers[distances.argmin(axis=1)] == numbers[rows]).sum())
    return finite(right / len(features))
