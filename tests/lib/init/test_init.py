"""`snakemake init`: what it finds in a folder, what it guesses, and a config that is valid without an edit."""

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import yaml
from PIL import Image
from snakemake.utils import update_config

from tests.workflow_copy import ROOT, copy_project, snakemake
from workflow.lib.init.config import config_text, write_config
from workflow.lib.init.look import look
from workflow.lib.init.patients import group_from_tables, pattern_from_names
from workflow.lib.job.run import UserError
from workflow.lib.study.config import check_config


def pictures(folder: Path, names: list[str], labels: list[int] | None, size: int = 40) -> Path:
    """Pictures of noise, and masks with a square of every label; labels None: no masks."""
    rng = np.random.default_rng(0)
    for name in names:
        image, mask = rng.integers(0, 255, (size, size), np.uint8), np.zeros((size, size), np.uint8)
        for number, label in enumerate(labels or []):
            mask[8 * number : 8 * number + 6, 4:20] = label
        for what, array in {"images": image, **({} if labels is None else {"masks": mask})}.items():
            (folder / what / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(folder / what / f"{name}.png")
    return folder


def volumes(folder: Path, low: int) -> Path:
    """NIfTI volumes of intensities from `low`, whose lesion has 30 to 50."""
    rng = np.random.default_rng(0)
    for number in range(3):
        image = rng.integers(low, 400, (24, 20, 6)).astype(np.int16)
        mask = np.zeros(image.shape, np.uint8)
        mask[5:15, 5:15, 2:4] = 1
        image[mask > 0] = rng.integers(30, 51, int(mask.sum()))
        for what, array in {"images": image, "masks": mask}.items():
            (folder / what).mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, np.eye(4)), folder / what / f"case{number}.nii.gz")
    return folder


def target(folder: Path) -> tuple[dict[str, Any], str]:
    """The entry of a folder's config, which is valid on top of config.yaml, and the whole text."""
    text = config_text("mine", look(folder))
    config, own = yaml.safe_load((ROOT / "config.yaml").read_text()), yaml.safe_load(text)
    update_config(config, own)
    check_config(config, ROOT / "workflow/schemas/config.schema.yaml")
    found: dict[str, Any] = own["targets"]["mine"]
    return found, text


@pytest.mark.parametrize(
    ("labels", "classes", "words"),
    [
        ([255], ["foreground"], "255 in 4 of the 4 masks"),
        ([1, 2], ["class1", "class2"], "1 in 4, 2 in 4"),
        ([2, 5], {"class2": 2, "class5": 5}, "Name them under classes"),
        ([1, 255], {"class1": 1, "class255": 255}, "255 often marks pixels that should not count"),
        ([3], {"foreground": 3}, "3 in 4"),
        ([], ["foreground"], "PROBLEM: the masks that were read are empty"),
        (None, None, "No masks/"),
    ],
)
def test_classes_are_those_of_the_masks(tmp_path: Path, labels: list[int] | None, classes: Any, words: str) -> None:
    entry, text = target(pictures(tmp_path, [f"img{i}" for i in range(4)], labels))
    assert entry.get("classes") == classes and words in text


@pytest.mark.parametrize(
    ("names", "pattern"),
    [
        ([f"Image_{i:02d}{side}" for i in range(1, 9) for side in "LR"], r"^Image_(\d+)"),
        ([f"p{i}_{k}" for i in range(12) for k in range(3)], r"^p(\d+)"),
        ([f"train_patient{i % 6}_frame{i:02d}" for i in range(12)], r"^train_patient(\d+)"),
        ([f"{kind}_{i}_{k}" for kind in ("benign", "malignant") for i in range(5) for k in "ab"], r"^[A-Za-z]+_(\d+)"),
        ([f"case{i}-{'x' * (i + k)}" for i in range(5) for k in range(2)], r"^(.+)-[^-]*$"),
        ([f"{'ab'[i % 2]}c{i}d_{k}" for i in range(5) for k in ("one", "2")], r"^(.+)_[^_]*$"),
        ([f"img{i:03d}" for i in range(20)], None),
        (["00071198d059ba7f", "003cee89357d9fe1", "0280fa8f60f6bcae", "0a7d30b252359a10"], None),
        ([f"{side}_{i}" for side in ("left", "right") for i in range(9)], None),
    ],
)
def test_patients_in_names(names: list[str], pattern: str | None) -> None:
    assert pattern_from_names(names) == pattern


def test_patients_in_a_table_or_in_sub_folders(tmp_path: Path) -> None:
    names = [f"scan{i}" for i in range(4)]
    folder = pictures(tmp_path / "table", names, [1])
    rows = "\n".join(f"{name}.png;{i % 2};{i}" for i, name in enumerate(names))
    (folder / "about.csv").write_text(f"file ;Patient ID;age\n{rows}\n")
    (folder / "other.csv").write_text("patient,file\n1,nothing.png\n")
    entry, text = target(folder)
    assert entry["group"] == {"table": "about.csv", "key": "file", "column": "Patient ID"}
    entry, text = target(pictures(tmp_path / "folders", ["a/1", "a/2", "b/1"], [1]))
    assert "group" not in entry and "2 sub-folders of images/" in text
    entry, text = target(pictures(tmp_path / "none", names, [1]))
    assert "group" not in entry and "each image counts as its own" in text


def test_a_table_that_is_none_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "words.csv").write_text("no table")
    assert group_from_tables(tmp_path, ["a", "b"], labelled=True) is None


def test_volumes_of_ct_get_the_window_of_their_labels(tmp_path: Path) -> None:
    entry, text = target(volumes(tmp_path / "ct", -1000))
    low, high = entry["window"]
    assert 10 <= low <= 30 and 50 <= high <= 70
    assert "33 % of the slices show a label" in text and "slices 6, height 20, width 24" in text
    entry, text = target(volumes(tmp_path / "mr", 0))
    assert "window" not in entry


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ({"background": 0, "RV": 1, "LV": 2}, ["RV", "LV"]),
        ({"0": "background", "1": "RV", "2": "LV"}, ["RV", "LV"]),
        ({"background": 0, "heart": [1, 2], "LV": 2}, ["class1", "LV"]),
        ("no labels", ["class1", "class2"]),
    ],
)
def test_names_of_classes_are_those_of_nnunet(labels: Any, classes: list[str], tmp_path: Path) -> None:
    folder = pictures(tmp_path, [f"p{i}" for i in range(4)], [1, 2])
    (folder / "dataset.json").write_text(json.dumps({"labels": labels}))
    entry, text = target(folder)
    assert entry["classes"] == classes and ("those of dataset.json" in text) == (classes == ["RV", "LV"])


def test_masks_beside_the_folder_are_pointed_out(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "raw", ["a", "b"], [1])
    assert (
        f"CHECK: {folder}/masks lies beside it. With masks: snakemake init --config images={folder}"
        in target(folder / "images")[1]
    )
    assert "lies beside" not in target(folder)[1]


def test_alpha_channels_are_mentioned(tmp_path: Path) -> None:
    folder = pictures(tmp_path, ["a", "b"], [1])
    assert "alpha channel" not in target(folder)[1]
    alpha = np.full((40, 40), 255, np.uint8)
    for name in "ab":
        Image.fromarray(np.dstack([alpha // 2, alpha]), "LA").save(folder / f"images/{name}.png")
    assert "2 with an alpha channel, which is left out" in target(folder)[1]
    alpha[:9] = 0
    Image.fromarray(np.dstack([alpha // 2, alpha]), "LA").save(folder / "images/a.png")
    assert "CHECK: images/a.png: transparent in parts" in target(folder)[1]


def test_a_label_of_one_mask_alone_is_doubted(tmp_path: Path) -> None:
    folder = pictures(tmp_path, [f"p{i}" for i in range(12)], [1])
    assert "one mask only" not in target(folder)[1]
    mask = np.asarray(Image.open(folder / "masks/p3.png")).copy()
    mask[:3, :3] = 7
    Image.fromarray(mask).save(folder / "masks/p3.png")
    assert "CHECK: 7 is in one mask only: an error?" in target(folder)[1]


def test_what_the_resize_loses_is_said_with_a_size_that_keeps_it(tmp_path: Path) -> None:
    folder = pictures(tmp_path, ["a", "b"], [1], size=320)
    for name in "ab":
        mask = np.zeros((320, 320), np.uint8)
        mask[1, 1] = 1  # between the pixels that 224 takes
        Image.fromarray(mask).save(folder / "masks" / f"{name}.png")
    assert (
        "At 224 pixels the resize LOSES lesions (connected regions): 2 of 2 of label 1; image_size: 320 keeps all"
        in target(folder)[1]
    )


def test_folders_of_other_names_and_unreadable_images_are_refused_with_what_helps(tmp_path: Path) -> None:
    for images in ("img", "images"):  # the second is right, but without masks/ its masks would be passed over
        for name in (images, "labels"):
            (tmp_path / f"other {images}" / name).mkdir(parents=True)
        with pytest.raises(UserError, match=rf"(?s){images}/ and labels/.*ln -s .*{images} mine/images"):
            look(tmp_path / f"other {images}")
    (tmp_path / "bad/images").mkdir(parents=True)
    (tmp_path / "bad/images/a.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"(?s)no image that can be used.*a\.png: unreadable"):
        look(tmp_path / "bad")
    with pytest.raises(UserError, match="no such folder"):
        look(tmp_path / "nowhere")
    pictures(tmp_path / "above/xrays", ["a", "b"], [1])
    (tmp_path / "above/w1.safetensors").touch()
    with pytest.raises(UserError, match=r"images=.*above/xrays, which has images"):
        look(tmp_path / "above")


@pytest.mark.parametrize(
    ("folder", "name"), [("2024", "2024"), ("on", "on"), ("2024-05-01", "2024-05-01"), ("data", "data-images")]
)
def test_names_of_folders_stay_text_and_apart_from_other_results(tmp_path: Path, folder: str, name: str) -> None:
    (tmp_path / folder / "images").mkdir(parents=True)
    for number in range(3):
        Image.fromarray(np.full((32, 32), 40 * number + 9, np.uint8)).save(tmp_path / folder / f"images/p{number}.png")
    write_config(tmp_path / folder, tmp_path)
    config = yaml.safe_load((tmp_path / f"{name}.yaml").read_text())
    assert config["run"] == name and config["study"]["targets"] == [name] and list(config["targets"]) == [name]


def test_a_config_is_never_replaced(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "my scans", ["a", "b"], [1])
    said = write_config(folder, tmp_path)
    assert "--configfile configs/rank.yaml" in said and (tmp_path / "my-scans.yaml").exists()
    (tmp_path / "my-scans.yaml").write_text("mine")
    with pytest.raises(UserError, match="is not replaced"):
        write_config(folder, tmp_path)
    assert (tmp_path / "my-scans.yaml").read_text() == "mine"


@pytest.mark.slow
def test_its_config_ranks_without_an_edit(tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")
    pictures(tmp_path / "xrays", [f"p{i}_{k}" for i in range(6) for k in "ab"], [255])
    run = snakemake(project, "init", "--config", f"images={tmp_path / 'xrays'}")
    assert run.returncode == 0 and "Patients: 6" in run.stdout, run.stdout
    run = snakemake(project, "-n", "rank", "--quiet", "rules", "--configfile", "configs/rank.yaml", "xrays.yaml")
    assert run.returncode == 0 and "rank_target" in run.stdout, run.stdout
    run = snakemake(project, "-n", "--quiet", "rules", "--configfile", "configs/demo.yaml", "xrays.yaml")
    assert run.returncode == 0 and "draw_segmentations" in run.stdout, run.stdout
    run = snakemake(project, "init")
    assert run.returncode == 1 and "snakemake init --config images=/path/to/folder" in run.stdout


def test_what_does_not_belong_together_is_found_at_once(tmp_path: Path) -> None:
    folder = volumes(tmp_path, 0)
    nib.save(nib.Nifti1Image(np.ones((24, 20, 5), np.uint8), np.eye(4)), folder / "masks/case0.nii.gz")
    moved = np.eye(4)
    moved[0, 3] = 50
    nib.save(nib.Nifti1Image(np.ones((24, 20, 6), np.uint8), moved), folder / "masks/case1.nii.gz")
    text = config_text("mine", look(folder))
    assert "PROBLEM: images/case0.nii.gz: image 6 x 20 x 24, mask 5 x 20 x 24" in text
    assert "PROBLEM: images/case1.nii.gz: by the affines, its mask lies up to 50 voxels off" in text
    assert "Fix what is marked PROBLEM first" in write_config(folder, tmp_path)


def test_masks_of_other_names_are_an_error_that_names_them(tmp_path: Path) -> None:
    folder = pictures(tmp_path, ["a", "b"], [1])
    for name in "ab":
        (folder / f"masks/{name}.png").rename(folder / f"masks/label_{name}.png")
    with pytest.raises(UserError, match=r"(?s)no image that can be used.*a\.png.*one of the same name for each image"):
        look(folder)


def test_swapped_folders_are_suspected(tmp_path: Path) -> None:
    folder = pictures(tmp_path, ["a", "b", "c"], [1])
    (folder / "images").rename(folder / "other")
    (folder / "masks").rename(folder / "images")
    (folder / "other").rename(folder / "masks")
    assert "are the two folders swapped?" in config_text("mine", look(folder))


def test_a_damaged_volume_is_found_and_does_not_make_ct_of_all(tmp_path: Path) -> None:
    folder = volumes(tmp_path, 0)
    path = folder / "images/case1.nii.gz"
    content = bytearray(path.read_bytes())
    content[-5] ^= 255  # of the checksum, which nibabel does not read
    path.write_bytes(content)
    text = config_text("mine", look(folder))
    assert "PROBLEM: images/case1.nii.gz: unreadable (CRC check failed" in text
    assert "masks/case1.nii.gz" not in text, "its mask may be sound"
    odd = nib.Nifti1Image(np.full((24, 20, 6), -2000, np.int16), np.eye(4))
    nib.save(odd, path)
    assert "window" not in target(folder)[0], "two of three volumes are no CT"


def test_the_pattern_that_the_hint_shows_is_yaml(tmp_path: Path) -> None:
    text = config_text("mine", look(pictures(tmp_path, [f"img{i:03d}" for i in range(20)], [1])))
    shown = text.split("in single quotes: ")[1].split("}")[0] + "}"
    assert yaml.safe_load(shown) == {"group": {"pattern": r"^(case\d+)_"}}
