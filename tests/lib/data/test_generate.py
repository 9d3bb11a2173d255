"""Generated data: reproducible, in the official layouts, and with textures of one scale everywhere."""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from workflow.lib.data.generate import generate
from workflow.lib.data.textures import TEXTURES, texture


def test_official_names(generated: Path) -> None:
    for path in (
        "imagenet/train/n90000000/n90000000_train_0.JPEG",
        "imagenet/val/n90000011/n90000011_val_1.JPEG",
        "acdc/training/patient004/Info.cfg",
        "acdc/testing/patient101/patient101_frame01_gt.nii.gz",
        "idrid/A. Segmentation/1. Original Images/b. Testing Set/IDRiD_07.jpg",
        "idrid/A. Segmentation/2. All Segmentation Groundtruths/a. Training Set/1. Microaneurysms/IDRiD_01_MA.tif",
        "covid_qu/Infection Segmentation Data/Infection Segmentation Data/Val/Normal/lung masks/normal_val_1.png",
    ):
        assert (generated / path).exists(), path
    soft = generated.glob("idrid/A. Segmentation/2. All*/a. Training Set/4. Soft Exudates/*.tif")
    assert len(list(soft)) == 3  # of six


def test_files_look_like_the_official_ones(generated: Path) -> None:
    header: Any = nib.load(generated / "acdc/training/patient001/patient001_frame01.nii.gz").header
    x, y, z = header.get_zooms()
    assert 1.37 <= x <= 1.68 and x == y and z in (5, 10) and header.get_data_dtype() == np.int16
    masks = generated / "idrid/A. Segmentation/2. All Segmentation Groundtruths/a. Training Set/1. Microaneurysms"
    red = np.asarray(Image.open(masks / "IDRiD_01_MA.tif"))
    assert red[..., 0].max() == 255 and red[..., 1:].max() == 0
    assert np.unique(np.asarray(Image.open(masks / "IDRiD_01_MA.tif").convert("L"))).tolist() == [0, 76]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_files(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        generate("covid_qu", tmp_path / name, image_size=16, seed=seed, train=2, test=1)
    files = {name: [f.read_bytes() for f in sorted((tmp_path / name).rglob("*.png"))] for name in "abc"}
    assert files["a"] == files["b"] != files["c"]


@pytest.mark.parametrize("kind", TEXTURES)
@pytest.mark.parametrize("factor", [2, 4])
def test_a_texture_drawn_larger_has_its_scale_after_the_reduction(kind: str, factor: int) -> None:
    """The lag at which the autocorrelation halves agrees between a drawn and a drawn-larger-then-reduced texture."""
    rng = np.random.default_rng(0)
    plain = texture(kind, (128, 128), rng)
    large = texture(kind, (128 * factor, 128 * factor), rng, (factor, factor))
    reduced = large[factor // 2 :: factor, factor // 2 :: factor]
    assert abs(neighbour_correlation(plain) - neighbour_correlation(reduced)) < 0.12


def neighbour_correlation(image: np.ndarray) -> float:
    pairs = [(image[1:], image[:-1]), (image[:, 1:], image[:, :-1])]
    return float(np.mean([np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in pairs]))


def test_textures_differ(generated: Path) -> None:
    rng = np.random.default_rng(0)
    found = {kind: neighbour_correlation(texture(kind, (128, 128), rng)) for kind in TEXTURES}
    assert found["blobs"] > 0.85 and 0.3 < found["grain"] < 0.75 and found["blobs"] > found["dots"]
