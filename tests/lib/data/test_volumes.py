"""NIfTI volumes of one's own: the window of their intensities, and the slices that are learnt from."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from workflow.lib.data.images import read_image, read_mask
from workflow.lib.data.prepared import Prepared
from workflow.lib.data.volumes import chosen_slices, windowed
from workflow.lib.job.run import UserError

CLASSES, GROUP = ["RV", "M", "LV"], {"pattern": r"patient(\d+)"}


@pytest.fixture
def volumes(generated: Path, tmp_path: Path, make_source: Callable[..., Path]) -> Path:
    """source.json of images/ and masks/, 8 volumes of 4 slices, of 4 patients; in the first two slices nothing is labelled."""
    for name, suffix in (("images", ""), ("masks", "_gt")):
        (tmp_path / "raw" / name).mkdir(parents=True)
        for frame in (generated / "acdc").glob(f"training/*/*_frame??{suffix}.nii.gz"):
            shutil.copy(frame, tmp_path / "raw" / name / frame.name.replace("_gt", ""))
    for path in (tmp_path / "raw" / "masks").iterdir():
        mask: Any = nib.load(path)
        labels = np.asarray(mask.dataobj).copy()
        labels[..., :2] = 0
        nib.save(nib.Nifti1Image(labels, mask.affine), path)
    return make_source(tmp_path / "raw", "folder")


def test_a_window_becomes_0_to_1() -> None:
    values = windowed(np.array([-1000, -160, 40, 240, 3000], np.float32), [-160, 240])
    assert values.dtype == np.float32 and values.tolist() == [0, 0, 0.5, 1, 1]


def test_slices_are_evenly_spaced() -> None:
    labels = np.zeros((6, 2, 2))
    labels[[1, 4], 1, 0] = (1, 255)
    chosen = {slices: chosen_slices(6, slices, lambda: labels).tolist() for slices in (None, 1, 2, 4, 6, 9, "labelled")}
    assert chosen == {
        None: [0, 1, 2, 3, 4, 5],
        1: [3],
        2: [1, 4],
        4: [0, 2, 3, 5],
        6: [0, 1, 2, 3, 4, 5],
        9: [0, 1, 2, 3, 4, 5],
        "labelled": [1, 4],
    }


@pytest.mark.parametrize("protocol", ["paper", "sound"])
def test_prepared_intensities_lie_in_the_window(
    protocol: str, volumes: Path, run_stage: Callable[..., Prepared]
) -> None:
    plain = run_stage(volumes, protocol, classes=CLASSES, group=GROUP)
    low, high = (float(np.percentile(plain.images, q)) for q in (20, 80))
    data = run_stage(volumes, protocol, classes=CLASSES, group=GROUP, window=[low, high])
    assert data.images.min() == 0 and data.images.max() == 1
    assert (data.items[["scale", "range"]] == 1).all().all()
    image = read_image(volumes.parents[2] / "raw/images" / f"{data.items['case'][0]}.nii.gz")[0]
    expected = ((image - low) / (high - low)).clip(0, 1)
    assert np.allclose(data.images[: len(image)].mean(), expected.mean(), atol=0.02)
    assert data.card["window"] == [low, high] and (data.masks == plain.masks).all()


def test_labelled_slices_of_training_and_whole_volumes_of_all_else(
    volumes: Path, run_stage: Callable[..., Prepared]
) -> None:
    data = run_stage(volumes, "sound", classes=CLASSES, group=GROUP, slices="labelled")
    for case, rows in data.items.groupby("case"):
        mask = read_mask(volumes.parents[2] / "raw/masks" / f"{case}.nii.gz", binary=False)
        shown = [z for z in range(len(mask)) if mask[z].any() or rows["part"].iloc[0] != "train"]
        assert rows["item"].tolist() == [f"{case}_z{z:02d}" for z in shown]
        for row in rows.index:  # image and mask of the slice that the item is named after
            assert data.masks[row].any() == mask[int(data.items["item"][row][-2:])].any()
    assert len(set(data.items["part"])) == 3 and data.card["slices"] == "labelled"
    assert data.card["counts"]["train"]["items"] == 2 * data.card["counts"]["train"]["cases"]


def test_a_number_of_slices_without_masks(volumes: Path, run_stage: Callable[..., Prepared]) -> None:
    plain = run_stage(volumes, "sound", group=GROUP, classes=CLASSES)
    shutil.rmtree(volumes.parents[2] / "raw/masks")
    data = run_stage(volumes, "sound", group=GROUP, slices=2)
    assert len(data.items) == 16 and data.card["counts"]["train"]["groups"] == 4
    for row, item in enumerate(data.items["item"]):
        assert item.endswith(("_z01", "_z03"))
        assert (data.images[row] == plain.images[plain.items["item"].tolist().index(item)]).all()


def test_a_volume_without_labels_is_not_learnt_from(volumes: Path, run_stage: Callable[..., Prepared]) -> None:
    masks = volumes.parents[2] / "raw/masks"
    data = run_stage(volumes, "sound", classes=CLASSES, group=GROUP)
    name = data.items.loc[data.items["part"] == "train", "case"].iloc[0]
    mask: Any = nib.load(masks / f"{name}.nii.gz")
    nib.save(nib.Nifti1Image(np.zeros(mask.shape, np.uint8), mask.affine), masks / f"{name}.nii.gz")
    left = run_stage(volumes, "sound", classes=CLASSES, group=GROUP, slices="labelled")
    assert set(data.items["case"]) - set(left.items["case"]) == {name}
    assert len(left.items) == len(left.images) == len(left.masks)


def test_slices_that_leave_out_a_class_are_refused(volumes: Path, run_stage: Callable[..., Prepared]) -> None:
    for path in (volumes.parents[2] / "raw/masks").iterdir():
        mask: Any = nib.load(path)
        labels = np.asarray(mask.dataobj).copy()
        labels[..., :3][labels[..., :3] == 3] = 1  # class 3 on the last slice only; of four, a single one is the third
        nib.save(nib.Nifti1Image(labels, mask.affine), path)
    with pytest.raises(UserError, match="no training image of target own shows LV once it is prepared") as error:
        run_stage(volumes, "sound", classes=CLASSES, group=GROUP, slices=1)
    assert "training cases show it, 0 on slices 1" in str(error.value)
    assert "targets.own.slices" in str(error.value) and "slices: labelled" in str(error.value)
    assert run_stage(volumes, "sound", classes=CLASSES, group=GROUP, slices="labelled").card["classes"] == CLASSES


def test_pictures_have_neither_window_nor_slices(
    generated: Path, make_source: Callable[..., Path], run_stage: Callable[..., Prepared]
) -> None:
    source = make_source(generated / "covid_qu", "covid_qu")
    with pytest.raises(UserError, match="2-D images, but settings for volumes") as error:
        run_stage(source, "sound", window=[0, 100])
    assert "window: [0, 100]" in str(error.value) and "targets.own" in str(error.value)
    assert not (source.parent / "sound-32" / "images.npy").exists()
