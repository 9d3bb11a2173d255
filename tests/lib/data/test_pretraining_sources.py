"""Sources with masks: Pascal VOC, generated images, and the training images of a target."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.lib.finetune.test_finetune import prepared
from workflow.lib.data.generate import generate
from workflow.lib.data.index import index_source
from workflow.lib.data.prepared import hash_of_tested, load_prepared
from workflow.lib.data.source import load_source
from workflow.lib.data.training_images import list_training_images
from workflow.lib.job.run import UserError, read_json, write_json

REGISTRY = Path(__file__).parents[3] / "workflow/registry/datasets.tsv"


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """Four images: cats (8) in a corner, and a dog (12) that is smaller than the cat beside it."""
    root = tmp_path / "VOCdevkit/VOC2012"
    for place in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / place).mkdir(parents=True)
    palette = [value for i in range(256) for value in (i, 255 - i, 0)]
    for part, names in {"train": ["a", "b"], "val": ["c"]}.items():
        (root / f"ImageSets/Segmentation/{part}.txt").write_text("\n".join(names) + "\n")
        for name in names:
            Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(root / f"JPEGImages/{name}.jpg")
            mask = np.zeros((20, 30), np.uint8)
            mask[:8, :8], mask[:8, 8], mask[15:17, 20:23] = 8, 255, 12
            picture = Image.fromarray(mask, mode="P")
            picture.putpalette(palette)
            picture.save(root / f"SegmentationClass/{name}.png")
    write_json(
        tmp_path / "source.json", {"dataset": "voc", "origin": "folder", "layout": "voc", "folder": str(tmp_path)}
    )
    return tmp_path


def test_voc_has_masks_and_the_class_that_a_mask_shows_most(voc: Path) -> None:
    index_source(source=voc / "source.json", index=voc / "index.csv.gz", registry=REGISTRY)
    images = load_source(voc / "source.json", voc / "index.csv.gz", "train")
    assert len(images) == 2 and images.classes == ["cat"] and len(images.mask_classes) == 20
    assert images.mask_classes[7] == "cat" and images.read(0).shape == (20, 30, 3)
    assert np.unique(images.read_mask(1)).tolist() == [0, 8, 12, 255]


def test_an_incomplete_voc_folder_is_named(voc: Path) -> None:
    (voc / "VOCdevkit/VOC2012/SegmentationClass/b.png").unlink()
    with pytest.raises(UserError, match="cannot be used") as error:
        index_source(source=voc / "source.json", index=voc / "index.csv.gz", registry=REGISTRY)
    assert "SegmentationClass/b.png" in str(error.value)
    (voc / "VOCdevkit").rename(voc / "VOC")
    with pytest.raises(UserError, match="no complete VOCdevkit"):
        index_source(source=voc / "source.json", index=voc / "index.csv.gz", registry=REGISTRY)


def test_generated_images_have_classes_and_masks(tmp_path: Path) -> None:
    generate("imagenet", tmp_path / "images", image_size=32, train=1, test=1)
    card = {"dataset": "mine", "origin": "generated", "layout": "imagenet", "folder": str(tmp_path / "images")}
    write_json(tmp_path / "source.json", card)
    index_source(source=tmp_path / "source.json", index=tmp_path / "index.csv.gz", registry=REGISTRY)
    images = load_source(tmp_path / "source.json", tmp_path / "index.csv.gz", "train")
    assert len(images.mask_classes) == 12
    for i in range(len(images)):
        assert np.unique(images.read_mask(i)).tolist() == [0, int(images.labels[i]) + 1]


def test_the_training_images_of_a_target_hold_no_test_image(tmp_path: Path) -> None:
    values = np.array([10, 20, 30, 40], np.uint8)
    images = np.broadcast_to(values[:, None, None, None], (4, 1, 16, 16)).copy()
    masks = np.zeros((4, 16, 16), np.uint8)
    masks[:, 2:5] = 1
    data = prepared(tmp_path / "data", images, masks, ["train", "test", "validation", "test"])
    places = {name: tmp_path / name for name in ("images", "source.json", "index.csv.gz")}
    list_training_images(
        data_folder=data, images=places["images"], source=places["source.json"], index=places["index.csv.gz"]
    )
    table = pd.read_csv(places["index.csv.gz"])
    assert table["part"].tolist() == ["train", "val"]
    found = load_source(places["source.json"], places["index.csv.gz"], "train")
    assert found.read(0).max() == 10 and found.mask_classes == ["square"]
    assert np.array_equal(found.read_mask(0), masks[0])
    written = {
        int(np.asarray(Image.open(path)).max())
        for path in (tmp_path / "images").glob("*/*.png")
        if "masks" not in str(path)
    }
    assert written == {10, 30}
    assert read_json(places["source.json"])["held_out"] == {"squares": hash_of_tested(load_prepared(data))}
    before = places["index.csv.gz"].read_bytes()  # cards and guards know the images by its hash
    other = prepared(tmp_path / "other", images, np.roll(masks, 1, axis=1), ["train", "test", "validation", "test"])
    list_training_images(
        data_folder=other, images=places["images"], source=places["source.json"], index=places["index.csv.gz"]
    )
    assert places["index.csv.gz"].read_bytes() != before
