"""Every problem of raw data is found before training, all in one message, and nothing is written."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from workflow.lib.data.verify import verify_target
from workflow.lib.job.run import UserError


def own_data(folder: Path, number: int = 4, size: int = 20) -> Path:
    """images/ and masks/ of grey pictures, labels 0 and 255."""
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for i in range(number):
        save(folder / "images" / f"case{i}.png", rng.integers(0, 256, (size, size)))
        save(folder / "masks" / f"case{i}.png", 255 * (rng.random((size, size)) > 0.5))
    return folder


def save(path: Path, values: np.ndarray) -> None:
    Image.fromarray(values.astype(np.uint8)).save(path)


def verify(
    source: Path,
    classes: list[str] | None = None,
    group: dict[str, Any] | None = None,
    registry: str | Path = "workflow/registry/datasets.tsv",
) -> Path:
    cases = source.parent / "images.csv"
    verify_target(source=source, cases=cases, registry=registry, target="own", classes=classes, group=group)
    return cases


def problems_of(source: Path, classes: list[str] | None = None, **options: Any) -> str:
    with pytest.raises(UserError) as error:
        verify(source, classes, **options)
    assert sorted(path.name for path in source.parent.iterdir()) == ["source.json"]  # nothing half-written
    assert "run the same command again" in str(error.value)
    return str(error.value)


def test_sound_data_give_a_table(tmp_path: Path, make_source: Callable[..., Path]) -> None:
    cases = verify(make_source(own_data(tmp_path / "raw"), "folder"), ["lesion"])
    lines = cases.read_text().splitlines()
    assert (
        lines[0]
        == "case,group,part,image,mask,height,width,slices,labels,spacing_z,spacing_y,spacing_x,axes,content,copy_of"
    )
    assert re.fullmatch(r"case0,case0,,images/case0.png,masks/case0.png,20,20,1,0 255,1.0,1.0,1.0,,\w{16},", lines[1])
    assert len(lines) == 5
    cases.unlink()
    mask = tmp_path / "raw/masks/case0.png"
    save(mask, np.asarray(Image.open(mask))[::-1])  # corrected: what follows is made again by the table's content
    assert verify(make_source(tmp_path / "raw", "folder"), ["lesion"]).read_text().splitlines()[1] != lines[1]


def test_all_problems_stand_in_one_message(tmp_path: Path, make_source: Callable[..., Path]) -> None:
    folder = own_data(tmp_path / "raw", number=7)
    (folder / "masks" / "case0.png").unlink()
    (folder / "images" / "case1.png").unlink()
    save(folder / "masks" / "case2.png", np.full((20, 20), 7))
    save(folder / "masks" / "case3.png", np.zeros((20, 10)))
    picture = folder / "images" / "case4.png"
    picture.write_bytes(picture.read_bytes()[:100])
    Image.fromarray(np.eye(20, dtype=np.uint8)).save(folder / "masks" / "case5.png")
    message = problems_of(make_source(folder, "folder"), ["lesion"])
    assert "6 problems" in message and str(folder) in message
    for line in (
        "images/case0.png: image without mask",
        "masks/case1.png: mask without image",
        "masks/case2.png: label 7 (expected 0 and 1, or 0 and 255)",
        "images/case3.png: image 1 x 20 x 20, mask 1 x 20 x 10 (slices x height x width)",
        "images/case4.png: unreadable",
        "masks: foreground is 1 in some masks and 255 in others",
    ):
        assert line in message


def test_ten_problems_are_shown_and_all_counted(tmp_path: Path, make_source: Callable[..., Path]) -> None:
    folder = own_data(tmp_path / "raw", number=15)
    for mask in (folder / "masks").iterdir():
        mask.unlink()
    message = problems_of(make_source(folder, "folder"), ["lesion"])
    assert "15 problems" in message and message.count("image without mask") == 10 and "and 5 more" in message


def test_label_above_the_number_of_classes(tmp_path: Path, make_source: Callable[..., Path]) -> None:
    folder = own_data(tmp_path / "raw")
    for mask in (folder / "masks").iterdir():
        save(mask, np.eye(20) * 2 + np.fliplr(np.eye(20)))
    source = make_source(folder, "folder")
    assert verify(source, ["a", "b"]).exists()
    (source.parent / "images.csv").unlink()
    save(folder / "masks" / "case1.png", np.eye(20) * 3)
    assert "masks/case1.png: label 3 (expected 0..2)" in problems_of(source, ["a", "b"])


def test_truncated_and_wrong_volumes(generated: Path, tmp_path: Path, make_source: Callable[..., Path]) -> None:
    folder = shutil.copytree(generated / "acdc", tmp_path / "raw")
    patient = folder / "training" / "patient001"
    volume = patient / "patient001_frame01.nii.gz"
    volume.write_bytes(volume.read_bytes()[:-200])
    labels = folder / "training" / "patient002" / "patient002_frame01_gt.nii.gz"
    mask: Any = nib.load(labels)
    nib.save(nib.Nifti1Image(np.full(mask.shape, 1.5, np.float32), np.eye(4)), labels)
    message = problems_of(make_source(folder, "acdc"))
    assert "2 problems" in message
    assert "training/patient001/patient001_frame01.nii.gz: unreadable" in message
    assert "training/patient002/patient002_frame01_gt.nii.gz: labels are not whole numbers" in message


def test_volumes_of_the_folder_layout_and_mixed_kinds(
    generated: Path, tmp_path: Path, make_source: Callable[..., Path]
) -> None:
    folder = tmp_path / "raw"
    for name, suffix in (("images", ""), ("masks", "_gt")):
        (folder / name).mkdir(parents=True)
        for frame in (generated / "acdc").glob(f"training/*/*_frame01{suffix}.nii.gz"):
            shutil.copy(frame, folder / name / frame.name.replace("_gt", ""))
    source = make_source(folder, "folder")
    cases = verify(source, ["RV", "M", "LV"], {"pattern": r"patient(\d+)"})
    assert cases.read_text().splitlines()[1].startswith("patient001_frame01,001,,images/patient001_frame01.nii.gz")
    cases.unlink()
    save(folder / "images" / "x1.png", np.zeros((5, 5)))
    save(folder / "masks" / "x1.png", np.zeros((5, 5)))
    message = problems_of(source, ["RV", "M", "LV"], group={"pattern": r"patient(\d+)"})
    assert "images/x1.png: no group found by {'pattern'" in message


def test_registry_data_must_have_the_registered_numbers(generated: Path, make_source: Callable[..., Path]) -> None:
    source = make_source(generated / "acdc", "acdc", dataset="ACDC", origin="registry")
    with pytest.raises(UserError, match="train: 4 groups, the registry says 100"):
        verify_target(
            source=source, cases=source.parent / "images.csv", registry="workflow/registry/datasets.tsv", target="ACDC"
        )


@pytest.mark.parametrize("layout", ["acdc", "idrid", "covid_qu", "folder"])
def test_a_folder_of_another_layout_is_refused(layout: str, tmp_path: Path, make_source: Callable[..., Path]) -> None:
    (tmp_path / "raw" / "something else").mkdir(parents=True)
    with pytest.raises(UserError) as error:
        verify(make_source(tmp_path / "raw", layout), ["lesion"])
    for part in ("does not have the layout", "something else", str(tmp_path / "raw"), "correct `folder`"):
        assert part in str(error.value)


def test_a_group_table_without_the_column(tmp_path: Path, make_source: Callable[..., Path]) -> None:
    folder = own_data(tmp_path / "raw")
    (folder / "table.csv").write_text("file,patient\ncase0.png,1\n")
    source = make_source(folder, "folder")
    with pytest.raises(UserError, match="column 'patientid'"):
        verify(source, ["lesion"], {"table": "table.csv", "key": "file", "column": "patientid"})
    message = problems_of(source, ["lesion"], group={"table": "table.csv", "key": "file", "column": "patient"})
    assert "images/case1.png: no group found" in message and "3 problems" in message


def test_images_without_group_are_their_own_with_a_warning(
    tmp_path: Path, make_source: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    verify(make_source(own_data(tmp_path / "raw"), "folder"), ["lesion"])
    assert "every image counts as its own patient" in caplog.text


def test_classes_are_needed_for_own_data(tmp_path: Path, make_source: Callable[..., Path]) -> None:
    with pytest.raises(UserError, match="targets.own"):
        verify(make_source(own_data(tmp_path / "raw"), "folder"))


def test_a_class_that_no_mask_shows(tmp_path: Path, make_source: Callable[..., Path]) -> None:
    source = make_source(own_data(tmp_path / "raw"), "folder")
    for mask in (tmp_path / "raw" / "masks").iterdir():
        save(mask, np.eye(20) * 2)
    assert "masks: b (label 1) is in none" in problems_of(source, ["b", "c"])
    for mask in (tmp_path / "raw" / "masks").iterdir():
        save(mask, np.zeros((20, 20)))
    assert "masks: lesion is in none" in problems_of(source, ["lesion"])


@pytest.mark.slow
def test_a_mask_in_another_place_than_its_volume(
    generated: Path, tmp_path: Path, make_source: Callable[..., Path]
) -> None:
    folder = shutil.copytree(generated / "acdc", tmp_path / "raw")
    path = folder / "training" / "patient001" / "patient001_frame01_gt.nii.gz"
    mask: Any = nib.load(path)
    nib.save(nib.Nifti1Image(np.asarray(mask.dataobj), np.diag([-1.0, 1.0, 3.0, 1.0])), path)
    message = problems_of(make_source(folder, "acdc"))
    assert "1 problem" in message and "patient001_frame01.nii.gz: by the affines, its mask lies up to" in message


def test_idrid_is_found_beside_the_other_parts(
    generated: Path, tmp_path: Path, make_source: Callable[..., Path]
) -> None:
    folder = tmp_path / "raw"
    shutil.copytree(generated / "idrid", folder)
    for part in ("B. Disease Grading", "C. Localization"):
        (folder / part / "1. Original Images" / "a. Training Set").mkdir(parents=True)
    assert len(pd.read_csv(verify(make_source(folder, "idrid")))) > 2


def test_a_patient_table_with_two_patients_for_one_image(tmp_path: Path, make_source: Callable[..., Path]) -> None:
    folder = own_data(tmp_path / "raw")
    (folder / "table.csv").write_text("file,patient\ncase1.png,1\ncase1.png,2\n")
    with pytest.raises(UserError, match="several groups for case1"):
        verify(make_source(folder, "folder"), ["a"], {"table": "table.csv", "key": "file", "column": "patient"})


def test_files_of_several_pages_and_pictures_to_be_turned_are_refused(
    tmp_path: Path, make_source: Callable[..., Path]
) -> None:
    folder = own_data(tmp_path / "raw")
    pages = [Image.fromarray(np.full((20, 20), value, np.uint8)) for value in range(5)]
    (folder / "images/case1.png").unlink()
    pages[0].save(folder / "images/case1.tif", save_all=True, append_images=pages[1:])
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.open(folder / "images/case2.png").save(folder / "images/case2.png", exif=turned)
    upright = Image.Exif()
    upright[0x0112] = 1
    Image.open(folder / "images/case3.png").save(folder / "images/case3.png", exif=upright)
    message = problems_of(make_source(folder, "folder"), ["lesion"])
    assert "2 problems" in message
    assert "case1.tif: unreadable (5 pages, expected one" in message and "case2.png: EXIF asks" in message


def test_a_folder_without_images_that_can_be_read_shows_what_is_there(
    tmp_path: Path, make_source: Callable[..., Path]
) -> None:
    folder = own_data(tmp_path / "raw", number=0)
    (folder / "images/1.dcm").touch()
    (folder / "masks/1.dcm").touch()
    with pytest.raises(UserError, match="1.dcm") as error:
        verify(make_source(folder, "folder"), ["lesion"])
    assert "nii.gz" in str(error.value)


@pytest.mark.parametrize("layout", ["acdc", "idrid", "covid_qu"])
def test_rubbish_of_macos_in_unpacked_archives(
    layout: str, generated: Path, tmp_path: Path, make_source: Callable[..., Path]
) -> None:
    folder = shutil.copytree(generated / layout, tmp_path / "raw")
    files = [file for file in folder.rglob("*") if file.is_file()]
    for file in files:
        file.with_name(f"._{file.name}").write_bytes(b"\0\5")
        copy = folder / "__MACOSX" / file.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.with_name(f"._{file.name}").write_bytes(b"\0\5")
    cases = pd.read_csv(verify(make_source(folder, layout)))
    assert len(cases) and not cases["image"].str.contains("_MAC|/[.]").any()
