"""Volumes that are stored along other axes: one direction of slices in a target, and masks that lie where they belong."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from tests.lib.data.conftest import REGISTRY
from workflow.lib.data.images import read_image, read_mask
from workflow.lib.data.orientation import common_axes, mask_shift
from workflow.lib.data.prepared import Prepared
from workflow.lib.data.verify import verify_target
from workflow.lib.job.run import UserError

SPACING = np.array([1.2, 1.5, 5.0])


def volume(seed: int = 0, axes: str = "LPS", tilt: float = 0.0) -> tuple[nib.Nifti1Image, nib.Nifti1Image]:
    """A volume of 12 x 10 x 4 voxels stored along `axes`, with its mask; tilt: a turn around the patient's x axis, degrees."""
    rng = np.random.default_rng(seed)
    angle = np.deg2rad(tilt)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn @ np.diag(SPACING * (-1, -1, 1)), (90, 100, -50)
    image = rng.integers(1, 1000, (12, 10, 4)).astype(np.int16)
    pair = [nib.Nifti1Image(data, affine) for data in (image, (image > 700).astype(np.uint8))]
    to = axcodes2ornt(axes)
    image, mask = (file.as_reoriented(ornt_transform(axcodes2ornt("LPS"), to)) for file in pair)
    return image, mask


def save(folder: Path, *pairs: tuple[nib.Nifti1Image, nib.Nifti1Image]) -> Path:
    for name, place in (("images", 0), ("masks", 1)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number, pair in enumerate(pairs):
            nib.save(pair[place], folder / name / f"{number}.nii.gz")
    return folder


def verify(source: Path) -> Path:
    cases = source.parent / "images.csv"
    verify_target(source=source, cases=cases, registry=REGISTRY, target="own", classes=["lesion"])
    return cases


@pytest.mark.parametrize("axes", ["LPS", "RAS", "PSL", "LAS"])
def test_volumes_of_equal_axes_stay_as_stored(
    axes: str, tmp_path: Path, make_source: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    folder = save(tmp_path / "raw", *(volume(seed, axes) for seed in range(3)))
    assert common_axes(sorted((folder / "images").iterdir())) == "" and "orientation" not in caplog.text
    lines = verify(make_source(folder, "folder")).read_text().splitlines()
    assert all(line.endswith(",") for line in lines[1:])
    image: Any = nib.load(folder / "images/0.nii.gz")
    stored = np.asarray(image.dataobj)
    assert np.array_equal(read_image(folder / "images/0.nii.gz")[0][:, 0], stored.T)


def test_volumes_of_other_axes_are_turned_to_those_of_most(
    tmp_path: Path,
    make_source: Callable[..., Path],
    run_stage: Callable[..., Prepared],
    caplog: pytest.LogCaptureFixture,
) -> None:
    plain = [volume(seed) for seed in range(8)]
    source = make_source(save(tmp_path / "plain", *plain), "folder", "plain")
    expected = run_stage(source, "sound", classes=["lesion"])
    kinds = ["LPS", "RAS", "LPS", "PSL", "LPS", "SLP", "LIA", "RPI"]
    mixed = save(tmp_path / "mixed", *(volume(seed, axes) for seed, axes in enumerate(kinds)))
    data = run_stage(make_source(mixed, "folder", "mixed"), "sound", classes=["lesion"])
    assert "(3 LPS, 1 RAS, 1 PSL, 1 SLP, 1 LIA, 1 RPI): all are turned to LPS, slices along S" in caplog.text
    assert np.array_equal(data.images, expected.images) and np.array_equal(data.masks, expected.masks)
    assert data.items.equals(expected.items)  # spacings too


def test_without_a_majority_all_become_ras(tmp_path: Path) -> None:
    folder = save(tmp_path, *(volume(0, axes) for axes in ("PSL", "RAS", "LPS")))
    files = sorted((folder / "images").iterdir())
    assert common_axes(files) == "RAS"
    turned = [read_image(file, "RAS") for file in files]
    assert all(np.array_equal(image, turned[0][0]) and spacing == turned[0][1] for image, spacing in turned)
    assert turned[0][1] == pytest.approx(SPACING[::-1])


def test_labelled_slices_of_turned_volumes(
    tmp_path: Path, make_source: Callable[..., Path], run_stage: Callable[..., Prepared]
) -> None:
    pairs = []
    for seed in range(8):
        image, mask = volume(seed)
        labels = np.zeros(mask.shape, np.uint8)
        labels[2:8, 2:8, seed % 4] = 1
        to = ornt_transform(io_orientation(mask.affine), axcodes2ornt("PSL" if seed % 2 else "RAS"))
        pairs.append((image.as_reoriented(to), nib.Nifti1Image(labels, mask.affine)))
    data = run_stage(
        make_source(save(tmp_path / "raw", *pairs), "folder"), "sound", classes=["lesion"], slices="labelled"
    )
    for case, rows in data.items[data.items["part"] == "train"].groupby("case"):
        assert rows["item"].tolist() == [f"{case}_z{int(case) % 4:02d}"] and data.masks[rows.index].any()


def test_oblique_volumes_are_not_turned(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = save(
        tmp_path, *(volume(0, "LPS", tilt) for tilt in (30, 44, 46, 60))
    )  # 46: its third axis is nearest to y
    assert common_axes(sorted((folder / "images").iterdir())) == ""
    assert "2 oblique" not in caplog.text and "2 are oblique: all are used as stored" in caplog.text


def test_headers_without_orientation_are_not_guessed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = save(tmp_path, volume(0), volume(1))
    nib.save(nib.Nifti1Image(np.ones((12, 10, 4), np.int16), None), folder / "images/1.nii.gz")
    assert common_axes(sorted((folder / "images").iterdir())) == "" and "not all headers have one" in caplog.text


@pytest.mark.parametrize("tilt", [0, 45])
@pytest.mark.parametrize("axes", ["RPS", "SRA"])
def test_a_mask_stored_along_other_axes_is_turned(
    axes: str, tilt: int, tmp_path: Path, make_source: Callable[..., Path]
) -> None:
    image, mask = volume(0, "LPS", tilt)
    folder = save(tmp_path / "raw", (image, mask), (image, volume(0, axes, tilt)[1]))
    verify(make_source(folder, "folder"))
    expected = np.asarray(mask.dataobj).T
    for number in (0, 1):
        file = folder / f"masks/{number}.nii.gz"
        assert np.array_equal(read_mask(file, binary=False, image=folder / "images/0.nii.gz"), expected)
    assert mask_shift(folder / "images/0.nii.gz", folder / "masks/1.nii.gz") < 1e-4


@pytest.mark.parametrize(("millimetres", "outcome"), [(1e-5, "silent"), (0.05, "warned"), (0.2, "refused")])
@pytest.mark.parametrize("spacing", [0.1, 1.0])
def test_a_mask_beside_its_image(
    millimetres: float,
    outcome: str,
    spacing: float,
    tmp_path: Path,
    make_source: Callable[..., Path],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Shifts count in voxels: of a spacing of 0.1 mm, tenths of those of 1 mm."""
    image, mask = volume()
    affine = np.diag([spacing, spacing, 5 * spacing, 1])
    moved = affine.copy()
    moved[0, 3] = millimetres * spacing
    files = (nib.Nifti1Image(np.asarray(image.dataobj), affine), nib.Nifti1Image(np.asarray(mask.dataobj), moved))
    source = make_source(save(tmp_path / "raw", files), "folder")
    if outcome == "refused":
        with pytest.raises(UserError, match="0.nii.gz: by the affines, its mask lies up to 0.2 voxels off"):
            verify(source)
    else:
        verify(source)
        assert ("1 masks lie up to 0.05 voxels off" in caplog.text) == (outcome == "warned")


def test_a_mask_of_other_spacing_drifts_to_the_far_corner(tmp_path: Path) -> None:
    image, mask = volume()
    affine = image.affine.copy()
    affine[:3, 0] *= 1.1
    nib.save(nib.Nifti1Image(np.asarray(mask.dataobj), affine), tmp_path / "m.nii")
    nib.save(image, tmp_path / "i.nii")
    assert mask_shift(tmp_path / "i.nii", tmp_path / "m.nii") == pytest.approx(11 - 11 / 1.1)


def refused(data: np.ndarray, path: Path) -> str:
    nib.save(nib.Nifti1Image(data, np.eye(4)), path)
    with pytest.raises(ValueError) as error:
        read_image(path)
    return str(error.value)


def test_volumes_that_are_no_grey_volume_say_what_to_do(tmp_path: Path) -> None:
    colour = np.zeros((4, 4, 2), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    assert "colour or complex" in refused(colour, tmp_path / "a.nii")
    assert "colour or complex" in refused(np.ones((4, 4, 2), np.complex64), tmp_path / "b.nii")
    series = refused(np.ones((4, 4, 2, 30), np.int16), tmp_path / "c.nii")
    assert "30 volumes (shape (4, 4, 2, 30)), expected one" in series and ".slicer[..., 0]" in series
    holes = np.ones((4, 4, 2), np.float32)
    holes[0] = np.nan
    assert "8 of 32 (NaN outside of the body?); set them to" in refused(holes, tmp_path / "d.nii")
    assert "has 1 axes" in refused(np.ones(5, np.int16), tmp_path / "f.nii")
    nib.save(nib.Nifti1Image(np.ones((4, 4, 2, 1), np.int16), np.eye(4)), tmp_path / "e.nii")
    assert read_image(tmp_path / "e.nii")[0].shape == (2, 1, 4, 4)
