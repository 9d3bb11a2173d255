"""Anyone's own images: without masks, in sub-folders by patient, or named by a table; what is half there is refused."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.lib.data.conftest import REGISTRY
from workflow.lib.data.verify import verify_target
from workflow.lib.run import UserError
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


def verified(source: Path, classes: list[str] | None = None, group=None) -> pd.DataFrame:
    cases = source.parent / "cases.csv"
    verify_target(source=source, cases=cases, registry=REGISTRY, target="own", classes=classes, group=group)
    return pd.read_csv(cases, dtype=str, keep_default_na=False)


def problems_of(source: Path, classes: list[str] | None = None, group=None) -> str:
    with pytest.raises(UserError) as error:
        verified(source, classes, group)
    assert not (source.parent / "cases.csv").exists()
    return str(error.value)


@pytest.mark.parametrize("protocol", ["paper", "sound"])
@pytest.mark.parametrize("place", ["images", ""])
def test_images_without_masks(place, protocol, tmp_path, make_source, run_stage, caplog):
    source = make_source(save_pictures(tmp_path / "raw", list("abcdef"), place), "folder")
    data = run_stage(source, protocol)
    assert data.card["classes"] == [] and not data.masks.any() and data.masks.shape == (6, 32, 32)
    assert data.items["case"].tolist() == list("abcdef") and set(data.items["part"]) == {"train"}
    assert data.images.std() > 0
    chosen = target_images(data, 4, seed=0)
    assert chosen.masks is None and len(chosen.images) == 4
    assert data.card["groups"] == "unknown"
    assert len([line for line in caplog.messages if "images of one patient may sit on both sides" in line]) == 1


def test_masks_of_some_images_only(tmp_path, make_source):
    source = make_source(save_pictures(tmp_path / "raw", NAMES, "images", "masks"), "folder")
    (tmp_path / "raw/masks/p1/2.png").unlink()
    (tmp_path / "raw/masks/p3/1.png").rename(tmp_path / "raw/masks/p4/3.png")
    message = problems_of(source, ["lesion"])
    for line in ("p1/2.png: image without mask", "p3/1.png: image without mask", "p4/3.png: mask without image"):
        assert line in message
    assert "3 problems" in message


def test_masks_and_classes_go_together(tmp_path, make_source):
    source = make_source(save_pictures(tmp_path / "raw", ["a", "b"], "images", "masks"), "folder")
    assert "masks/, but no `classes`" in problems_of(source)
    shutil.rmtree(tmp_path / "raw/masks")
    assert "or no `classes`, without masks" in problems_of(source, ["lesion"])
    assert len(verified(source)) == 2


@pytest.mark.parametrize("kinds", [["scans", "labels"], [""]])
def test_images_below_other_folders_are_not_guessed(kinds, tmp_path, make_source):
    source = make_source(save_pictures(tmp_path / "raw", NAMES, *kinds), "folder")
    message = problems_of(source)
    assert "does not have the layout" in message and "images/" in message and str(tmp_path / "raw") in message


@pytest.mark.parametrize("kinds", [["images", "masks"], ["images"]])
def test_sub_folders_are_patients(kinds, tmp_path, make_source, run_stage, caplog):
    source = make_source(save_pictures(tmp_path / "raw", NAMES, *kinds), "folder")
    save_pictures(tmp_path / "raw", [".checkpoints/1"], "images")  # hidden
    data = run_stage(source, "sound", classes=["lesion"] if "masks" in kinds else None)
    assert sorted(data.items["case"]) == NAMES
    assert [case.split("/")[0] for case in data.items["case"]] == data.items["group"].tolist()
    assert data.items.groupby("group")["part"].nunique().max() == 1
    assert data.card["groups"] == "sub-folders" and "own patient" not in caplog.text
    assert set(data.items["part"]) == ({"train", "validation", "test"} if "masks" in kinds else {"train"})
    assert data.masks.any() == ("masks" in kinds)


def test_an_image_beside_the_sub_folders_has_no_patient(tmp_path, make_source):
    source = make_source(save_pictures(tmp_path / "raw", [*NAMES, "lost"], "images"), "folder")
    message = problems_of(source)
    assert "images/lost.png: no group found by its sub-folder" in message and "1 problem" in message


def test_a_pattern_goes_before_sub_folders(tmp_path, make_source, run_stage):
    source = make_source(save_pictures(tmp_path / "raw", NAMES, "images"), "folder")
    data = run_stage(source, "sound", group={"pattern": r"/(\d)"})
    assert set(data.items["group"]) == {"1", "2"} and data.card["groups"] == "pattern"


@pytest.mark.parametrize("below", ["", "images/"])
def test_a_table_names_patients_by_path_where_stems_repeat(below, tmp_path, make_source, run_stage):
    folder = save_pictures(tmp_path / "raw", NAMES, "images")
    rows = [{"file": f"{below}{name}.png", "patient": f"q{i // 5}"} for i, name in enumerate(NAMES)]
    pd.DataFrame(rows).to_csv(folder / "table.csv", index=False)
    group = {"table": "table.csv", "key": "file", "column": "patient"}
    data = run_stage(make_source(folder, "folder"), "sound", group=group)
    assert dict(zip(data.items["case"], data.items["group"], strict=True)) == {
        name: f"q{i // 5}" for i, name in enumerate(NAMES)
    }
    assert data.card["groups"] == "table"


def test_a_stem_that_stands_for_several_patients_names_none(tmp_path, make_source):
    folder = save_pictures(tmp_path / "raw", ["a/1", "b/1", "b/2"], "images")
    (folder / "table.csv").write_text("file,patient\nx/1.png,p\ny/1.png,q\n2.png,r\n")
    group = {"table": "table.csv", "key": "file", "column": "patient"}
    message = problems_of(make_source(folder, "folder"), group=group)
    assert "images/a/1.png: no group found" in message and "images/b/1.png: no group found" in message
    assert "2 problems" in message
