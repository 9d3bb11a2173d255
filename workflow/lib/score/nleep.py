"""NLEEP: LEEP with clusters of the features instead of source classes."""

import numpy as np
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture

from workflow.lib.score.applies import Array, need, usable
from workflow.lib.score.leep import leep

VARIANCE, CLUSTERS = 0.8, 5  # kept by the PCA; for each class


def nleep(features: Array, labels: Array, *, seed: int) -> float:
    """LEEP on the posteriors of a Gaussian mixture of 5 K components with full covariances, fitted to the features' principal
    components up to 80 % of the variance. Features (n, D), labels (n,) of K classes; `seed` starts the mixture.

    Source: Li et al., Ranking neural checkpoints, CVPR 2021. Range: -H(y)..0 but for rounding. HIGHER is better. Cost:
    n D^2 + D^3 for the PCA, n d^2 K per step of the mixture of d components. Invariant to rotation and to one common scale.
    With fewer samples per cluster than d the posteriors are all 0 or 1: minus the entropy of the labels within clusters.
    Avoided: implementations that leave out the logarithm. Raises `NotApplicable`.
    """
    features, numbers = usable(features, labels)
    clusters = CLUSTERS * (numbers.max() + 1)
    need(len(numbers) >= 2 * clusters, f"needs {2 * clusters} samples for {clusters} clusters, found {len(numbers)}")
    # The mixture adds 1e-6 to its variances, which has to mean the same at any scale of the features.
    features = features * np.sqrt(features.size) / np.linalg.norm(features)
    # Their covariance gives the same components as an SVD of wide features, faster but for few samples.
    solver = "covariance_eigh" if len(features) > features.shape[1] else "full"
    parts = PCA(VARIANCE, svd_solver=solver).fit_transform(features)
    mixture = GaussianMixture(clusters, random_state=seed % 2**32).fit(parts)
    return leep(mixture.predict_proba(parts), numbers)
