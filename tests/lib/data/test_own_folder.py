"""Anyone's own images: without masks, in sub-folders by patient, or named by a table; what is half there is refused."""

import logging
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.lib.data.conftest import REGISTRY
from workflow.lib.data.prepared import Prepared
from workflow.lib.data.verify import verify_target
from workflow.lib.job.run import UserError
from workflow.lib.score.pixels import target_images

NAMES = [f"p{patient}/{i}" for patient in range(5) for i in (1, 2)]  # the same stems in every sub-folder


def save_pictures(folder: Path, names: list[str], *kinds: str) -> Path:
    """Pictures of 20 x 20 pixels, of kinds images and masks (0 and 1), or "" for the folder itself."""
    rng = np.random.default_rng(0)
    for kind in kinds:
        for name in names:
            path = folder / kind / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            values = rng.integers(0, 2 if kind == "masks" else 256, (20, 20))
            Image.fromarray(values.astype(np.uint8)).save(path)
    return folder


def verified(source: Path, classes: list[str] | None = None, group: dict[str, Any] | None = None) -> pd.DataFrame:
    cases = source.parent / "images.csv"
    verify_target(source=source, cases=cases, registry=REGISTRY, target="own", classes=classes, group=group)
    return pd.read_csv(cases, dtype=str, keep_default_na=False)


def problems_of(source: Path, classes: list[str] | None = None, group: dict[str, Any] | None = None) -> str:
    with pytest.raises(UserError) as error:
        verified(source, classes, group)
    assert not (source.parent / "images.csv").exists()
    return str(error.value)


@pytest.mark.parametrize("protocol", ["paper", "sound"])
@pytest.mark.parametrize("place", ["images", ""])
def test_images_without_masks(
    place: str,
    protocol: str,
    tmp_path: Path,
    make_source: Callable[..., Path],
    run_stage: Callable[..., Prepared],
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = make_source(save_pictures(tmp_path / "raw", list("abcdef"), place), "folder")
    data = run_stage(source, protocol)
    assert data.card["classes"] == [] and not data.masks.any() and data.masks.shape == (6, 32, 32)
    assert data.items["case"].tolist() == list("abcdef") and set(data.items["part"]) == {"train"}
    assert data.images.std() > 0
    chosen = target_images(data, 4, seed=0)
    assert chosen.masks is None and len(chosen.images) == 4
    assert data.card["groups"] == "unknown"
    assert len([line for line in caplog.messages if "images of one patient may be in two splits" in line]) == 1


def test_masks_of_some_images_only(tmp_path: Path, make_source: Callable[..., Path]) -> None:
    source = make_source(save_pictures(tmp_path / "raw", NAMES, "images", "masks"), "folder")
    (tmp_path / "raw/masks/p1/2.png").unlink()
    (tmp_path / "raw/masks/p3/1.png").rename(tmp_path / "raw/masks/p4/3.png")
    message = problems_of(source, ["lesion"])
    for line in ("p1/2.png: image without mask", "p3/1.png: image without mask", "p4/3.png: mask without image"):
        assert line in message
    assert "3 problems" in message


def test_masks_and_classes_go_together(tmp_path: Path, make_source: Callable[..., Path]) -> None:
    source = make_source(save_pictures(tmp_path / "raw", ["a", "b"], "images", "masks"), "folder")
    assert "masks/, but no `classes`" in problems_of(source)
    shutil.rmtree(tmp_path / "raw/masks")
    assert "or no `classes`, without masks" in problems_of(source, ["lesion"])
    assert len(verified(source)) == 2


@pytest.mark.parametrize("kinds", [["scans", "labels"], [""]])
def test_images_below_other_folders_are_not_guessed(
    kinds: list[str], tmp_path: Path, make_source: Callable[..., Path]
) -> None:
    source = make_source(save_pictures(tmp_path / "raw", NAMES, *kinds), "folder")
    message = problems_of(source)
    assert "does not have the layout" in message and "images/" in message and str(tmp_path / "raw") in message


@pytest.mark.parametrize("kinds", [["images", "masks"], ["images"]])
def test_sub_folders_are_patients(
    kinds: list[str],
    tmp_path: Path,
    make_source: Callable[..., Path],
    run_stage: Callable[..., Prepared],
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = make_source(save_pictures(tmp_path / "raw", NAMES, *kinds), "folder")
    save_pictures(tmp_path / "raw", [".checkpoints/1"], "images")  # hidden
    data = run_stage(source, "sound", classes=["lesion"] if "masks" in kinds else None)
    assert sorted(data.items["case"]) == NAMES
    assert [case.split("/")[0] for case in data.items["case"]] == data.items["group"].tolist()
    assert data.items.groupby("group")["part"].nunique().max() == 1
    assert data.card["groups"] == "sub-folders" and "own patient" not in caplog.text
    assert set(data.items["part"]) == ({"train", "validation", "test"} if "masks" in kinds else {"train"})
    assert data.masks.any() == ("masks" in kinds)


def test_an_image_beside_the_sub_folders_has_no_patient(tmp_path: Path, make_source: Callable[..., Path]) -> None:
    source = make_source(save_pictures(tmp_path / "raw", [*NAMES, "lost"], "images"), "folder")
    message = problems_of(source)
    assert "images/lost.png: no group found by its sub-folder" in message and "1 problem" in message


def test_a_pattern_goes_before_sub_folders(
    tmp_path: Path, make_source: Callable[..., Path], run_stage: Callable[..., Prepared]
) -> None:
    source = make_source(save_pictures(tmp_path / "raw", NAMES, "images"), "folder")
    data = run_stage(source, "sound", group={"pattern": r"/(\d)"})
    assert set(data.items["group"]) == {"1", "2"} and data.card["groups"] == "pattern"


@pytest.mark.parametrize("pattern", [r"^case(\d+)_", r"^(\d*)x"])
def test_a_pattern_that_fits_no_image_is_named(pattern: str, tmp_path: Path, make_source: Callable[..., Path]) -> None:
    source = make_source(save_pictures(tmp_path / "raw", NAMES, "images"), "folder")
    assert "the pattern of patients fits no image" in problems_of(source, group={"pattern": pattern})


def test_an_empty_patient_is_none(tmp_path: Path, make_source: Callable[..., Path]) -> None:
    source = make_source(save_pictures(tmp_path / "raw", ["12_a", "case_a"], "images"), "folder")
    assert "images/case_a.png: no group found" in problems_of(source, group={"pattern": r"^(\d*)"})


@pytest.mark.parametrize("below", ["", "images/"])
def test_a_table_names_patients_by_path_where_stems_repeat(
    below: str, tmp_path: Path, make_source: Callable[..., Path], run_stage: Callable[..., Prepared]
) -> None:
    folder = save_pictures(tmp_path / "raw", NAMES, "images")
    rows = [{"file": f"{below}{name}.png", "patient": f"q{i // 5}"} for i, name in enumerate(NAMES)]
    pd.DataFrame(rows).to_csv(folder / "table.csv", index=False)
    group = {"table": "table.csv", "key": "file", "column": "patient"}
    data = run_stage(make_source(folder, "folder"), "sound", group=group)
    assert dict(zip(data.items["case"], data.items["group"], strict=True)) == {
        name: f"q{i // 5}" for i, name in enumerate(NAMES)
    }
    assert data.card["groups"] == "table"


def test_a_stem_that_stands_for_several_patients_names_none(tmp_path: Path, make_source: Callable[..., Path]) -> None:
    folder = save_pictures(tmp_path / "raw", ["a/1", "b/1", "b/2"], "images")
    (folder / "table.csv").write_text("file,patient\nx/1.png,p\ny/1.png,q\n2.png,r\n")
    group = {"table": "table.csv", "key": "file", "column": "patient"}
    message = problems_of(make_source(folder, "folder"), group=group)
    assert "images/a/1.png: no group found" in message and "images/b/1.png: no group found" in message
    assert "2 problems" in message


# --- names of masks, and what else lies there


def renamed(folder: Path, kind: str, name: str) -> None:
    for file in list((folder / kind).iterdir()):
        file.rename(file.with_name(name.format(file.stem) + file.suffix))


@pytest.mark.parametrize(
    ("kind", "name"), [("masks", "{}_mask"), ("masks", "{}-seg"), ("masks", "{} label"), ("images", "{}_0000")]
)
def test_one_suffix_of_all_masks_or_images_is_recognised(
    kind: str, name: str, tmp_path: Path, make_source: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    folder = save_pictures(tmp_path / "raw", ["p1", "p10", "p2"], "images", "masks")
    renamed(folder, kind, name)
    table = verified(make_source(folder, "folder"), ["lesion"])
    stems = [(Path(image).stem, Path(mask).stem) for image, mask in zip(table["image"], table["mask"], strict=True)]
    pair = (name.format, str) if kind == "images" else (str, name.format)
    assert set(stems) == {(pair[0](stem), pair[1](stem)) for stem in ("p1", "p10", "p2")}
    assert f"the names of all {kind} end in {name.format('')}" in caplog.text


def test_masks_of_several_suffixes_are_not_guessed(tmp_path: Path, make_source: Callable[..., Path]) -> None:
    folder = save_pictures(tmp_path / "raw", ["p1", "p2"], "images", "masks")
    renamed(folder, "masks", "{}_a")
    (folder / "masks/p2_a.png").rename(folder / "masks/p2_b.png")
    message = problems_of(make_source(folder, "folder"), ["lesion"])
    assert "4 problems" in message
    lines = ["images/p1.png: image", "masks/p1_a.png: mask", "images/p2.png: image", "masks/p2_b.png: mask"]
    assert [message.index(line) for line in lines] == sorted(message.index(line) for line in lines)


@pytest.mark.parametrize(("images", "masks"), [("p1", "p10"), ("p", "p1"), ("scan1", "mask1")])
def test_names_that_go_on_without_a_separator_are_no_suffix(
    images: str, masks: str, tmp_path: Path, make_source: Callable[..., Path]
) -> None:
    folder = save_pictures(tmp_path / "raw", [images], "images")
    save_pictures(folder, [masks], "masks")
    assert f"images/{images}.png: image without mask" in problems_of(make_source(folder, "folder"), ["lesion"])


def test_rubbish_of_systems_is_passed_over(
    tmp_path: Path, make_source: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    folder = save_pictures(tmp_path / "raw", ["a", "b"], "images", "masks")
    save_pictures(folder, [".ipynb_checkpoints/a", "__MACOSX/a", "@eaDir/a"], "images", "masks")
    for name in ("._a.png", ".DS_Store", "Thumbs.db", "desktop.ini"):
        for kind in ("images", "masks"):
            (folder / kind / name).write_bytes(b"\0\5\26\7")
    assert verified(make_source(folder, "folder"), ["lesion"])["case"].tolist() == ["a", "b"]
    assert "other types" not in caplog.text


def test_files_of_other_types_are_named(
    tmp_path: Path, make_source: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    folder = save_pictures(tmp_path / "raw", ["a", "b"], "images", "masks")
    (folder / "images" / "notes.txt").touch()
    source = make_source(folder, "folder")
    assert len(verified(source, ["lesion"])) == 2
    assert "files of other types, which are not read: 1 .txt (images/notes.txt)" in caplog.text
    (folder / "masks/a.png").rename(folder / "masks/a.webp")
    (folder / "masks/b.png").rename(folder / "masks/b.webp")
    (source.parent / "images.csv").unlink()
    message = problems_of(source, ["lesion"])
    assert "3 problems" in message and "not read: 2 .webp (masks/a.webp), 1 .txt" in message


@pytest.mark.parametrize("place", ["images", ""])
def test_masks_among_the_images_come_with_the_commands_that_part_them(
    place: str, tmp_path: Path, make_source: Callable[..., Path]
) -> None:
    folder = save_pictures(tmp_path / "raw", ["a", "b", "a_mask", "b_mask"], place)
    message = problems_of(make_source(folder, "folder"))
    assert "2 of 4 images have names of masks: a_mask.png beside a.png" in message
    command = message.partition("next:")[2].partition("; then use")[0]
    for name in "ab":
        Image.fromarray(np.eye(20, dtype=np.uint8)).save(folder / place / f"{name}_mask.png")
    subprocess.run(command, shell=True, cwd=tmp_path, check=True)
    table = verified(make_source(tmp_path / "NEW", "folder", "other"), ["lesion"])
    assert table["mask"].tolist() == ["masks/a_mask.png", "masks/b_mask.png"]
    lonely = save_pictures(tmp_path / "lonely", ["a_mask", "b_mask", "a_2"], "images")
    assert len(verified(make_source(lonely, "folder", "third"))) == 3


def test_folders_beside_images_without_masks_are_named(
    tmp_path: Path, make_source: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    folder = save_pictures(tmp_path / "raw", ["a", "deeper/b"], "")
    assert verified(make_source(folder, "folder"))["case"].tolist() == ["a"]
    assert "not read: 1 sub-folders (raw/deeper)" in caplog.text


@pytest.mark.parametrize(
    ("name", "found", "step"),
    [
        ("p1/IM0.dcm", "1 DICOM (p1/IM0.dcm)", "dcm2niix -z y"),
        ("p1/1.2.840.113", "1 DICOM (p1/1.2.840.113)", "dcm2niix -z y"),
        ("a.nrrd", "1 .nrrd", "SimpleITK"),
        ("a.mha", "1 .mha", "'a.mha'"),
        ("a.img", "1 .img", "n.load('a.hdr')"),
    ],
)
def test_other_formats_of_volumes_come_with_the_command(
    name: str, found: str, step: str, tmp_path: Path, make_source: Callable[..., Path]
) -> None:
    path = tmp_path / "raw/images" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\0" * 128 + b"DICM")
    message = problems_of(make_source(tmp_path / "raw", "folder"))
    assert found in message and "convert to NIfTI" in message and step in message


# --- nnU-Net's folders, and several channels


def save_volumes(folder: Path, place: str, names: list[str], top: int) -> None:
    (folder / place).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in names:
        volume = rng.integers(0, top, (20, 20, 3)).astype(np.int16)
        nib.save(nib.Nifti1Image(volume, np.eye(4)), folder / place / f"{name}.nii.gz")


@pytest.mark.parametrize("labelled", [True, False])
def test_a_data_set_of_nnunet_with_one_channel(
    labelled: bool, tmp_path: Path, make_source: Callable[..., Path], run_stage: Callable[..., Prepared]
) -> None:
    folder, names = tmp_path / "Dataset001_Heart", [f"la_{i:03}" for i in range(6)]
    save_volumes(folder, "imagesTr", [f"{name}_0000" for name in names], 99)
    save_volumes(folder, "imagesTs", ["la_100_0000"], 99)
    (folder / "dataset.json").write_text("{}")
    if labelled:
        save_volumes(folder, "labelsTr", names, 2)
    source = make_source(folder, "folder")
    data = run_stage(source, "sound", classes=["atrium"] if labelled else None, group={"pattern": r"^(la_\d+)"})
    assert sorted(set(data.items["group"])) == names and len(data.items) == 18
    if labelled:
        (source.parent / "images.csv").unlink()
        assert "labelsTr/, but no `classes`" in problems_of(source)


@pytest.mark.parametrize("masks", [["p1", "p2"], []])
def test_several_channels_come_with_the_command_that_takes_one(
    masks: list[str], tmp_path: Path, make_source: Callable[..., Path]
) -> None:
    folder, channels = tmp_path / "raw", [f"p{i}_000{c}" for i in (1, 2) for c in range(3)]
    save_volumes(folder, "imagesTr", channels, 99)
    if masks:
        save_volumes(folder, "labelsTr", masks, 2)
    message = problems_of(make_source(folder, "folder"), ["lesion"] if masks else None)
    assert "3 channels of one image, p1_0000, p1_0001, p1_0002; and of 1 other images" in message
    command = message.partition("shows most: ")[2].partition("; then")[0]
    subprocess.run(command, shell=True, cwd=tmp_path, check=True)
    table = verified(make_source(tmp_path / "NEW", "folder"), ["lesion"] if masks else None)
    assert table["image"].tolist() == ["images/p1_0000.nii.gz", "images/p2_0000.nii.gz"]
    assert table["mask"].tolist() == ([f"masks/{name}.nii.gz" for name in masks] or ["", ""])


def test_numbered_pictures_and_visits_are_no_channels(tmp_path: Path, make_source: Callable[..., Path]) -> None:
    names = ["p1_0000", "p1_0001", "p2_0000"]
    save_pictures(tmp_path / "raw", names, "images", "masks")
    assert verified(make_source(tmp_path / "raw", "folder"), ["lesion"])["case"].tolist() == names
    save_pictures(tmp_path / "bare", names, "images")
    assert len(verified(make_source(tmp_path / "bare", "folder", "bare"))) == 3
    save_volumes(tmp_path / "visits", "images", ["p1_2019", "p1_2020"], 99)
    assert len(verified(make_source(tmp_path / "visits", "folder", "visits"))) == 2


# --- patients


GROUP = {"table": "table.csv", "key": "file", "column": "patient"}


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_tables_as_spreadsheets_write_them(separator: str, tmp_path: Path, make_source: Callable[..., Path]) -> None:
    folder = save_pictures(tmp_path / "raw", ["a", "b", "c"], "images")
    lines = ["file , patient", "a.png,001", " b.png ,001 ", "images\\c.png,\u00a0002"]
    text = "\n".join(lines).replace(",", separator)
    (folder / "table.csv").write_text(text, encoding="utf-8-sig")
    assert verified(make_source(folder, "folder"), group=GROUP)["group"].tolist() == ["001", "001", "002"]


@pytest.mark.parametrize(
    ("one", "other"), [("P1", "p1"), ("007", "7"), ("p 1", "p1"), ("case-01", "case-1"), ("7", "7.0")]
)
def test_ids_that_may_be_one_patient_are_named(
    one: str, other: str, tmp_path: Path, make_source: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    folder = save_pictures(tmp_path / "raw", ["a", "b", "c"], "images")
    (folder / "table.csv").write_text(f"file,patient\na.png,{one}\nb.png,{other}\nc.png,100\n")
    assert verified(make_source(folder, "folder"), group=GROUP)["group"].nunique() == 3
    assert "1 patients differ by case, blanks or leading zeros only: " in caplog.text
    assert repr(one) in caplog.text and repr(other) in caplog.text


@pytest.mark.parametrize("patients", [("10", "1"), ("1.5", "15"), ("p101", "p11"), ("100", "1")])
def test_other_ids_are_not_taken_for_one_patient(
    patients: tuple[str, str], tmp_path: Path, make_source: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    folder = save_pictures(tmp_path / "raw", ["a", "b"], "images")
    (folder / "table.csv").write_text("file,patient\na.png,{}\nb.png,{}\n".format(*patients))
    verified(make_source(folder, "folder"), group=GROUP)
    assert "differ by case" not in caplog.text


def test_a_pattern_that_splits_sub_folders_is_warned_of(
    tmp_path: Path, make_source: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    source = make_source(save_pictures(tmp_path / "raw", [*NAMES, "p9/3"], "images"), "folder")
    verified(source, group={"pattern": r"^(.*/\d)"})
    assert "several patients in 5 of 6 sub-folders of images/: p0 (p0/1, p0/2), p1" in caplog.text
    caplog.clear()
    verified(source, group={"pattern": "^([^/]+)"})
    assert "several patients" not in caplog.text
