"""Pretraining on real JPEG files: kept checkpoints, resume after a kill, the study's learning rate."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from workflow.lib.data.index import index_source
from workflow.lib.data.source import ImageList, load_source
from workflow.lib.job.run import UserError, write_json
from workflow.lib.pretrain import classification, pretrain
from workflow.lib.pretrain.pretrain import pretrain_encoder, pretraining_plan, random_weights
from workflow.lib.pretrain.views import Views, network_inputs
from workflow.lib.study.config import recipe
from workflow.lib.training.device import chunks, data_loader

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
def job(tmp_path: Path) -> dict[str, Any]:
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
        "inputs": "unchanged",
        "recipe": RECIPE,
        "keep": [1, 3],
        "seed": 5,
        "precision": "float32",
        "device": "cpu",
        "threads": 1,
    }


def run(job: dict[str, Any], folder: Path) -> dict[str, torch.Tensor]:
    pretrain_encoder(folder=folder, **job)
    return load_file(folder / "epoch3.safetensors")


def test_checkpoints_cards_and_history(job: dict[str, Any], tmp_path: Path) -> None:
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


def test_killed_pretraining_resumes_bit_identical(
    job: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(job, tmp_path / "whole")
    batches = []

    def count_and_die(self: Views, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        batches.append(index)
        if len(batches) == 12 * 2 + 5:  # in the third epoch of 12 images
            raise KeyboardInterrupt
        return Views.__getitem__(self, index)

    with monkeypatch.context() as patch:
        dying = type("Dying", (Views,), {"__getitem__": count_and_die})
        patch.setattr(pretrain, "Views", dying)
        with pytest.raises(KeyboardInterrupt):
            run(job, tmp_path / "broken")
    assert not (tmp_path / "broken").exists()  # no partial output
    batches.clear()
    resumed = run(job, tmp_path / "broken")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_kept_checkpoint_that_was_damaged_while_it_waited_is_not_published(job: dict[str, Any], tmp_path: Path) -> None:
    def damage(epoch: int) -> None:
        path = tmp_path / "seed5.resume" / "epoch1.safetensors"
        if epoch == 3:
            path.write_bytes(path.read_bytes()[:-1])

    class Damaging(Views):
        def __init__(self, *values: Any, **named: Any) -> None:
            super().__init__(*values, **named)
            damage(self.epoch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretrain, "Views", Damaging)
        with pytest.raises(UserError, match="damaged checkpoint") as error:
            run(job, tmp_path / "seed5")
    assert "seed5.resume" in str(error.value) and "starts from the beginning" in str(error.value)
    assert not (tmp_path / "seed5").exists()


def test_damaged_image_is_named_from_a_loader_process(job: dict[str, Any], tmp_path: Path) -> None:
    damaged = tmp_path / "images/train/n1/0.JPEG"
    damaged.write_bytes(damaged.read_bytes()[:300])
    images = load_source(job["source_card"], job["index"], "train")
    items = Views(classification.item, images, 32, "simple", 1, 1)
    with pytest.raises(UserError, match="unreadable image") as error:
        list(data_loader(items, chunks(range(len(items)), 4), workers=1))
    assert str(damaged) in str(error.value) and "next:" in str(error.value)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_photographs_are_decoded_as_pillow_does(mode: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 255, (7, 9, 3), dtype=np.uint8))
    small.resize((83, 61)).convert(mode).save(tmp_path / "a.JPEG", quality=90)
    content = (tmp_path / "a.JPEG").read_bytes()
    (tmp_path / "archive").write_bytes(b"xyz" + content + b"further")
    none = np.array([b"", b""])
    images = ImageList(
        tmp_path, np.array([b"a.JPEG", b"archive"]), np.array([-1, 3]), np.array([0, len(content)]), none, [], none, []
    )
    with Image.open(tmp_path / "a.JPEG") as picture:
        expected = np.asarray(picture.convert("RGB"))
    assert np.array_equal(images.read(0), expected) and np.array_equal(images.read(1), expected)


def test_views_are_standardised_each_by_itself() -> None:
    views = torch.rand(4, 2, 3, 8, 8) * torch.rand(4, 2, 1, 1, 1)
    seen = network_inputs(views, "standardised")
    assert torch.equal(network_inputs(views, "unchanged"), views)
    assert torch.allclose(seen.mean(dim=(2, 3, 4)), torch.zeros(4, 2), atol=1e-5)
    assert torch.allclose(seen[1, 1], network_inputs(views[1:2, 1], "standardised")[0], atol=1e-5)


def test_mixing_partners_are_the_others_of_the_micro_batch_and_each_as_likely(job: dict[str, Any]) -> None:
    images = load_source(job["source_card"], job["index"], "train")
    count, draws = 6, 150
    plain = [(torch.zeros(3, 8, 8), torch.eye(count)[i]) for i in range(count)]
    seen = torch.zeros(count, count)
    for epoch in range(draws):
        views = Views(classification.item, images, 8, "advanced", 1, epoch, classification.mixed)
        found = classification.mixed(views, range(count), plain)
        again = classification.mixed(views, range(count), plain)
        assert all(
            torch.equal(a, b) for one, two in zip(found, again, strict=True) for a, b in zip(one, two, strict=True)
        )
        seen += torch.stack([label for _, label in found])
    others = seen[~torch.eye(count, dtype=torch.bool)] / draws
    # Half of the weight of the 90 % that are mixed, shared by five; CutMix's boxes are clipped.
    assert others.mean() == pytest.approx(0.9 * 0.45 / 5, abs=0.02)
    assert others.std() < 0.025
    assert torch.allclose(seen.sum(dim=1), torch.tensor(float(draws)))


def test_random_weights_depend_on_the_seed(job: dict[str, Any], tmp_path: Path) -> None:
    weights = {seed: tmp_path / f"{seed}.safetensors" for seed in (1, 2)}
    call = {key: job[key] for key in ("source_card", "index", "encoder")} | {"image_size": 32}
    random_weights(weights=weights, **call)
    first, second = (load_file(tmp_path / f"{seed}.safetensors") for seed in (1, 2))
    assert not torch.equal(first["encoder.stem.0.weight"], second["encoder.stem.0.weight"])
    card = (tmp_path / "1.json").read_bytes()
    assert json.loads(card)["accuracy"] == 0.5
    random_weights(weights=weights | {3: tmp_path / "3.safetensors"}, **call)
    assert (tmp_path / "1.json").read_bytes() == card, "drawn again, nothing changes"


@pytest.mark.parametrize(
    ("encoder", "scheme", "base", "steps", "warmup", "micro_batches"),
    [
        ("unet", "simple", 0.004, 313, 1565, 16),
        ("unet", "advanced", 0.004, 313, 6260, 8),
        ("resnet50", "simple", 0.004, 313, 6260, 8),
        ("resnet50", "advanced", 0.004, 313, 6260, 8),
        ("swin", "simple", 0.004, 313, 6260, 8),
        ("swin", "advanced", 0.001, 1252, 25040, 4),
    ],
)
def test_schedules_of_the_study(
    encoder: str, scheme: str, base: float, steps: int, warmup: int, micro_batches: int
) -> None:
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    values = recipe(config, encoder, scheme)
    # ImageNet's training images.
    model: Any = torch.nn.Linear(1, 1)
    sizes: dict[str, Any] = {"image_size": 224, "inputs": "unchanged"}
    plan = pretraining_plan(model, None, values, 1_281_167, None, None, seed=0, precision="float32", **sizes)
    last = 300 * steps
    assert (plan.epochs, plan.steps_per_epoch, plan.accumulate) == (300, steps, micro_batches)
    assert plan.rate(0) == base * 1e-6
    assert plan.rate(1) == pytest.approx(base * (1e-6 + (1 - 1e-6) / warmup), rel=1e-12)
    assert plan.rate(warmup) == pytest.approx(base, rel=1e-12)
    cosine = (1 + math.cos(math.pi * (last - 1 - warmup) / (last - warmup))) / 2
    assert plan.rate(last - 1) == pytest.approx(1e-6 + (base - 1e-6) * cosine, rel=1e-9)
    (group,) = plan.optimizer.param_groups
    assert (group["betas"], group["weight_decay"], type(plan.optimizer).__name__) == ((0.9, 0.999), 0.05, "AdamW")
    assert values["label_smoothing"] == 0.1 and values["augmentation"] == scheme


def test_loss_smooths_hard_and_soft_labels() -> None:
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    values = recipe(config, "unet", "advanced")
    logits, label = torch.tensor([[2.0, 0.0, -1.0]]), torch.tensor([[0.7, 0.3, 0.0]])
    smooth = 0.9 * label + 0.1 / 3
    assert classification.loss(logits, label, values).item() == pytest.approx(
        -(smooth * logits.log_softmax(1)).sum().item()
    )
