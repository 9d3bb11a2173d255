"""Probe: how well a linear classifier trained on the features predicts the classes of other patients."""

from collections.abc import Sequence

import numpy as np
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.preprocessing import StandardScaler

from workflow.lib.score.applies import Array, finite, need, usable, usable_groups

FOLDS, STRENGTH = 5, 0.01  # inverse of the squared penalty, on the sum over samples: likelihoods suffer from weak ones


def probe(features: Array, labels: Array, groups: Array, *, seed: int) -> float:
    """Mean log probability, in nats, of the true class of held-out samples under a logistic regression.

    Features (n, D), standardised by the training part; labels (n,); groups (n,) such as patients: those of a group are never
    apart. Five folds (or as many as groups), drawn by `seed`, with classes as evenly spread as the groups allow.

    The baseline of Bolya et al., PARC, NeurIPS 2021, but by log probability, which tells apart features of equal accuracy.
    Range -infinity..0; -H(y) knows no more than the frequencies of the classes, and lower is misled. HIGHER is better. Cost:
    about 100 n D K. Invariant to scale and shift of every channel. Raises `NotApplicable`, also where a class has too few
    groups to train and judge on.
    """
    return finite(_held_out(features, labels, groups, seed).mean())


def probe_by_group(levels: Sequence[Array], labels: Array, groups: Array, *, seed: int) -> dict[str, float]:
    """The mean of `probe`'s log probabilities for each group, from the features of all levels side by side.

    levels: features (n, D) of each level, what a decoder with skip connections sees. Values of groups, not of samples, can be
    compared between checkpoints in pairs. They are not independent: groups share the probes (`rank.resolve` allows for it).
    Raises `NotApplicable` as `probe`.
    """
    found = _held_out(np.hstack(levels), labels, groups, seed)
    names, members = np.unique(groups, return_inverse=True)
    means = np.bincount(members, found) / np.bincount(members)
    return {str(name): finite(value) for name, value in zip(names, means, strict=True)}


def _held_out(features: Array, labels: Array, groups: Array, seed: int) -> Array:
    """Log probabilities (n,) of the true classes, each from the probe that did not see the sample's group."""
    features, numbers = usable(features, labels)
    members = usable_groups(groups, len(numbers))
    spread = [len(np.unique(members[numbers == c])) for c in range(numbers.max() + 1)]
    need(min(spread) > 1, "needs every class in two groups or more, to train on one and judge on the other")
    folds = StratifiedGroupKFold(
        min(FOLDS, members.max() + 1, *np.bincount(numbers)), shuffle=True, random_state=seed % 2**32
    )
    found = np.empty(len(numbers))
    for train, held in folds.split(features, numbers, members):
        need(len(np.unique(numbers[train])) == len(spread), "a class is in too few groups to be in every training part")
        if not len(held):  # where few groups differ much in size
            continue
        scaler = StandardScaler().fit(features[train])
        model = LogisticRegression(C=STRENGTH, max_iter=1000).fit(scaler.transform(features[train]), numbers[train])
        scores = model.decision_function(scaler.transform(features[held]))
        if scores.ndim == 1:  # of two classes, that of the second
            scores = np.column_stack([np.zeros(len(scores)), scores])
        # The model's own logarithms are -infinity where a probability is below the least double.
        found[held] = log_softmax(scores, axis=1)[np.arange(len(held)), numbers[held]]
    return found
