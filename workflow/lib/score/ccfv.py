"""CC-FV (Yang et al., Pick the best pre-trained model, MICCAI 2023): class consistency and feature variety, in two forms.

A layer is a list over the N images of {class: points (m, D)}, features at points sampled in the mask of each class, 0 the
background. HIGHER is better in both forms; they disagree about variety. Cost, a layer: an SVD of m x m (or D x D) for each
pair of images and class, and (published) all distances within each image.

Consistency compares, for each class but the background, the Gaussians of two images (mean, covariance over m - 1) by their
Wasserstein distance W2. An image without a class, or with a single point of it, has no part in that class; a class of fewer
than two images none in the score; classes and points are the same for all networks, so that this favours none. The published
implementation can do neither. It takes features of a trained decoder; of an encoder they are an adaptation, to be named as such.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.spatial.distance import pdist

from workflow.lib.score.applies import Array, finite, need

Layer = Sequence[Mapping[int, Array]]
Gaussian = tuple[Array, Array]

FLOOR = 1e-3  # added to squared distances of image means, by the published code


def ccfv_published(layers: Sequence[Layer]) -> float:
    """Mean over layers of ln(V / C), as the paper has it (its formula for V is taken from others' summaries).

    C = sum over classes of the mean of W2 over pairs of images. V = mean over images of 1/E, E = sum over ordered pairs of the
    image's points, of all classes with the background, of 1/distance: LARGER where the points of an image spread.
    Range: any number. Invariant to rotation and to scale. Points that coincide make E infinite, and 1/E 0. Raises
    `NotApplicable`.
    """
    _check(layers)
    values = []
    for layer in layers:
        sums = pair_sums(layer)
        consistency = sum(2 * total / (n * (n - 1)) for total, n in sums)
        values.append(
            _log_ratio(np.mean([spread(np.concatenate(list(image.values()))) for image in layer]), consistency)
        )
    return finite(np.mean(values))


def ccfv_code(layers: Sequence[Layer]) -> float:
    """Sum over layers of ln(V / w), as the authors' code computes it from given points.

    It differs from the paper: V = mean over pairs of images of 1/sqrt(d^2 + 1e-3), d the distance of the two means over all
    points, is an energy between images, LARGER where the images are alike, the opposite sign of variety. w is a sum over pairs,
    no mean: from 0, for each class w = (w + sum of W2) (1 + 2 / (N^2 K)), K classes, where the last factor was hardly meant.
    Layers are summed. Range: any number, at one set of points. NOT invariant to scale: features c times as large lower each
    layer's term by 2 ln c, which favours networks of small activations.
    Avoided: the modulus where rounding makes W2^2 negative or complex (0 here), and the code's sampling, which reuses the
    first batch's features for all windows. Raises `NotApplicable`.
    """
    _check(layers)
    total = 0.0
    for layer in layers:
        sums, weighted = pair_sums(layer), 0.0
        for value, _ in sums:
            weighted = (weighted + value) * (1 + 2 / (len(layer) ** 2 * len(sums)))
        means = np.array([np.concatenate(list(image.values())).mean(axis=0) for image in layer])
        total += _log_ratio(closeness(means), weighted)
    return finite(total)


def pair_sums(layer: Layer) -> list[tuple[float, int]]:
    """For each class but 0 in two images or more: the sum of W2 over the unordered pairs of images, and how many have it."""
    sums = []
    for name in sorted({name for image in layer for name in image} - {0}):
        fits = [gaussian(image[name]) for image in layer if len(image.get(name, ())) > 1]
        if len(fits) > 1:
            sums.append((float(pair_distances(fits).sum()), len(fits)))
    need(sums, "needs a class, besides the background, with two points or more in each of two images")
    return sums


def gaussian(points: Array) -> Gaussian:
    """Mean (D,) of points (m, D), and a factor (min(m, D), D) whose Gram matrix is their covariance."""
    points = np.asarray(points, dtype=np.float64)
    mean = points.mean(axis=0)
    factor = (points - mean) / np.sqrt(len(points) - 1)
    return mean, np.asarray(np.linalg.qr(factor, mode="r")) if len(points) > points.shape[1] else factor


def pair_distances(gaussians: Sequence[Gaussian]) -> Array:
    """W2 of all unordered pairs of two Gaussians or more. The trace of the root of two covariances' product is the nuclear norm
    of their factors' product."""
    means = np.array([mean for mean, _ in gaussians])
    most = max(len(factor) for _, factor in gaussians)
    factors = np.array([np.pad(factor, ((0, most - len(factor)), (0, 0))) for _, factor in gaussians])
    sizes = (factors**2).sum(axis=(1, 2))
    found = []
    for i in range(len(gaussians) - 1):  # one with all that follow: a call for each pair takes several times as long
        roots = np.linalg.svd(factors[i] @ factors[i + 1 :].transpose(0, 2, 1), compute_uv=False).sum(axis=1)
        total = ((means[i] - means[i + 1 :]) ** 2).sum(axis=1) + sizes[i] + sizes[i + 1 :]
        squared = total - 2 * roots
        found.append(np.sqrt(np.where(squared > 1e-13 * total, squared, 0)))  # less is rounding, of either sign
    return np.concatenate(found)


def spread(points: Array) -> float:
    """1/E of the points (m, D) of an image; 0 where two coincide."""
    distances = pdist(points)
    return 1 / (2 * (1 / distances).sum()) if distances.all() else 0.0


def closeness(means: Array) -> float:
    """Mean over pairs of images of 1/sqrt(d^2 + 1e-3), d the distance of their means (N, D)."""
    return float((1 / np.sqrt(pdist(means, "sqeuclidean") + FLOOR)).mean())


def _log_ratio(variety: float | np.floating, consistency: float) -> float:
    need(variety > 0, "points coincide in every image, so that their variety is 0")
    need(consistency > 0, "the classes have the same features in all images")
    return float(np.log(variety / consistency))


def _check(layers: Sequence[Layer]) -> None:
    need(layers and all(len(layer) > 1 for layer in layers), "needs a layer, and two images or more in each")
    for layer in layers:
        need(all(sum(map(len, image.values())) > 1 for image in layer), "needs two points or more in every image")
        everything = np.concatenate([points for image in layer for points in image.values()])
        need(np.isfinite(everything).all(), "some features are not finite")
        need(np.ptp(everything, axis=0).any(), "the features are constant")
