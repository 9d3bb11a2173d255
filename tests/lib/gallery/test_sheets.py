"""Contact sheets: what is shown of which case, without names unless asked for, and where nothing was kept."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.lib.finetune.test_finetune import prepared
from workflow.lib.data.prepared import load_prepared, shown_rows
from workflow.lib.finetune.kept import blank_labels, read_predictions, write_predictions
from workflow.lib.gallery.choose import dice_of_cases, shown_cases, shown_starts
from workflow.lib.gallery.pictures import errors_over, of_interest
from workflow.lib.gallery.sheets import _about_images, draw_images, draw_segmentations
from workflow.lib.job.run import UserError, read_json, write_json
from workflow.lib.paper import style

BEST = {"encoder": "unet", "scheme": "simple", "pretrain_seed": 1, "epochs": 3, "mode": "trainable"}
LOST = {"square": {"train": [2, 6], "test": [0, 5]}}
DICE = [0.9, 0.2, 0.5, 0.7, np.nan]  # of the test cases t1 to t5


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Six training and five test pictures with a square each; the mask of the last is empty."""
    images, masks = np.full((11, 1, 16, 16), 40.0), np.zeros((11, 16, 16))
    for i in range(10):
        images[i, 0, i : i + 5, 3:8], masks[i, i : i + 5, 3:8] = 200, 1
    folder = prepared(tmp_path / "data", images.astype(np.uint8), masks, ["train"] * 6 + ["test"] * 5)
    items = pd.read_csv(folder / "items.csv").assign(case=[f"c{i}" for i in range(6)] + [f"t{i}" for i in range(1, 6)])
    items.to_csv(folder / "items.csv", index=False)
    write_json(
        folder / "card.json", read_json(folder / "card.json") | {"lost_lesions": LOST, "window": None, "copies": 0}
    )
    return folder


def finetuning(
    folder: Path, pretraining: str, epochs: int, *, way: str = "trainable", dice: list[float] = DICE
) -> Path:
    """A fine-tuning of two seeds, the second one of which finds nothing; returns its card."""
    folder = folder / way / pretraining / f"epoch{epochs}-seeds1-2"
    names = {"target": "squares", "way": way, "encoder": "unet", "pretraining": pretraining, "epochs": str(epochs)}
    write_json(folder / "card.json", {"names": names | {"seeds": "1-2"}, "runs": []})
    rows = [{"seed": s, "case": f"t{i}", "class": "square", "dice": d} for s in (1, 2) for i, d in enumerate(dice, 1)]
    table = pd.DataFrame(rows)
    table.loc[table["seed"] == 2, "dice"] = 0.0
    table.to_csv(folder / "cases.csv", index=False)
    return folder / "card.json"


def grid(folder: Path) -> list[Path]:
    cards = [finetuning(folder, "simple/seed1", epochs) for epochs in (1, 3, 6)]
    return [
        *cards,
        finetuning(folder, "simple/seed2", 6),
        finetuning(folder, "random", 0),
        finetuning(folder, "random", 0, way="frozen"),
    ]


def test_starts_are_those_of_the_best_ones_network_and_mode(tmp_path: Path) -> None:
    cards = grid(tmp_path)

    def titles(**start: Any) -> list[str]:
        return [start.title.replace("\n", " ") for start in shown_starts(BEST | start, cards)]

    assert titles() == ["best: simple, 3 epochs", "default: simple, 6 epochs", "random: random weights"]
    assert titles(epochs=6) == ["best and default: simple, 6 epochs", "random: random weights"]
    assert titles(epochs=0, scheme="random") == ["best and random: random weights", "default: simple, 6 epochs"]
    with pytest.raises(UserError, match="no fine-tuning"):
        shown_starts(BEST | {"epochs": 2}, cards)


def test_cases_are_the_best_the_median_and_the_worst_of_the_first_seed(tmp_path: Path) -> None:
    dice = dice_of_cases(finetuning(tmp_path, "random", 0).parent)
    assert shown_cases(dice) == {"t1": "best", "t3": "median", "t2": "worst"}
    assert shown_cases(dice.loc[["t1", "t5"]]) == {"t1": "best and median and worst"}
    assert shown_cases(dice.loc[["t5"]]) == {}


def test_a_volume_is_shown_by_its_middle_and_its_most_affected_slice(data: Path) -> None:
    table = pd.read_csv(data / "items.csv")
    table.loc[:5, "case"] = "volume"
    table.to_csv(data / "items.csv", index=False)
    loaded = load_prepared(data)
    assert shown_rows(loaded, "volume") == [3, 0]
    assert shown_rows(loaded, "t5") == [10]


def test_a_sheet_says_what_the_resize_loses_and_whose_images_they_are(data: Path) -> None:
    words = _about_images(load_prepared(data))
    assert "6 training cases of 6 patients" in words
    assert words.endswith("\nLesions lost in the resize: square 2 of 11 (train 2 of 6, test 0 of 5).")
    card = read_json(data / "card.json")
    write_json(data / "card.json", card | {"lost_lesions": {}, "groups": "unknown", "copies": 3})
    words = _about_images(load_prepared(data))
    assert words.endswith("\n3 cases have an image that another patient or split has too.")
    assert "6 training cases (patients not known)" in words and "lost" not in words


def test_errors_have_a_colour_each() -> None:
    true, guess = np.array([[0, 1, 1, 1, 0]]), np.array([[0, 1, 0, 2, 1]])
    shown = errors_over(np.zeros((1, 5, 3)), guess, true)
    colours = ["#000000", *(style.ERROR_COLOURS[kind] for kind in ("correct", "missed", "another class", "extra"))]
    for pixel, colour in zip(shown[0], colours, strict=True):
        np.testing.assert_allclose(pixel, 0.55 * np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255)


def test_of_windowed_pictures_the_window_with_most_labels_is_shown(data: Path) -> None:
    card = read_json(data / "card.json")
    write_json(data / "card.json", card | {"windows": {"window": 8, "stride": 4, "crop": 4}})
    view = of_interest(load_prepared(data), 9)  # its square begins in row 9
    assert (view.rows, view.columns) == (slice(8, 16), slice(0, 8))


def drawn(folder: Path) -> dict[str, str]:
    return {kind: str(folder / f"sheet.{kind}") for kind in ("pdf", "png", "csv")}


@pytest.mark.parametrize("names", [False, True])
def test_sheet_of_images(data: Path, tmp_path: Path, names: bool) -> None:
    draw_images(data=data, names=names, **drawn(tmp_path))
    table = pd.read_csv(tmp_path / "sheet.csv")
    assert len(table) == 6 and ("case" in table) == names
    assert (table["percent square"] > 5).all()
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.width == 200 * style.WIDTH
        assert len(np.unique(np.asarray(image.convert("L")))) > 20


def test_sheet_of_images_without_masks(data: Path, tmp_path: Path) -> None:
    card = read_json(data / "card.json")
    write_json(data / "card.json", card | {"classes": [], "lost_lesions": {}})
    draw_images(data=data, names=False, **drawn(tmp_path))
    assert list(pd.read_csv(tmp_path / "sheet.csv")) == ["panel", "shows"]


@pytest.mark.parametrize("names", [False, True])
def test_sheet_of_segmentations(data: Path, tmp_path: Path, names: bool) -> None:
    cards = grid(tmp_path / "finetune")
    write_json(tmp_path / "answer.json", {"targets": {"squares": {"start": BEST}}})
    labels = blank_labels(load_prepared(data))
    assert list(labels) == [6, 7, 8, 9, 10]
    write_predictions(cards[1].parent, {row: mask + 1 for row, mask in labels.items()})
    draw_segmentations(data=data, answer=tmp_path / "answer.json", cards=cards, names=names, **drawn(tmp_path))
    table = pd.read_csv(tmp_path / "sheet.csv")
    assert list(table["case"].unique()) == ["best", "median", "worst"] and ("name" in table) == names
    assert table["dice"].tolist() == [0.9] * 3 + [0.5] * 3 + [0.2] * 3
    with Image.open(tmp_path / "sheet.png") as image:
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    found = np.round(0.45 * 40 / 255 * 255 + 0.55 * np.array([0, 0x72, 0xB2])).astype(int)
    assert (np.abs(pixels.astype(int) - found).max(axis=1) < 3).sum() > 1000, "found where there is none"


def test_kept_predictions_come_back_and_damage_is_reported(data: Path, tmp_path: Path) -> None:
    assert read_predictions(tmp_path) is None
    labels = {row: mask + row for row, mask in blank_labels(load_prepared(data)).items()}
    write_predictions(tmp_path, labels)
    found = read_predictions(tmp_path)
    assert found and list(found) == list(labels)
    np.testing.assert_array_equal(found[7], labels[7])
    (tmp_path / "predictions.npz").write_bytes(b"PK")
    with pytest.raises(UserError, match="unreadable predictions"):
        read_predictions(tmp_path)
