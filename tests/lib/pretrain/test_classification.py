"""Pretraining on real JPEG files: kept checkpoints, resume after a kill, the study's learning rate."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from workflow.lib.data.index import index_source
from workflow.lib.pretrain import classification
from workflow.lib.pretrain.classification import TrainImages, learning_rate, pretrain_encoder, random_weights
from workflow.lib.run import UserError, write_json
from workflow.lib.train import data_loader

ROOT = Path(__file__).parents[3]
RECIPE = {
    "augmentation": "advanced",
    "epochs": 3,
    "batch": 8,
    "micro_batch": 4,
    "learning_rate": 0.01,
    "warmup_epochs": 1,
    "weight_decay": 0.05,
    "label_smoothing": 0.1,
}


@pytest.fixture
def job(tmp_path: Path):
    rng = np.random.default_rng(0)
    for part, count in (("train", 6), ("val", 3)):
        for label in ("n1", "n2"):
            folder = tmp_path / "images" / part / label
            folder.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(rng.integers(0, 255, (20, 24, 3), dtype=np.uint8)).save(folder / f"{i}.JPEG")
    card = {
        "dataset": "mine",
        "origin": "folder",
        "layout": "imagenet",
        "folder": str(tmp_path / "images"),
        "files": [],
    }
    write_json(tmp_path / "source.json", card)
    index = tmp_path / "index.csv.gz"
    index_source(source=tmp_path / "source.json", index=index, registry=ROOT / "workflow/registry/datasets.tsv")
    return {
        "source_card": tmp_path / "source.json",
        "index": index,
        "encoder": {"architecture": "resnet50", "width": 4},
        "image_size": 32,
        "protocol": "paper",
        "recipe": RECIPE,
        "keep": [1, 3],
        "seed": 5,
        "precision": "float32",
        "device": "cpu",
        "threads": 1,
    }


def run(job: dict, folder: Path) -> dict[str, torch.Tensor]:
    pretrain_encoder(folder=folder, history_path=folder / "history.csv", **job)
    return load_file(folder / "epoch3.safetensors")


def test_checkpoints_cards_and_history(job, tmp_path: Path):
    folder = tmp_path / "seed5"
    run(job, folder)
    names = {path.name for path in folder.iterdir()}
    assert names == {"epoch1.safetensors", "epoch1.json", "epoch3.safetensors", "epoch3.json", "history.csv"}
    assert not (tmp_path / "seed5.resume").exists()
    card = json.loads((folder / "epoch3.json").read_text())
    assert card["epoch"] == 3 and 0 <= card["accuracy"] <= 1 and card["recipe"] == RECIPE
    assert card["seconds"] > 0 and len(card["config_hash"]) == 16 and card["versions"]["torch"]
    history = pd.read_csv(folder / "history.csv")
    assert list(history["epoch"]) == [1, 2, 3]
    assert history["accuracy"].iloc[2] == card["accuracy"]


def test_killed_pretraining_resumes_bit_identical(job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    whole = run(job, tmp_path / "whole")
    batches = []

    def count_and_die(self, index):
        batches.append(index)
        if len(batches) == 12 * 2 + 5:  # in the third epoch of 12 images
            raise KeyboardInterrupt
        return TrainImages.__getitem__(self, index)

    with monkeypatch.context() as patch:
        dying = type("Dying", (TrainImages,), {"__getitem__": count_and_die})
        patch.setattr(classification, "TrainImages", dying)
        with pytest.raises(KeyboardInterrupt):
            run(job, tmp_path / "broken")
    assert not (tmp_path / "broken").exists()  # no partial output
    batches.clear()
    resumed = run(job, tmp_path / "broken")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_damaged_image_is_named_from_a_loader_process(job, tmp_path: Path):
    damaged = tmp_path / "images/train/n1/0.JPEG"
    damaged.write_bytes(damaged.read_bytes()[:300])
    images = classification.load_source(job["source_card"], job["index"], "train")
    items = TrainImages(images, 32, "simple", "paper", 1, 1)
    with pytest.raises(UserError, match="unreadable image") as error:
        list(data_loader(items, 4, workers=1))
    assert str(damaged) in str(error.value) and "next:" in str(error.value)


def test_random_weights_depend_on_the_seed(job, tmp_path: Path):
    for seed in (1, 2):
        random_weights(
            source_card=job["source_card"],
            index=job["index"],
            weights=tmp_path / f"{seed}.safetensors",
            encoder=job["encoder"],
            seed=seed,
            image_size=32,
        )
    first, second = (load_file(tmp_path / f"{seed}.safetensors") for seed in (1, 2))
    assert not torch.equal(first["encoder.stem.0.weight"], second["encoder.stem.0.weight"])
    assert json.loads((tmp_path / "1.json").read_text())["accuracy"] == 0.5


def test_learning_rate_of_the_study():
    base, steps = 0.004, 313
    values = {"base": base, "warmup": 20 * steps, "total": 300 * steps}
    assert learning_rate(0, **values) == pytest.approx(base * 1e-6)
    assert learning_rate(10 * steps, **values) == pytest.approx(base / 2, rel=1e-5)
    assert learning_rate(20 * steps, **values) == pytest.approx(base)
    assert learning_rate(160 * steps, **values) == pytest.approx((base + 1e-6) / 2)
    assert learning_rate(300 * steps, **values) == pytest.approx(1e-6)
