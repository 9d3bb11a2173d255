"""LEEP and NCE: how well classes that a network was trained on predict those of the target."""

import numpy as np

from workflow.lib.score.applies import Array, finite, need, one_hot, usable_labels


def leep(source_probabilities: Array, labels: Array) -> float:
    """Mean over samples of ln sum_z P(y|z) p_z, with P(y|z) from the probabilities p (n, Z) of the source classes; labels (n,).

    Source: Nguyen et al., LEEP, ICML 2020. Range: -infinity..0 (minus the entropy of the labels for a useless source).
    HIGHER is better. Cost: n Z K. Needs a classifier's output for each sample: image-level classifiers have none for pixels.
    Avoided: division by zero for a source class that is never predicted. Raises `NotApplicable`.
    """
    targets = one_hot(usable_labels(labels))
    p = np.asarray(source_probabilities, dtype=np.float64)
    need(p.ndim == 2 and len(p) == len(targets), f"needs a row of probabilities per label, found shape {p.shape}")
    need(np.isfinite(p).all() and (p >= 0).all(), "some source probabilities are negative or not finite")
    need(np.allclose(p.sum(axis=1), 1, atol=1e-3), "some rows of source probabilities do not sum to 1")
    joint = targets.T @ p
    marginal = joint.sum(axis=0)
    conditional = np.divide(joint, marginal, out=np.zeros_like(joint), where=marginal > 0)
    return finite(np.log(((p @ conditional.T) * targets).sum(axis=1)).mean())


def nce(source_labels: Array, labels: Array) -> float:
    """-H(y | z) in nats: minus the conditional entropy of labels y (n,) given the source labels z (n,).

    Source: Tran et al., Transferability and hardness of supervised classification tasks, ICCV 2019. Range -ln K..0. HIGHER is
    better. Cost: n. Needs a source class for each sample, as LEEP does. Some implementations add 1e-5 to every joint
    probability, which shifts the values; this one does not. Raises `NotApplicable`.
    """
    targets = one_hot(usable_labels(labels))
    need(len(source_labels) == len(targets), f"needs a source label per label, found {len(source_labels)}")
    _, z = np.unique(np.asarray(source_labels), return_inverse=True)
    joint = one_hot(z).T @ targets / len(targets)
    conditional = joint / joint.sum(axis=1, keepdims=True)
    return finite((joint * np.log(np.where(joint > 0, conditional, 1))).sum())
