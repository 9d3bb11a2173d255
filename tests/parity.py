"""The reference sets of expected outputs: where they are, and their number source."""

import os
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from workflow.lib.score.robustness import Features, Setting, terms_of_views


def parity_folder() -> Path:
    """The folder with manifests.json and study/ (environment variable PARITY_DIR, else ../shared/parity), or skip."""
    folder = Path(os.environ.get("PARITY_DIR", Path(__file__).parents[2] / "shared" / "parity"))
    if not folder.is_dir():
        pytest.skip(f"parity folder {folder} is absent (set PARITY_DIR)")
    return folder


def uniform(seed: int, count: int, k: int) -> np.ndarray:
    """The reference's integer hash: `count` float64 numbers v(j, k) in [-1, 1)."""
    with np.errstate(over="ignore"):
        j = np.arange(1, count + 1, dtype=np.uint64)
        z = np.uint64(seed) + j * np.uint64(0x9E3779B97F4A7C15) + np.uint64(k + 1) * np.uint64(0xD1B54A32D192ED03)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return 2 * ((z >> np.uint64(11)).astype(np.float64) * 2.0**-53) - 1


def score_of_views(features: Features, query: Tensor, key: Tensor, *, published: bool) -> dict[Setting, float]:
    """The robustness score in every setting, from one pass over each view (n, 3, s, s)."""
    return {s: float(terms.mean()) for s, terms in terms_of_views(features, query, key, published=published).items()}
