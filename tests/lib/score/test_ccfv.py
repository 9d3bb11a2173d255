"""CC-FV in both forms: what tells them apart, and when they can't be had."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from workflow.lib.score.applies import NotApplicable
from workflow.lib.score.ccfv import Layer, ccfv_code, ccfv_published, gaussian, pair_distances
from workflow.lib.score.label_scores import POINT_COMPONENTS, POINTS, _points, label_rows
from workflow.lib.score.pixels import TargetImages
from workflow.lib.score.registry import SCORES, Sample


def layer(
    between: float = 0.3, within: float = 1.0, scale: float = 1.0, images: int = 4
) -> list[dict[int, np.ndarray]]:
    """Points of two classes and the background, images `between` and points of one `within` apart."""
    rng = np.random.default_rng(3)
    found = []
    for _ in range(images):
        own = between * rng.normal(size=5)
        found.append({k: scale * (2 * k + own + within * rng.normal(size=(12, 5))) for k in range(3)})
    return found


def test_wasserstein_of_the_definition_for_few_and_many_points() -> None:
    rng = np.random.default_rng(0)
    for m in (3, 30):
        a, b = rng.normal(size=(m, 4)), 2 * rng.normal(size=(m + 1, 4)) + 1
        ca, cb = np.cov(a.T), np.cov(b.T)
        squared = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(ca + cb) - 2 * np.trace(sqrtm(ca @ cb)).real
        assert pair_distances([gaussian(a), gaussian(b)])[0] == pytest.approx(np.sqrt(squared), rel=1e-6)


def test_only_the_published_form_is_invariant_to_scale() -> None:
    one, ten = [layer()], [layer(scale=10)]
    assert ccfv_published(ten) == pytest.approx(ccfv_published(one))
    assert ccfv_code(ten) < ccfv_code(one) - 4


def test_layers_are_averaged_in_the_published_form_and_summed_in_the_code() -> None:
    first, second = layer(), layer(between=1.0)
    assert ccfv_published([first, second]) == pytest.approx((ccfv_published([first]) + ccfv_published([second])) / 2)
    assert ccfv_code([first, second]) == pytest.approx(ccfv_code([first]) + ccfv_code([second]))


def test_classes_alike_in_all_images_score_higher_in_both_forms() -> None:
    for score in (ccfv_published, ccfv_code):
        assert score([layer(between=0.1)]) > score([layer(between=2.0)])


def test_variety_within_images_raises_the_published_form_and_not_the_code() -> None:
    """Points of the background, in which consistency takes no part, moved away from the others with their mean kept."""

    def spread_background(image: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
        mean = image[0].mean(axis=0)
        return {**image, 0: mean + 3 * (image[0] - mean)}

    narrow = layer()
    wide = [spread_background(image) for image in narrow]
    assert ccfv_published([wide]) > ccfv_published([narrow])
    assert ccfv_code([wide]) == pytest.approx(ccfv_code([narrow]))


def test_images_without_a_class_have_no_part_in_it() -> None:
    full, lacking = layer(), layer()
    del lacking[0][2]
    lacking[1][2] = lacking[1][2][:1]
    assert np.isfinite(ccfv_code([lacking])) and ccfv_published([lacking]) != ccfv_published([full])
    only_one = [{k: points for k, points in image.items() if k < 2} for image in full]
    rare = [*only_one[:-1], full[-1]]
    assert ccfv_code([rare]) == pytest.approx(
        ccfv_code([[*only_one[:-1], {**only_one[-1], 0: np.concatenate([full[-1][0], full[-1][2]])}]])
    )


def broken(value: float) -> Layer:
    images = layer()
    images[0][1][0, 0] = value
    return images


@pytest.mark.parametrize("score", [ccfv_published, ccfv_code])
def test_not_applicable_says_why(score: Callable[..., float]) -> None:
    for layers, reason in [
        ([], "needs a layer"),
        ([layer(images=1)], "two images"),
        ([broken(np.nan)], "not finite"),
        ([[{k: np.ones_like(p) for k, p in image.items()} for image in layer()]], "constant"),
        ([[{0: image[0]} for image in layer()]], "besides the background"),
        ([[layer()[0]] * 3], "same features in all images"),
        ([[{}, *layer()]], "in every image"),
    ]:
        with pytest.raises(NotApplicable, match=reason):
            score(layers)


def test_points_that_coincide_leave_no_variety() -> None:
    doubled = [{k: np.concatenate([p, p]) for k, p in image.items()} for image in layer()]
    with pytest.raises(NotApplicable, match="coincide"):
        ccfv_published([doubled])
    assert np.isfinite(ccfv_published([[*doubled[:-1], layer()[-1]]]))


def test_distances_of_the_points_drawn_are_those_of_all_pixels() -> None:
    """Of 8 points in 128 dimensions, as the pixels of other scores would give, most of the distance is sampling."""
    rng = np.random.default_rng(0)
    sizes = np.arange(1, 129) ** -0.5
    images = []
    for _ in range(4):
        mixing = sizes[:, None] * (np.eye(128) + 0.15 * rng.normal(size=(128, 128)))
        images.append(0.5 * sizes * rng.normal(size=128) + rng.normal(size=(4000, 128)) @ mixing.T)
    axes = np.linalg.svd(np.concatenate(images) - np.concatenate(images).mean(axis=0), full_matrices=False)[2].T

    def bias(points: int, dimensions: int) -> float:
        full = [image @ axes[:, :dimensions] for image in images]
        fits = [[gaussian(part) for part in parts] for parts in (full, [part[:points] for part in full])]
        truth, drawn = (pair_distances(fit).sum() for fit in fits)
        return drawn / truth - 1

    assert bias(8, 128) > 0.6 and abs(bias(POINTS, POINT_COMPONENTS)) < 0.15


def test_a_cell_of_two_classes_is_of_either() -> None:
    cells = np.random.default_rng(0).normal(size=(100, 3))
    both = np.repeat([0, 1], 100)
    level = Sample(np.vstack([cells, cells]), None, both, both, np.zeros(200, int), None, seed=0)
    points = _points(level, level.image == 0)
    assert len(points[0]) + len(points[1]) == 100 and 30 < len(points[1]) < 70


def test_levels_of_an_encoder_are_averaged_in_the_form_of_the_code() -> None:
    rng = np.random.default_rng(0)
    layer = [{0: rng.normal(size=(20, 4)), 1: rng.normal(size=(20, 4))} for _ in range(4)]
    score = SCORES["cc_fv_code"].compute
    assert score([layer] * 3) == pytest.approx(score([layer] * 5))


def test_ccfv_gets_points_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    masks = np.zeros((3, 32, 32), np.uint8)
    masks[:2, :16] = 1
    masks[2, 0, :5] = 1
    generator = torch.Generator().manual_seed(0)
    chosen = TargetImages(torch.randn(3, 40, 32, 32, generator=generator), torch.zeros(3, 2), masks, np.arange(3))
    seen: list[list[Layer]] = []

    def compute(layers: list[Layer]) -> float:
        seen.append(layers)
        return float(len(seen))

    stand_in = dataclasses.replace(SCORES["cc_fv_code"], compute=compute)
    monkeypatch.setitem(SCORES, "cc_fv_code", stand_in)
    levels = lambda x: [x, x[:, :, ::2, ::2].flatten(2).mT]  # noqa: E731  maps and tokens
    [row] = label_rows(["cc_fv_code"], levels, chosen, None, pixels=400, samples=2, components=4, seed=0)
    assert row["value"] == 1.5 and row["sample"] is None
    counts, coarse = [[len(points) for image in layer for points in image.values()] for layer in seen[0]]
    assert counts == [POINTS] * 5 + [5]
    assert all(0 < few <= many for few, many in zip(coarse, counts, strict=True)) and sum(coarse) < sum(
        counts
    )  # of a cell, one
    for layer in seen[0]:
        points = np.concatenate([points for image in layer for points in image.values()])
        assert points.shape[1] == POINT_COMPONENTS and 0.5 < (points**2).mean() < 2
