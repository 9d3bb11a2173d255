"""The contrastive robustness score (Hidy et al., arXiv 2410.18677): how little jitter moves features, against other images.

For features q, k of two jittered views of n images: term_j = max(0, d(q_j, k_j) - d(q_j, k_partner(j)) + margin), and
the score is the mean over images. LOWER is more robust, despite the name.
"""

from torch import Tensor

MARGINS = (0.0, 0.25, 0.5, 0.75, 1.0)
DISTANCES = ("cosine_distance", "l2_loss", "inv_pearson_corr")


def partner(n: int) -> list[int]:
    """The negative of image j is image (1 - j) mod n; for odd n one image is its own negative."""
    return [(1 - j) % n for j in range(n)]


def pool(features: Tensor) -> Tensor:
    """Mean over the last axis after flattening from axis 2: (n, c, h, w) -> (n, c); tokens (n, l, c) -> (n, l), so that
    Swin's features are averaged over channels, as the study does."""
    return features.flatten(2).mean(dim=2)


def distance(name: str, a: Tensor, b: Tensor) -> Tensor:
    """Distance per image of features (n, ...), flattened, in float64 -> (n,). `l2_loss` is the mean squared difference."""
    a, b = a.flatten(1).double(), b.flatten(1).double()
    if name == "l2_loss":
        return (a - b).square().mean(dim=1)
    if name == "inv_pearson_corr":
        a, b = a - a.mean(dim=1, keepdim=True), b - b.mean(dim=1, keepdim=True)
    return 1 - (a * b).sum(dim=1) / (a.norm(dim=1) * b.norm(dim=1))


def robustness(positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    """Hinge per image (n,), from the distances to the same image's and to the partner's other view."""
    return (positive - negative + margin).clamp(min=0)
