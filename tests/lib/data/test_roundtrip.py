"""From raw folders to prepared arrays, for every layout, with generated and with real data."""

import logging
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.lib.data.conftest import SIZE
from workflow.lib.data.prepared import Prepared


def as_own_folder(covid: Path, folder: Path) -> Path:
    """Generated chest images as images/ and masks/, two per patient."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    root = covid / "Infection Segmentation Data" / "Infection Segmentation Data" / "Train" / "COVID-19"
    for i, image in enumerate(sorted((root / "images").iterdir())):
        shutil.copy(image, folder / "images" / f"p{i // 2}_{i}.png")
        shutil.copy(root / "infection masks" / image.name, folder / "masks" / f"p{i // 2}_{i}.png")
    return folder


EXPECTED = {  # layout: shape of one image under paper and sound, type, labels, windows, parts under sound
    "acdc": ((1, SIZE, SIZE), (1, SIZE, SIZE), "float32", [0, 1, 2, 3], None, {"train": 3, "validation": 1, "test": 2}),
    "idrid": (
        (3, 5 * SIZE, 10 * SIZE),
        (3, 5 * SIZE, 7 * SIZE),
        "uint8",
        [0, 1],
        {"window": 2 * SIZE, "stride": SIZE // 2, "crop": SIZE},
        {"train": 4, "validation": 1, "test": 2},
    ),
    "covid_qu": ((1, SIZE, SIZE), (1, SIZE, SIZE), "uint8", [0, 1], None, {"train": 8, "validation": 2, "test": 4}),
    "folder": ((1, SIZE, SIZE), (1, SIZE, SIZE), "uint8", [0, 1], None, {"train": 2, "validation": 1, "test": 1}),
}


@pytest.mark.parametrize("protocol", ["paper", "sound"])
@pytest.mark.parametrize("layout", list(EXPECTED))
def test_every_layout_under_both_protocols(
    layout: str,
    protocol: str,
    generated: Path,
    tmp_path: Path,
    make_source: Callable[..., Path],
    run_stage: Callable[..., Prepared],
) -> None:
    paper, sound, kind, labels, windows, groups = EXPECTED[layout]
    own = layout == "folder"
    folder = as_own_folder(generated / "covid_qu", tmp_path / "own") if own else generated / layout
    options = {"classes": ["infection"], "group": {"pattern": r"^(p\d+)_"}} if own else {}
    prepared = run_stage(make_source(folder, layout), protocol, **options)

    assert prepared.images.shape[1:] == (paper if protocol == "paper" else sound)
    assert prepared.masks.shape == (len(prepared.images), *prepared.images.shape[2:])
    assert str(prepared.images.dtype) == kind and prepared.masks.dtype == np.uint8
    assert np.unique(prepared.masks).tolist() == labels
    assert prepared.card["windows"] == windows
    assert len(prepared.items) == len(prepared.images) and prepared.items["item"].is_unique
    counts = {part: numbers["groups"] for part, numbers in prepared.card["counts"].items()}
    if protocol == "paper":
        groups = {"train": groups["train"] + groups["validation"], "test": groups["test"]}
    assert counts == groups
    assert prepared.items.groupby("group")["part"].nunique().max() == 1


def test_idrid_leaves_out_the_image_without_microaneurysms(
    generated: Path,
    make_source: Callable[..., Path],
    run_stage: Callable[..., Prepared],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    prepared = run_stage(make_source(generated / "idrid", "idrid"), "sound")
    assert "IDRiD_06" not in set(prepared.items["case"]) and "IDRiD_05" in set(prepared.items["case"])
    assert "left out without microaneurysm mask: IDRiD_06" in caplog.text


def test_scale_and_range_of_intensities(
    generated: Path, make_source: Callable[..., Path], run_stage: Callable[..., Prepared]
) -> None:
    source = make_source(generated / "acdc", "acdc")
    paper, sound = run_stage(source, "paper"), run_stage(source, "sound")
    assert (paper.items["scale"] == 1).all() and (paper.items["range"] > sound.items["range"].max() * 0.5).all()
    assert (sound.items["scale"] == sound.items["range"]).all() and (sound.items["scale"] > 1).all()
    merged = paper.items.merge(sound.items, on="item", suffixes=("_paper", "_sound"))
    assert (merged["range_paper"] > merged["range_sound"]).all()  # the maximum lies above the 99.5th percentile
    assert (paper.items["spacing_y"] != 1).all()
    chest = run_stage(make_source(generated / "covid_qu", "covid_qu", "chest"), "sound")
    assert (chest.items[["scale", "range"]] == 255).all().all()
    assert np.allclose(chest.items["spacing_y"], 256 / SIZE)


def test_slices_of_a_volume_stay_in_order(
    generated: Path, make_source: Callable[..., Path], run_stage: Callable[..., Prepared]
) -> None:
    items = run_stage(make_source(generated / "acdc", "acdc"), "paper").items
    first = items[items["case"] == items["case"].iloc[0]]
    assert first["item"].tolist() == [f"{first['case'].iloc[0]}_z{z:02d}" for z in range(4)]
    assert first["group"].unique().tolist() == [first["case"].iloc[0].split("_")[0]]


def test_train_cases_limits_training_only(
    generated: Path, make_source: Callable[..., Path], run_stage: Callable[..., Prepared]
) -> None:
    source = make_source(generated / "acdc", "acdc")
    assert run_stage(source, "sound").card["counts"]["train"]["cases"] == 6
    limited = run_stage(source, "sound", train_cases=4).card["counts"]
    assert limited["train"] == {"groups": 2, "cases": 4, "items": 16}
    assert limited["test"]["cases"] == 4 and limited["validation"]["cases"] == 2


def unpack_real(reference: Path, name: str, tmp_path: Path) -> Path:
    archive = reference / "realdata" / f"{name}.tar"
    if not archive.exists():
        pytest.skip(f"{archive} is absent")
    with tarfile.open(archive) as file:
        file.extractall(tmp_path / "real", filter="data")
    return tmp_path / "real"


def test_real_acdc(
    reference: Path, tmp_path: Path, make_source: Callable[..., Path], run_stage: Callable[..., Prepared]
) -> None:
    folder = unpack_real(reference, "acdc_mini", tmp_path)
    prepared = run_stage(make_source(folder, "acdc"), "sound", crop=128)
    assert prepared.card["counts"]["test"]["groups"] == 3
    cases = pd.read_csv(tmp_path / "data" / "own" / "images.csv", keep_default_na=False)
    assert len(cases) == 24 and prepared.card["counts"]["test"]["cases"] == 6
    assert np.allclose(prepared.items["spacing_x"], 128 / SIZE)  # these headers have unit spacing
    heart = prepared.masks[prepared.masks.any(axis=(1, 2))]
    assert np.unique(heart).tolist() == [0, 1, 2, 3]
    y, x = np.nonzero(heart.any(axis=0))
    assert abs(y.mean() - SIZE / 2) < SIZE / 4 and abs(x.mean() - SIZE / 2) < SIZE / 4
    # blood in the left ventricle is brighter than its muscle: image and mask lie on each other
    images = prepared.images[:, 0] / prepared.items["scale"].to_numpy()[:, None, None]
    assert images[prepared.masks == 3].mean() > 1.5 * images[prepared.masks == 2].mean()


@pytest.mark.slow
def test_real_chest_x_rays_grouped_by_patient(
    reference: Path, tmp_path: Path, make_source: Callable[..., Path], run_stage: Callable[..., Prepared]
) -> None:
    folder = unpack_real(reference, "cxr_covid", tmp_path) / "cxr_covid"
    group = {"table": "metadata.csv", "key": "file", "column": "patientid"}
    prepared = run_stage(make_source(folder, "folder"), "sound", classes=["opacity"], group=group)
    metadata = pd.read_csv(folder / "metadata.csv", dtype=str)
    assert len(prepared.items) == len(metadata) == 29
    assert set(prepared.items["group"]) == set(metadata["patientid"])
    assert prepared.items.groupby("group")["part"].nunique().max() == 1
    assert 0.1 < prepared.masks.mean() < 0.3
