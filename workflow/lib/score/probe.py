"""Probe: how well a linear classifier trained on the features predicts the classes of other patients."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize
from sklearn.model_selection import StratifiedGroupKFold

from workflow.lib.score.applies import (
    Array,
    finite,
    need,
    one_hot,
    standard_components,
    usable_features,
    usable_groups,
    usable_labels,
)

FOLDS = 5
# Half of it times the squared weights is added to the mean loss; rows have length 1.
PENALTIES = 10.0 ** -np.arange(0.5, 5)
FALLBACK = 2  # the number of the penalty where classes have too few groups to choose one


def probe(features: Array, labels: Array, groups: Array, *, seed: int, components: int | None = None) -> float:
    """Mean log probability, in nats, of the true class of held-out samples under a logistic regression.

    Features (n, D), in their `standard_components`; labels (n,); groups (n,) such as patients: those of a group are never
    apart. Five folds (or as many as groups), drawn by `seed`, with classes as evenly spread as the groups allow. The ridge
    penalty of each fold is the one of `PENALTIES` that serves best within its training patients, where two of the other folds are
    predicted from those that are left.

    The baseline of Bolya et al., PARC, NeurIPS 2021, but by log probability, which distinguishes features of equal accuracy.
    Range -infinity..0; -H(y) knows no more than the frequencies of the classes, and lower is misled. HIGHER is better. Cost:
    30 regressions, some 7 passes over (n, components) each. Invariant to scale and shift of every channel. Raises
    `NotApplicable`, also where a class has too few groups to train and evaluate on.
    """
    return finite(_held_out([features], labels, groups, seed, components).mean())


def probe_by_group(
    levels: Sequence[Array], labels: Array, groups: Array, *, seed: int, components: int | None = None
) -> dict[str, float]:
    """What each group contributes to `probe`, from the features of all levels side by side: its sum of log probabilities in
    units of n / groups, so that the mean over groups is the mean over samples.

    So a group counts by its samples: in a balanced sample a patient without a class, who speaks of the background alone,
    counts less than one who shows both. levels: features (n, D) of each level, what a decoder with skip connections sees.
    Values of groups can be compared between checkpoints in pairs. They are not independent: groups share the probes
    (`rank.resolve` allows for it). Raises `NotApplicable` as `probe`.
    """
    found = _held_out(levels, labels, groups, seed, components)
    names, members = np.unique(groups, return_inverse=True)
    sums = np.bincount(members, found) * len(names) / len(found)
    return {str(name): finite(value) for name, value in zip(names, sums, strict=True)}


def _held_out(levels: Sequence[Array], labels: Array, groups: Array, seed: int, components: int | None) -> Array:
    """Log probabilities (n,) of the true classes, each from the probe that did not see the sample's group."""
    numbers = usable_labels(labels, per_class=2)
    features = standard_components([usable_features(level, len(numbers)) for level in levels], components)
    members = usable_groups(groups, len(numbers))
    spread = [len(np.unique(members[numbers == c])) for c in range(numbers.max() + 1)]
    need(min(spread) > 1, "needs every class in two groups or more, to train on one and evaluate on the other")
    splitter = StratifiedGroupKFold(
        min(FOLDS, members.max() + 1, *np.bincount(numbers)), shuffle=True, random_state=seed % 2**32
    )
    fold = np.empty(len(numbers), dtype=int)
    for number, (_, held) in enumerate(splitter.split(features, numbers, members)):
        fold[held] = number
    folds, targets = np.unique(fold), one_hot(numbers)  # some are empty where few groups differ much in size
    gained = np.zeros((FOLDS, len(PENALTIES)))  # by a penalty, inside the training patients of each fold
    # Probes that saw neither of two folds choose penalties for both.
    for one, other in zip(folds, np.roll(folds, 1), strict=True):
        train = (fold != one) & (fold != other)
        if targets[train].any(axis=0).all():
            for i, logs in enumerate(_log_probabilities(features, targets, train, PENALTIES)):
                gained[one, i] += logs[fold == other].sum()
                gained[other, i] += logs[fold == one].sum()
    found = np.empty(len(numbers))
    for k in folds:
        train = fold != k
        need(targets[train].any(axis=0).all(), "a class is in too few groups to be in every training split")
        chosen = gained[k].argmax() if gained[k].any() else FALLBACK
        found[fold == k] = _log_probabilities(features, targets, train, PENALTIES[chosen : chosen + 1])[0][fold == k]
    return found


def _log_probabilities(features: Array, targets: Array, train: Array, penalties: Array) -> list[Array]:
    """Of all samples, from logistic regressions on `train` (n,) alone: for each penalty, the log probabilities (n,) of their
    classes, targets (n, K)."""
    own, truth = features[train], targets[train]
    variances = (own**2).mean(axis=0)
    shape = (features.shape[1] + 1, targets.shape[1])
    start, found = np.zeros(shape), []
    start[-1] = np.log(truth.mean(axis=0))  # the intercept, without penalty
    for penalty in penalties:
        # The components are all but uncorrelated, so that in these units no direction is steeper than the others.
        units = np.append(1 / np.sqrt(variances / 4 + penalty), 1)[:, None]

        def loss(flat: Array, penalty: float = penalty, units: Array = units) -> tuple[float, Array]:
            weights = units * flat.reshape(shape)
            logs = _log_softmax(own @ weights[:-1] + weights[-1])
            wrong = (np.exp(logs) - truth) / len(truth)
            slope = np.vstack([own.T @ wrong + penalty * weights[:-1], wrong.sum(axis=0)])
            value = penalty / 2 * (weights[:-1] ** 2).sum() - (logs * truth).sum() / len(truth)
            return value, (units * slope).ravel()

        start = units * minimize(loss, (start / units).ravel(), jac=True, method="L-BFGS-B", tol=1e-5).x.reshape(shape)
        logs = _log_softmax(features @ start[:-1] + start[-1])
        found.append((logs * targets).sum(axis=1))
    return found


def _log_softmax(scores: Array) -> Array:
    """Of each row (n, K); scipy's takes longer to start than a row of so few to compute."""
    scores = scores - scores.max(axis=1, keepdims=True)
    return scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
