"""The robustness score: published pairs, closed forms, and the reference values where they are at hand (parity)."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from workflow.lib.score.robustness import distance, partner, pool, robustness
from workflow.lib.score.score import CHUNK, robustness_rows


@pytest.mark.parametrize(
    ("n", "expected"), [(4, [1, 0, 3, 2]), (5, [1, 0, 4, 3, 2]), (6, [1, 0, 5, 4, 3, 2]), (7, [1, 0, 6, 5, 4, 3, 2])]
)
def test_partners_of_the_study(n: int, expected: list[int]):
    assert partner(n) == expected


def test_distances_closed_form():
    a, b = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 1.0]])
    assert distance("cosine_distance", a, b).item() == pytest.approx(1 - 1 / np.sqrt(2))
    assert distance("l2_loss", a, b).item() == pytest.approx(0.5)
    c, d = torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([[2.0, 1.0, 0.0]])
    assert distance("inv_pearson_corr", c, d).item() == pytest.approx(2.0)


def test_pooling_averages_space_for_maps_and_channels_for_tokens():
    assert torch.equal(pool(torch.arange(8.0).view(1, 2, 2, 2)), torch.tensor([[1.5, 5.5]]))
    assert torch.equal(pool(torch.tensor([[[0.0, 2.0], [4.0, 6.0], [1.0, 1.0]]])), torch.tensor([[1.0, 5.0, 1.0]]))


@pytest.mark.parametrize("n", [2, 5, CHUNK, CHUNK + 1, 2 * CHUNK + 3])
def test_score_in_chunks_equals_the_score_of_the_whole_set(n: int, monkeypatch: pytest.MonkeyPatch):
    images = torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    views = iter([images.flip(-1), images.sqrt()])
    monkeypatch.setattr("workflow.lib.score.score.jitter", lambda: lambda _: next(views))
    rows = list(robustness_rows(lambda x: [x, x[:, :2, ::2]], images, draws=1, seed=0))
    assert len(rows) == 2 * 3 * 5 * 2
    q, k = images.flip(-1), images.sqrt()
    for row in rows:
        a, b = (q, k) if row["level"] == 1 else (q[:, :2, ::2], k[:, :2, ::2])
        if row["pooled"]:
            a, b = pool(a), pool(b)
        positive, negative = distance(row["metric"], a, b), distance(row["metric"], a, b[partner(n)])
        assert row["value"] == pytest.approx(robustness(positive, negative, row["margin"]).mean().item())


def parity_folder() -> Path:
    folder = Path(os.environ.get("PARITY_DIR", Path(__file__).parents[4] / "shared" / "parity"))
    if not folder.is_dir():
        pytest.skip(f"parity folder {folder} is absent (set PARITY_DIR)")
    return folder


def uniform(seed: int, count: int, k: int) -> np.ndarray:
    """The reference's integer hash, as numbers in -1..1."""
    with np.errstate(over="ignore"):
        j = np.arange(1, count + 1, dtype=np.uint64)
        z = np.uint64(seed) + j * np.uint64(0x9E3779B97F4A7C15) + np.uint64(k + 1) * np.uint64(0xD1B54A32D192ED03)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return 2 * ((z >> np.uint64(11)).astype(np.float64) * 2.0**-53) - 1


def test_parity_of_the_score():
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
            q, k = pool(q), pool(k)
        name = case["distance"] if "distance" in case else case["metric"]
        terms = robustness(distance(name, q, k), distance(name, q, k[partner(n)]), case["margin"])
        assert torch.allclose(terms, torch.tensor(case["per_image"], dtype=torch.float64), atol=5e-6, rtol=0), case
        assert terms.mean().item() == pytest.approx(case["mean"], abs=5e-6)
