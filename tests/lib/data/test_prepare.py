"""Resizing of images and masks as the protocols say, and arrays that do not match their card."""

import numpy as np
import pytest
from PIL import Image

from workflow.lib.data.prepare import intensity_scale
from workflow.lib.data.prepared import load_prepared
from workflow.lib.data.resize import Geometry, geometry, resize_image, resize_mask
from workflow.lib.run import UserError

HALF = Geometry(0.0, 2, 2, None)


def test_study_geometry_in_pixels():
    assert geometry("idrid", "squeezed", 224) == Geometry(
        96 / 4288, 1120, 2240, {"window": 448, "stride": 112, "crop": 224}
    )
    assert geometry("acdc", "squeezed", 224) == Geometry(0.0, 224, 224, None)


def test_paper_masks_have_the_false_labels_of_the_study():
    mask = np.array([[[0, 3, 3, 3]] * 4])  # halved: every new pixel is the mean of 2 x 2 old ones
    assert resize_mask(mask, HALF, "truncate").tolist() == [[[1, 3], [1, 3]]]
    assert set(np.unique(resize_mask(mask, HALF, "nearest"))) <= {0, 3}


def test_binary_paper_masks_shrink_or_grow():
    mask = np.array([[[0, 1, 1, 1]] * 4])
    assert resize_mask(mask, HALF, "truncate").tolist() == [[[0, 1], [0, 1]]]
    assert resize_mask(mask, HALF, "any").tolist() == [[[1, 1], [1, 1]]]


@pytest.mark.parametrize("side", [100, 216, 256, 333])
def test_uniform_regions_keep_their_label(side):
    for label in (1, 2, 3):
        assert (resize_mask(np.full((1, side, side), label), Geometry(0.0, 224, 224, None), "truncate") == label).all()


def test_images_are_smoothed_before_the_resize_under_sound_only():
    image = np.zeros((1, 1, 8, 8), np.uint8)
    image[..., 0, 0] = 255  # lies between the sampling points of a fourfold reduction
    assert resize_image(image, HALF, antialias=False).max() == 0
    assert resize_image(image, HALF, antialias=True)[0, 0, 0, 0] > 0
    image[..., 1:3, 1:3] = 100
    assert resize_image(image, HALF, antialias=False)[0, 0, 0, 0] == 100


def test_deep_pictures_and_empty_volumes_have_a_positive_scale():
    deep = np.full((1, 1, 4, 4), 4000, np.float32)
    assert intensity_scale(deep, "paper", nifti=False) == (4000, 4000)
    for intensities in ("raw", "scaled"):
        assert min(intensity_scale(np.zeros((1, 1, 4, 4), np.float32), intensities, nifti=True)) > 0


def test_sixteen_bit_and_colour_pictures(tmp_path, make_source, run_stage):
    for name in ("images", "masks"):
        (tmp_path / "raw" / name).mkdir(parents=True)
    for i in range(6):
        ramp = np.linspace(0, 60000, 400).reshape(20, 20)
        deep = Image.fromarray(ramp.astype(np.uint16))
        colour = Image.fromarray(np.stack([ramp / 256, 0 * ramp, 0 * ramp], -1).astype(np.uint8))
        (deep if i % 2 else colour).save(tmp_path / "raw" / "images" / f"{i}.png")
        Image.fromarray((ramp > 3e4).astype(np.uint8)).save(tmp_path / "raw" / "masks" / f"{i}.png")
    prepared = run_stage(make_source(tmp_path / "raw", "folder"), "sound", classes=["bright"])
    assert prepared.images.shape[1] == 3 and prepared.images.dtype == np.float32
    for image, mask, row in zip(prepared.images, prepared.masks, prepared.items.itertuples(), strict=True):
        assert image[0].max() / row.range == pytest.approx(1, abs=0.1)
        assert image[0][mask == 1].mean() > 2 * image[0][mask == 0].mean()
        assert (row.scale == 255) == (int(row.case) % 2 == 0)


def test_an_array_that_differs_from_its_card_is_refused(generated, make_source, run_stage):
    prepared = run_stage(make_source(generated / "covid_qu", "covid_qu"), "paper")
    folder = make_source(generated / "covid_qu", "covid_qu").parent / "paper-32"
    masks = np.array(prepared.masks)
    np.save(folder / "masks.npy", masks[:3])
    with pytest.raises(UserError) as error:
        load_prepared(folder)
    for part in ("(3, 32, 32) uint8", f"({len(masks)}, 32, 32) uint8", "masks.npy", "run the same command again"):
        assert part in str(error.value)
    content = (folder / "images.npy").read_bytes()
    (folder / "images.npy").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="images.npy"):
        load_prepared(folder)
