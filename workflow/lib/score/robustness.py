"""The contrastive robustness score (Hidy et al., arXiv 2410.18677): how little jitter moves features, against other images.

For features q, k of two jittered views of n images: term_j = max(0, d(q_j, k_j) - d(q_j, k_i) + margin) with another image
i, and the score is the mean over images. LOWER is more robust, despite the name.

`published` is the study's score: one draw of jitter for a whole view, i = (1 - j) mod n, so that for odd n one image stands
against itself, and Swin's tokens pooled over their channels. `sound` corrects that: jitter drawn for each image, the mean over
several other images i, and all features pooled over positions.

Where networks see standardised images, views are standardised by mean and SD of the case without jitter. By their own they
would lose what the jitter did: on grey images it is affine, brightness and contrast, and standardising takes that out.
"""

import math
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import v2

from workflow.lib.evidence.intervals import half_width
from workflow.lib.job.run import derive_seed
from workflow.lib.networks.build import seeded
from workflow.lib.score.pixels import TargetImages
from workflow.lib.training.device import standardise

MARGINS = (0.0, 0.25, 0.5, 0.75, 1.0)
DISTANCES = ("cosine_distance", "l2_loss", "inv_pearson_corr")
UNDEFINED = "undefined: features of an image do not vary, or are not finite"
CHUNK = 8  # images whose unpooled maps are in memory at once; even, as the study's images come in pairs
PART = 16384  # features of an image that become float64 at a time

Features = Callable[[Tensor], list[Tensor]]  # network inputs (n, 3, s, s) -> feature maps, shallow to deep
Setting = tuple[int, bool, str, float]  # level (from 1), pooled, distance, margin


def partner(n: int) -> list[int]:
    """The study's negative of image j is image (1 - j) mod n; for odd n one image is its own negative."""
    return [(1 - j) % n for j in range(n)]


def pool(features: Tensor, *, published: bool) -> Tensor:
    """Mean over positions (n, c) of maps (n, c, h, w) or tokens (n, l, c). Published: tokens become (n, l), as the study takes
    the last axis of both for positions, so that Swin's features are averaged over channels."""
    tokens = features.ndim == 3 and not published
    return features.mean(dim=1) if tokens else features.flatten(2).mean(dim=2)


def distances(a: Tensor, b: Tensor) -> dict[str, Tensor]:
    """All distances between features a and b (n, ...), flattened: (n, n) float64, row from a, column from b.

    Accumulated in float64, as float32 leaves up to 7e-4 of rounding in the score of large maps; part by part, as whole maps in
    float64 fit into no processor's cache. `l2_loss` is the mean squared difference, without a root.
    """
    pair = a.flatten(1), b.flatten(1)
    count = pair[0].shape[1]
    products = torch.zeros(len(a), len(b), dtype=torch.float64, device=a.device)
    totals = [torch.zeros(2, len(x), dtype=torch.float64, device=x.device) for x in pair]  # sums, sums of squares
    for parts in zip(*(x.split(PART, dim=1) for x in pair), strict=True):
        x, y = (part.double() for part in parts)
        products += x @ y.T
        for total, part in zip(totals, (x, y), strict=True):
            total += torch.stack([part.sum(dim=1), torch.linalg.vecdot(part, part)])
    sums, squares = ((mine[:, None], other[None]) for mine, other in zip(*totals, strict=True))
    covariance = products - sums[0] * sums[1] / count
    variances = [square - total.square() / count for square, total in zip(squares, sums, strict=True)]
    return {
        "cosine_distance": 1 - products / (squares[0] * squares[1]).sqrt(),
        "l2_loss": (squares[0] + squares[1] - 2 * products) / count,
        "inv_pearson_corr": 1 - covariance / (variances[0] * variances[1]).sqrt(),
    }


def hinge(positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    """max(0, positive - negative + margin)."""
    return (positive - negative + margin).clamp(min=0)


def terms_of_views(features: Features, query: Tensor, key: Tensor, *, published: bool) -> dict[Setting, Tensor]:
    """The terms (n,), float64, whose mean over images is the score, in every setting."""
    n = len(query)
    partners = partner(n)
    terms: dict[Setting, Tensor] = {}
    for chunk in _study_chunks(n) if published else torch.arange(n).tensor_split(math.ceil(n / CHUNK)):
        places = chunk.tolist()
        maps = zip(features(query[chunk]), features(key[chunk]), strict=True)
        for level, (q, k) in enumerate(maps, start=1):
            for pooled in (True, False):
                pair = [pool(x, published=published) if pooled else x for x in (q, k)]
                for name, d in distances(*pair).items():
                    positive = d.diagonal()[:, None]
                    if published:
                        negative = d[range(len(d)), [places.index(partners[j]) for j in places]][:, None]
                    else:
                        negative = d[~torch.eye(len(d), dtype=torch.bool, device=d.device)].view(len(d), -1)
                    for margin in MARGINS:
                        setting = (level, pooled, name, margin)
                        found = hinge(positive, negative, margin).mean(dim=1).cpu()
                        terms.setdefault(setting, torch.empty(n, dtype=found.dtype))[chunk] = found
    return terms


def robustness_rows(
    features: Features, chosen: TargetImages, *, inputs: str, draws: int, seed: int, published: bool
) -> Iterator[dict[str, Any]]:
    """The score of the images, jittered before they become network inputs (`inputs`: unchanged | standardised), in every
    setting: mean over `draws` pairs of views, and its 95 % interval.

    The interval is a t interval over draws of jitter, absent for one draw; it says nothing about other images. `warning`
    says where the jitter cuts off intensities, and why a value is missing. `terms`: for each image, its mean over draws.
    """
    found = []
    for draw in range(draws):
        with seeded(derive_seed(seed, "jitter", draw)):
            jittered = [_jittered(chosen.images, whole=published) for _ in range(2)]
        views = [standardise(view, inputs, chosen.statistics) for view in jittered]
        found.append(terms_of_views(features, *views, published=published))
    warning = clipping_warning(chosen.images)
    for level, pooled, name, margin in product(sorted({s[0] for s in found[0]}), (True, False), DISTANCES, MARGINS):
        terms = torch.stack([draw[level, pooled, name, margin] for draw in found])
        values = terms.mean(dim=1)
        mean = float(values.mean())
        spread = float(half_width(draws - 1, float(values.std()), draws)) if draws > 1 else math.nan
        row = {"metric": name, "margin": margin, "pooled": pooled, "level": level, "value": mean}
        row |= {"terms": terms.mean(dim=0).tolist(), "by_draw": values.tolist()}
        row |= {"ci_low": mean - spread, "ci_high": mean + spread, "draws": draws}
        yield row | {"warning": warning if math.isfinite(mean) else "; ".join(filter(None, [UNDEFINED, warning]))}


def clipping_warning(images: Tensor) -> str:
    """A sentence where more than 1 % of the values lie outside 0..1, at which the jitter cuts them; else empty."""
    outside = float(((images < 0) | (images > 1)).float().mean())
    return f"{outside:.0%} of the intensities are outside 0..1 and are clipped by the jitter" if outside > 0.01 else ""


def _jittered(images: Tensor, *, whole: bool) -> Tensor:
    """A view: the study's jitter with one draw of factors and order for the whole batch, or one for each image."""
    jitter = v2.ColorJitter(brightness=0.1, contrast=0.05, saturation=0.1, hue=0.05)
    return jitter(images) if whole else torch.stack([jitter(image) for image in images])


def _study_chunks(n: int) -> list[Tensor]:
    """Images in chunks that hold each one's partner too, so that maps of the whole set are never in memory."""
    partners = partner(n)
    # For odd n the image that is its own partner goes last, so that it does not tear pairs apart.
    order = sorted(range(n), key=lambda j: (j == partners[j], min(j, partners[j]), j))
    return list(torch.tensor(order).split(CHUNK))
