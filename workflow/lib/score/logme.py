"""LogME: how well a Bayesian linear regression explains the labels by the features."""

import numpy as np

from workflow.lib.score.applies import Array, centred, finite, one_hot, usable_features, usable_labels

STEPS, TOLERANCE, FLOOR = 11, 1e-3, 1e-5  # of the published iteration


def logme(features: Array, labels: Array, *, intercept: bool = False) -> float:
    """Log evidence per sample of a linear regression of each class's indicator, mean over the K classes.

    For an indicator t (n,): ln N(t; 0, I/b + XX'/a), at the published fixed point of a (precision of the weights) and b
    (of the noise): a = g / |m|^2, b = (n - g) / residual, g = sum s/(s + a/b) over the eigenvalues s of X'X.
    Features (n, D) as they are, labels (n,). intercept: features and indicators are centred first, so that the regression has
    a constant; centred features need it, or no weights can tell a class from what is not it. The published form has none:
    channels that are never negative serve as one.

    Source: You et al., LogME, ICML 2021. Range: any number. HIGHER is better. Cost: n D min(n, D).
    Invariant to rotation. To scale, too, up to a root mean square of about 1; beyond, the 1e-5 in the published denominators
    holds the evidence down (by 0.02 at 100 and 0.6 at 1000, in an example), so bring the features to 1 before.
    Avoided: the published code counts D/2 ln a but leaves the D - rank null directions out of the determinant, which
    rewards wide features of few samples; here both count the rank. Raises `NotApplicable`.
    """
    numbers = usable_labels(labels)
    targets, features = one_hot(numbers), usable_features(features, len(numbers))
    if intercept:
        targets, features = centred(targets), centred(features)
    squares, products = spectrum(features, targets)
    pairs = zip(products.T**2, (targets**2).sum(axis=0), strict=True)
    return finite(np.mean([evidence(squares, p, total, len(numbers)) for p, total in pairs]) / len(numbers))


def spectrum(features: Array, targets: Array) -> tuple[Array, Array]:
    """Squared singular values (r,) of features (n, D) of rank r, and products (r, K) of the left vectors with targets (n, K)."""
    n, width = features.shape
    rounding = max(n, width) * np.finfo(float).eps
    if n > width:  # the triangle of a QR decomposition holds both, and is small
        triangle = np.asarray(np.linalg.qr(np.hstack([features, targets]), mode="r"))
        features, targets = triangle[:width, :width], triangle[:width, width:]
    left, singular, _ = np.linalg.svd(features, full_matrices=False)
    kept = singular > singular[0] * rounding
    return singular[kept] ** 2, left[:, kept].T @ targets


def evidence(squares: Array, projected: Array, total: float, n: int) -> float:
    """Log evidence of one target with |t|^2 = `total` and n samples, at the fixed point.

    squares (r,): eigenvalues of X'X other than 0; projected (r,): squared products of the target with its left vectors.
    """
    outside, a, b, ratio = max(total - projected.sum(), 0.0), 1.0, 1.0, 1.0

    def fit(ratio: float) -> tuple[float, float]:
        """Squared length of the weights, and squared residual."""
        weights = (squares * projected / (squares + ratio) ** 2).sum()
        return weights, outside + (projected * (ratio / (squares + ratio)) ** 2).sum()

    for _ in range(STEPS):
        weights, residual = fit(ratio)
        effective = (squares / (squares + ratio)).sum()
        a, b = effective / (weights + FLOOR), (n - effective) / (residual + FLOOR)
        before, ratio = ratio, a / b
        if abs(ratio - before) <= TOLERANCE * before:
            break
    weights, residual = fit(ratio)
    determinant = len(squares) * np.log(a) + n * np.log(b) - np.log(a + b * squares).sum()
    return (determinant - b * residual - a * weights - n * np.log(2 * np.pi)) / 2
