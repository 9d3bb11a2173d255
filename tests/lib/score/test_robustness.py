"""The robustness score: published pairs, closed forms, and the reference values where they are at hand (parity)."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cosine_similarity, interpolate

from tests.parity import parity_folder, score_of_views, uniform
from workflow.lib.score.pixels import TargetImages
from workflow.lib.score.robustness import (
    CHUNK,
    clipping_warning,
    distances,
    hinge,
    partner,
    pool,
    robustness_rows,
)


@pytest.mark.parametrize(
    ("n", "expected"), [(4, [1, 0, 3, 2]), (5, [1, 0, 4, 3, 2]), (6, [1, 0, 5, 4, 3, 2]), (7, [1, 0, 6, 5, 4, 3, 2])]
)
def test_partners_of_the_study(n: int, expected: list[int]) -> None:
    assert partner(n) == expected


def test_distances_closed_form() -> None:
    a, b = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[1.0, 1.0], [3.0, 0.0]])
    found = distances(a, b)
    assert found["cosine_distance"].tolist() == pytest.approx(
        np.array([[1 - 1 / np.sqrt(2), 0], [1 - 1 / np.sqrt(2), 1]])
    )
    assert found["l2_loss"].tolist() == pytest.approx(np.array([[0.5, 2], [1, 6.5]]))
    c, d = torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([[2.0, 1.0, 0.0]])
    assert distances(c, d)["inv_pearson_corr"].item() == pytest.approx(2.0)


def test_distances_of_large_maps_are_accumulated_in_double_precision() -> None:
    noise = torch.Generator().manual_seed(0)
    a = 5 + 0.01 * torch.randn(2, 200_000, generator=noise)
    b = a + 0.001 * torch.randn(2, 200_000, generator=noise)
    exact = [1 - np.corrcoef(x.double().numpy(), y.double().numpy())[0, 1] for x, y in zip(a, b, strict=True)]
    assert distances(a, b)["inv_pearson_corr"].diagonal().tolist() == pytest.approx(exact, abs=1e-7)


def test_pooling_averages_space_for_maps_and_channels_for_tokens() -> None:
    tokens = torch.tensor([[[0.0, 2.0], [4.0, 6.0], [2.0, 1.0]]])  # three positions, two channels
    for published in (True, False):
        assert torch.equal(pool(torch.arange(8.0).view(1, 2, 2, 2), published=published), torch.tensor([[1.5, 5.5]]))
    assert torch.equal(pool(tokens, published=True), torch.tensor([[1.0, 5.0, 1.5]]))
    assert torch.equal(pool(tokens, published=False), torch.tensor([[2.0, 3.0]]))


def test_sound_score_of_tokens_is_that_of_the_same_features_as_maps() -> None:
    """Swin's tokens, pooled over positions as the maps of the others; the published form pools over channels."""
    query, key = views_of(5)
    same = {}
    for published in (True, False):
        as_maps = score_of_views(lambda x: [x[:, :, ::2]], query, key, published=published)
        as_tokens = score_of_views(lambda x: [x[:, :, ::2].flatten(2).mT], query, key, published=published)
        same[published] = as_tokens[1, True, "l2_loss", 0.5] == pytest.approx(as_maps[1, True, "l2_loss", 0.5])
    assert same == {True: False, False: True}


def test_standardising_does_not_take_jitter_out_of_grey_images() -> None:
    """Brightness and contrast are affine there: standardised each by itself, both views of an image would be the same."""
    coarse = torch.rand(12, 1, 5, 5, generator=torch.Generator().manual_seed(0))
    grey = (0.1 + 0.7 * interpolate(coarse, size=24, mode="bicubic").clamp(0, 1)).repeat(1, 3, 1, 1)
    moved = {}
    for inputs in ("unchanged", "standardised"):
        views: list[torch.Tensor] = []
        options: dict[str, Any] = {"inputs": inputs, "draws": 1, "seed": 3, "published": False}

        def seen(x: torch.Tensor, views: list[torch.Tensor] = views) -> list[torch.Tensor]:
            views.append(x)
            return [x]

        list(robustness_rows(seen, as_chosen(grey), **options))
        query, key = (torch.cat(views[side::2]) for side in (0, 1))
        moved[inputs] = float((query - key).square().mean().sqrt() / query.std())
    assert moved["standardised"] > 0.1 and moved["standardised"] == pytest.approx(moved["unchanged"], rel=0.3)


def as_chosen(images: torch.Tensor) -> TargetImages:
    """Images as pictures of a target, without masks."""
    statistics = torch.stack([images.mean(dim=(1, 2, 3)), images.std(dim=(1, 2, 3))], dim=1)
    return TargetImages(images, statistics, None, np.arange(len(images)))


def views_of(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    return images.flip(-1), images.sqrt()


@pytest.mark.parametrize("n", [2, 5, CHUNK, CHUNK + 1, 2 * CHUNK + 3])
def test_published_score_in_chunks_equals_the_definition_on_the_whole_set(n: int) -> None:
    query, key = views_of(n)
    found = score_of_views(lambda x: [x, x[:, :2, ::2]], query, key, published=True)
    assert len(found) == 2 * 2 * 3 * 5
    for (level, pooled, name, margin), value in found.items():
        a, b = (query, key) if level == 1 else (query[:, :2, ::2], key[:, :2, ::2])
        matrix = (distances(*(pool(x, published=True) for x in (a, b))) if pooled else distances(a, b))[name]
        expected = hinge(matrix.diagonal(), matrix[range(n), partner(n)], margin).mean()
        assert value == pytest.approx(expected.item())


def test_all_settings_come_from_one_pass_over_each_view() -> None:
    seen: list[int] = []
    query, key = views_of(11)

    def encoder(x: torch.Tensor) -> list[torch.Tensor]:
        seen.append(len(x))
        return [x]

    for published in (True, False):
        seen.clear()
        score_of_views(encoder, query, key, published=published)
        assert sum(seen) == 2 * 11


def test_sound_score_has_no_self_pairs_and_the_mean_over_all_others() -> None:
    query, key = views_of(5)
    value = score_of_views(lambda x: [x], query, key, published=False)[1, False, "cosine_distance", 0.5]
    q, k = query.flatten(1).double(), key.flatten(1).double()
    d = 1 - cosine_similarity(q[:, None], k[None], dim=2)
    terms = [max(0.0, float(d[j, j] - d[j, i] + 0.5)) for j in range(5) for i in range(5) if i != j]
    assert value == pytest.approx(np.mean(terms))


def test_published_jitter_is_the_same_for_all_images_and_the_sound_one_is_not() -> None:
    images = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(2)).repeat(6, 1, 1, 1)
    for published in (True, False):
        views: list[torch.Tensor] = []

        def encoder(x: torch.Tensor, views: list[torch.Tensor] = views) -> list[torch.Tensor]:
            views.append(x)
            return [x + 1]

        list(robustness_rows(encoder, as_chosen(images), inputs="unchanged", draws=1, seed=3, published=published))
        same = all(torch.equal(image, view[0]) for view in views for image in view)
        assert same is published and not torch.equal(views[0], views[1])


def test_interval_over_draws_of_jitter() -> None:
    images = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(4))
    single = [
        list(robustness_rows(lambda x: [x], as_chosen(images), inputs="unchanged", draws=1, seed=0, published=True))[0]
    ]
    several = list(
        robustness_rows(lambda x: [x], as_chosen(images), inputs="unchanged", draws=4, seed=0, published=True)
    )
    assert np.isnan(single[0]["ci_low"])
    for row in several:
        assert row["draws"] == 4 and row["ci_low"] <= row["value"] <= row["ci_high"]
    assert any(row["ci_low"] < row["ci_high"] for row in several)
    again = list(robustness_rows(lambda x: [x], as_chosen(images), inputs="unchanged", draws=4, seed=0, published=True))
    assert again == several


def test_scores_of_features_that_do_not_vary_are_missing_and_say_why() -> None:
    images = torch.rand(4, 3, 8, 8)
    rows = list(
        robustness_rows(
            lambda x: [torch.ones(len(x), 2, 2, 2)],
            as_chosen(images),
            inputs="unchanged",
            draws=2,
            seed=0,
            published=True,
        )
    )
    for row in rows:
        undefined = row["metric"] == "inv_pearson_corr"
        assert np.isnan(row["value"]) == undefined and row["warning"].startswith("undefined") == undefined


def test_raw_intensities_are_warned_of() -> None:
    images = torch.rand(4, 3, 8, 8)
    assert clipping_warning(images) == ""
    assert "outside 0..1" in clipping_warning(images * 300)
    rows = list(
        robustness_rows(lambda x: [x], as_chosen(images * 300), inputs="unchanged", draws=1, seed=0, published=True)
    )
    assert all("clipped by the jitter" in row["warning"] for row in rows)


def test_parity_of_the_score() -> None:
    reference = json.loads((parity_folder() / "study" / "robustness.json").read_text())
    shapes = {"nchw": (6, 4, 5), "nlc": (16, 6)}
    for case in reference["cases"]:
        n, layout = case["n"], case["layout"]
        shape = (n, *shapes[layout])
        count = int(np.prod(shape))
        k0 = 700000 + 10 * n + (0 if layout == "nchw" else 5)
        spread = 0.2 + 0.15 * (np.arange(count) // (count // n))
        base = 0.4 + uniform(reference["seed"], count, k0)
        q, k = (
            torch.from_numpy(
                (base + spread * uniform(reference["seed"], count, k0 + 1 + view)).astype(np.float32)
            ).view(shape)
            for view in (0, 1)
        )
        if case["pooled"]:
            q, k = (pool(x, published=True) for x in (q, k))
        matrix = distances(q, k)[case["distance"] if "distance" in case else case["metric"]]
        terms = hinge(matrix.diagonal(), matrix[range(n), partner(n)], case["margin"])
        assert terms.tolist() == pytest.approx(case["per_image"], abs=5e-6), case
        assert terms.mean().item() == pytest.approx(case["mean"], abs=5e-6)
