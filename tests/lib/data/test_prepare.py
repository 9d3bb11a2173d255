"""Resizing of images and masks as the protocols say, and arrays that do not match their card."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from workflow.lib.data.geometry import Geometry, box_of, geometry
from workflow.lib.data.lost import lesions_left, lesions_of, seen_lesions
from workflow.lib.data.prepare import intensity_scale, mean_and_sd
from workflow.lib.data.prepared import Prepared, load_prepared, truths_of
from workflow.lib.data.resize import resize_image, resize_mask
from workflow.lib.job.run import UserError
from workflow.lib.score.pixels import PADDING, SAMPLES, sample_pixels, sample_points, target_images

HALF = (2, 2)


def test_study_geometry_in_pixels() -> None:
    assert geometry("idrid", "squeezed", 224) == Geometry(
        96 / 4288, 1120, 2240, {"window": 448, "stride": 112, "crop": 224}
    )
    assert geometry("acdc", "squeezed", 224) == Geometry(0.0, 224, 224, None)


def test_images_keep_their_aspect_under_sound_only() -> None:
    assert box_of(geometry("folder", "squeezed", 64), 100, 200) == (0, 0, 64, 64)
    kept = geometry("folder", "kept", 64)
    assert box_of(kept, 100, 200) == (16, 0, 32, 64) and box_of(kept, 200, 100) == (0, 16, 64, 32)
    assert box_of(kept, 1, 1000) == (31, 0, 1, 64)


def wide_pictures(folder: Path) -> Path:
    """Grey pictures of 60 x 120 pixels on which a bright disc lies; on the last, one pixel only."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    y, x = np.mgrid[:60, :120]
    for i in range(6):
        disc = (y - 30) ** 2 + (x - 40 - 5 * i) ** 2 < (1 if i == 5 else 400)
        Image.fromarray(np.where(disc, 200, 100).astype(np.uint8)).save(folder / f"images/{i}.png")
        Image.fromarray(disc.astype(np.uint8)).save(folder / f"masks/{i}.png")
    return folder


def test_discs_on_wide_pictures_stay_round(
    tmp_path: Path, make_source: Callable[..., Path], run_stage: Callable[..., Prepared]
) -> None:
    source = make_source(wide_pictures(tmp_path / "raw"), "folder")
    for protocol, box in (("sound", (8, 0, 16, 32)), ("paper", (0, 0, 32, 32))):
        data = run_stage(source, protocol, classes=["disc"])
        assert (data.items[["top", "left", "height", "width"]].to_numpy() == box).all()
        y, x = np.nonzero(data.masks[data.items.index[data.items["case"] == "0"][0]])
        assert (np.ptp(y) == np.ptp(x)) == (protocol == "sound")
        assert (data.items["spacing_y"] == data.items["spacing_x"]).all() == (protocol == "sound")
        outside = np.ones(data.images.shape[2:], bool)
        outside[box[0] : box[0] + box[2], box[1] : box[1] + box[3]] = False
        assert not data.images[:, 0, outside].any() and (data.images[:, 0, ~outside] > 90).all()
        for case, mean, sd in data.items[["case", "mean", "sd"]].itertuples(index=False):
            picture = np.asarray(Image.open(tmp_path / "raw" / "images" / f"{case}.png")) / 255
            assert (mean, sd) == (pytest.approx(picture.mean(), abs=1e-5), pytest.approx(picture.std(), abs=1e-5))


def dotted_pictures(folder: Path) -> Path:
    """Six masks of 64 x 64 pixels: a disc, but for the last; on four a speck that 32 pixels lose, on three one that they keep."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    y, x = np.mgrid[:64, :64]
    for i in range(6):
        disc = (y - 40) ** 2 + (x - 40) ** 2 < 100
        mask = disc.astype(np.uint8) * (i < 5)
        if i > 1:
            mask[3, 3] = i < 5
            mask[10, 10] = 1  # 32 pixels take the odd rows and columns
        Image.fromarray(np.where(disc, 200, 100 + i).astype(np.uint8)).save(folder / f"images/{i}.png")
        Image.fromarray(mask).save(folder / f"masks/{i}.png")
    return folder


def test_lesions_that_vanish_in_resizing_are_counted_by_part(
    tmp_path: Path,
    make_source: Callable[..., Path],
    run_stage: Callable[..., Prepared],
    caplog: pytest.LogCaptureFixture,
) -> None:
    data = run_stage(make_source(dotted_pictures(tmp_path / "raw"), "folder"), "sound", classes=["spot"])
    cases = {part: set(rows["case"]) for part, rows in data.items.groupby("part")}
    shown = {"0": 1, "1": 1, "2": 3, "3": 3, "4": 3, "5": 1}
    expected = {p: [sum(c in "2345" for c in names), sum(shown[c] for c in names)] for p, names in cases.items()}
    assert data.card["lost_lesions"] == {"spot": expected}
    assert "own: at 32 pixels, lesions vanish (connected regions): spot 4 of 12 (train " in caplog.text
    assert "all of them in 1 of the 6 cases that show any; next: raise image_size" in caplog.text


def test_lesions_are_connected_regions_of_one_class() -> None:
    mask = np.zeros((3, 6, 6), np.int32)
    mask[0, 0, 0] = mask[1, 1, 1] = 1  # touch at a corner, across slices
    mask[0, 4:, 4:] = 2
    mask[0, 4, 5] = 1  # beside the other class
    mask[2, 4:, 4:] = 2  # not on the slice between
    numbers, owners = lesions_of(mask, 3)
    assert np.bincount(owners[1:], minlength=4).tolist() == [0, 2, 2, 0]
    assert numbers[0, 0, 0] == numbers[1, 1, 1] and (owners[numbers] == mask).all()
    whole = lesions_left(mask, 3, np.array([0, 2]), lambda part: part[:, 2:, 2:], mask[[0, 2], 2:, 2:])
    assert whole.tolist() == [[2, 2, 0], [2, 2, 0], [1, 2, 0], [1, 2, 0]]


@pytest.mark.parametrize("rule", ["nearest", "truncate", "any"])
@pytest.mark.parametrize(("side", "small"), [(37, 16), (64, 64), (50, 10), (16, 37)])
def test_lesions_are_seen_exactly_where_the_resized_mask_shows_them(rule: str, side: int, small: int) -> None:
    """Each lesion is resized alone: one class, lesions apart."""
    rng = np.random.default_rng(side)
    mask = (rng.random((2, side, side)) < 0.08).astype(np.int32)
    numbers, owners = lesions_of(mask, 1)
    seen = set(seen_lesions(numbers, owners, resize_mask(mask, (small, small), rule)).tolist())
    alone = (
        i for i in range(1, len(owners)) if resize_mask((numbers == i).astype(np.int32), (small, small), rule).any()
    )
    assert len(owners) > 9 and seen == set(alone) - {0}


def test_masks_before_the_resize_are_kept(
    tmp_path: Path, make_source: Callable[..., Path], run_stage: Callable[..., Prepared]
) -> None:
    data = run_stage(make_source(wide_pictures(tmp_path / "raw"), "folder"), "sound", classes=["disc"])
    truth = truths_of(data)
    for case in data.items["case"]:
        stored = np.asarray(Image.open(tmp_path / "raw" / "masks" / f"{case}.png"))
        assert np.array_equal(truth(case), stored[None])
    data.truth.write_bytes(data.truth.read_bytes()[:-40])
    with pytest.raises(UserError, match=r"truth\.npz"):
        truths_of(data)


def test_scores_do_not_see_the_padding(
    tmp_path: Path, make_source: Callable[..., Path], run_stage: Callable[..., Prepared]
) -> None:
    data = run_stage(make_source(wide_pictures(tmp_path / "raw"), "folder"), "sound", classes=["disc"])
    chosen = target_images(data, 4, seed=0)
    assert chosen.masks is not None
    assert (chosen.masks[:, :8] == PADDING).all() and (chosen.masks[:, 8:24] < 2).all()
    samples = [sample_pixels(chosen.masks, chosen.groups, 5000, kind, seed=0) for kind in SAMPLES]
    for pixels in [*samples, sample_points(chosen.masks, chosen.groups, 5000, seed=0)]:
        assert len(pixels.y) == len(chosen.masks) * 16 * 32 and 0.25 < pixels.y.min() < pixels.y.max() < 0.75
        assert set(pixels.label) == {0, 1}


def test_small_intensities_have_a_scale() -> None:
    """Maps of diffusivity in m²/s, for example."""
    values = np.linspace(0, 3e-9, 64, dtype=np.float32).reshape(1, 1, 8, 8)
    scale, _ = intensity_scale(values, "scaled", nifti=True)
    assert scale == pytest.approx(3e-9, rel=0.02)


def test_mean_and_sd_of_a_volume_are_those_of_all_voxels() -> None:
    volume = np.random.default_rng(0).normal(100, 20, (5, 3, 8, 8)).astype(np.float32)
    assert mean_and_sd(volume) == pytest.approx((volume.mean(), volume.std()), rel=1e-5)


def test_paper_masks_have_the_false_labels_of_the_study() -> None:
    mask = np.array([[[0, 3, 3, 3]] * 4])  # halved: every new pixel is the mean of 2 x 2 old ones
    assert resize_mask(mask, HALF, "truncate").tolist() == [[[1, 3], [1, 3]]]
    assert set(np.unique(resize_mask(mask, HALF, "nearest"))) <= {0, 3}


def test_binary_paper_masks_shrink_or_grow() -> None:
    mask = np.array([[[0, 1, 1, 1]] * 4])
    assert resize_mask(mask, HALF, "truncate").tolist() == [[[0, 1], [0, 1]]]
    assert resize_mask(mask, HALF, "any").tolist() == [[[1, 1], [1, 1]]]


@pytest.mark.parametrize("side", [100, 216, 256, 333])
def test_uniform_regions_keep_their_label(side: int) -> None:
    for label in (1, 2, 3):
        assert (resize_mask(np.full((1, side, side), label), (224, 224), "truncate") == label).all()


def test_images_are_smoothed_before_the_resize_under_sound_only() -> None:
    image = np.zeros((1, 1, 8, 8), np.uint8)
    image[..., 0, 0] = 255  # lies between the sampling points of a fourfold reduction
    assert resize_image(image, HALF, antialias=False).max() == 0
    assert resize_image(image, HALF, antialias=True)[0, 0, 0, 0] > 0
    image[..., 1:3, 1:3] = 100
    assert resize_image(image, HALF, antialias=False)[0, 0, 0, 0] == 100


def test_deep_pictures_and_empty_volumes_have_a_positive_scale() -> None:
    deep = np.full((1, 1, 4, 4), 4000, np.float32)
    assert intensity_scale(deep, "paper", nifti=False) == (4000, 4000)
    for intensities in ("raw", "scaled"):
        assert min(intensity_scale(np.zeros((1, 1, 4, 4), np.float32), intensities, nifti=True)) > 0


def test_sixteen_bit_and_colour_pictures(
    tmp_path: Path, make_source: Callable[..., Path], run_stage: Callable[..., Prepared]
) -> None:
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


def test_an_array_that_differs_from_its_card_is_refused(
    generated: Path, make_source: Callable[..., Path], run_stage: Callable[..., Prepared]
) -> None:
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


def lesions(folder: Path, *corners: int, size: int = 60) -> Path:
    """Noise of `size` pixels, each picture with a lesion of 12 pixels whose upper left corner lies at (corner, corner)."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for number, corner in enumerate(corners):
        mask = np.zeros((size, size), np.uint8)
        mask[corner : corner + 12, corner : corner + 12] = 255
        noise = np.random.default_rng(number).integers(0, 256, mask.shape, np.uint8)
        Image.fromarray(noise).save(folder / f"images/{number}.png")
        Image.fromarray(mask).save(folder / f"masks/{number}.png")
    return folder


def test_what_a_crop_cuts_away_is_said(
    tmp_path: Path,
    make_source: Callable[..., Path],
    run_stage: Callable[..., Prepared],
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = lesions(tmp_path / "raw", 0, 0, 4, 24, 24, 24, 24, 24)
    run_stage(make_source(folder, "folder"), "sound", classes=["lesion"], crop=40)
    lost = 100 * (144 - 6 * 6 + 2 * (144 - 2 * 2)) / (8 * 144)
    assert f"crop 40 cuts away {lost:.1f} % of all pixels of lesion, and all of them in 0 of the 8 cases" in caplog.text
    run_stage(make_source(folder, "folder"), "sound", classes=["lesion"], crop=36)
    lost = 100 * (2 * 144 + 144 - 4 * 4) / (8 * 144)
    assert f"crop 36 cuts away {lost:.1f} % of all pixels of lesion, and all of them in 2 of the 8 cases" in caplog.text


@pytest.mark.parametrize(
    ("corner", "size", "crop", "found", "step"),
    [
        (0, 60, 24, "cases show it, 0 after crop 24", "raise crop, or remove it"),
        (40, 1500, None, "0 at 32 pixels", "raise image_size"),
    ],
)
def test_a_class_that_all_training_images_lose_is_refused(
    corner: int,
    size: int,
    crop: int | None,
    found: str,
    step: str,
    tmp_path: Path,
    make_source: Callable[..., Path],
    run_stage: Callable[..., Prepared],
) -> None:
    source = make_source(lesions(tmp_path / "raw", *[corner] * 4, size=size), "folder")
    with pytest.raises(UserError, match="no training image of target own shows lesion") as error:
        run_stage(source, "sound", classes=["lesion"], crop=crop)
    assert found in str(error.value) and step in str(error.value)
    assert not (source.parent / "sound-32" / "images.npy").exists()


def test_images_of_one_value_are_named(
    tmp_path: Path,
    make_source: Callable[..., Path],
    run_stage: Callable[..., Prepared],
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = lesions(tmp_path / "raw", *[24] * 4)
    Image.new("L", (60, 60), 90).save(folder / "images/2.png")
    run_stage(make_source(folder, "folder"), "sound", classes=["lesion"])
    assert "own: 1 of 4 images are of one grey level: 2 (window (none), crop (none))" in caplog.text


@pytest.mark.parametrize("window", [[-2000, -1000], [-1e6, 1e6]])
def test_a_window_that_leaves_nothing_is_refused(
    window: list[float],
    generated: Path,
    make_source: Callable[..., Path],
    run_stage: Callable[..., Prepared],
    tmp_path: Path,
) -> None:
    for name, suffix in (("images", ""), ("masks", "_gt")):
        (tmp_path / "raw" / name).mkdir(parents=True)
        for file in (generated / "acdc").glob(f"training/*/*_frame01{suffix}.nii.gz"):
            shutil.copy(file, tmp_path / "raw" / name / file.name.replace("_gt", ""))
    source = make_source(tmp_path / "raw", "folder")
    with pytest.raises(UserError, match="show nothing") as error:
        run_stage(source, "sound", classes=["a", "b", "c"], window=window)
    assert "4 of 4 images are of one grey level" in str(error.value) and f"window {window}" in str(error.value)
