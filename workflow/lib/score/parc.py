"""PARC: do samples of the same class have alike features?"""

import numpy as np
from scipy.stats import rankdata

from workflow.lib.score.applies import Array, above_rounding, centred, finite, need, usable


def parc(features: Array, labels: Array, *, seed: int, most: int = 2000) -> float:
    """100 times Spearman's correlation, over pairs of samples, of 1 - the correlation of their features with whether their
    classes differ. Features (n, D), each channel standardised; labels (n,).

    Source: Bolya et al., Scalable diverse model selection for accessible transfer learning, NeurIPS 2021. Range -100..100.
    HIGHER is better. Cost: n^2 D in time and n^2 in memory, so that at most `most` samples take part, drawn by `seed`.
    Invariant to scale and shift of every channel; channels that vary by no more than rounding are left out. Not for principal
    components: standardised, the last of them weigh as much as the first. Avoided: the published code correlates
    indicators of the classes in floating point, where rounding, which differs between processors, breaks the ties of pairs of
    one class if K is not 2 (48.9, 49.1 or 51.5 on one set of 30 samples; 51.5 is right). Raises `NotApplicable`.
    """
    features, numbers = usable(features, labels)
    if len(numbers) > most:
        drawn = np.random.default_rng(seed).choice(len(numbers), most, replace=False)
        features, numbers = centred(features[drawn]), numbers[drawn]
        need(np.ptp(numbers), f"needs two classes or more, the {most} samples drawn have one")
    sizes = np.linalg.norm(features, axis=0)
    varying = above_rounding(sizes, features.shape)
    features = features[:, varying] / sizes[varying]
    need(features.shape[1] > 1, "needs two channels that vary, to correlate samples over channels")
    need(np.ptp(features, axis=1).all(), "a sample has the same value in all channels, once these are standardised")
    pairs = np.triu_indices(len(features), 1)
    differ = (numbers[:, None] != numbers)[pairs].astype(float)
    distances = rankdata(1 - np.corrcoef(features)[pairs])
    return finite(100 * np.corrcoef(distances, differ)[0, 1])
