"""The tasks of pretraining: what they show a network, what they ask of it, and the checkpoints that they leave."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from workflow.lib.data.index import index_source
from workflow.lib.data.source import ImageList, load_source
from workflow.lib.job.run import UserError, write_json
from workflow.lib.networks.build import build_encoder, load_encoder, seeded
from workflow.lib.pretrain import contrastive, corruptions, masked, pretrain, reconstruction, segmentation
from workflow.lib.pretrain.pretrain import pretrain_encoder
from workflow.lib.pretrain.tasks import TASKS
from workflow.lib.pretrain.views import Views
from workflow.lib.study.checkpoints import WITH_DECODER

ROOT = Path(__file__).parents[3]
RECIPE: dict[str, Any] = {
    "augmentation": "simple",
    "epochs": 2,
    "batch": 4,
    "micro_batch": 4,
    "learning_rate": 0.01,
    "warmup_epochs": 0,
    "weight_decay": 0.05,
    "label_smoothing": 0.0,
}


@pytest.fixture
def job(tmp_path: Path) -> dict[str, Any]:
    """Bright discs whose masks are the discs, in two classes of brightness."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:32, :32]
    for part, count in (("train", 6), ("val", 2)):
        for label, name in enumerate(("n1", "n2"), start=1):
            for place in ("images", "images/masks"):
                (tmp_path / place / part / name).mkdir(parents=True)
            for i in range(count):
                inside = np.hypot(y - rng.uniform(10, 22), x - rng.uniform(10, 22)) < 7
                image = np.where(inside, 100 * label, 20) + rng.integers(0, 20, (32, 32))
                Image.fromarray(np.stack(3 * [image], -1).astype(np.uint8)).save(
                    tmp_path / f"images/{part}/{name}/{i}.png"
                )
                Image.fromarray((label * inside).astype(np.uint8)).save(
                    tmp_path / f"images/masks/{part}/{name}/{i}.png"
                )
    card = {"dataset": "discs", "origin": "folder", "layout": "imagenet", "folder": str(tmp_path / "images")}
    write_json(tmp_path / "source.json", card)
    index = tmp_path / "index.csv.gz"
    index_source(source=tmp_path / "source.json", index=index, registry=ROOT / "workflow/registry/datasets.tsv")
    return {
        "source_card": tmp_path / "source.json",
        "index": index,
        "encoder": {"architecture": "unet", "width": 4},
        "image_size": 32,
        "inputs": "standardised",
        "recipe": RECIPE,
        "keep": [1, 2],
        "seed": 5,
        "precision": "float32",
        "device": "cpu",
        "threads": 1,
    }


def images_of(job: dict[str, Any]) -> ImageList:
    return load_source(job["source_card"], job["index"], "train")


def views_of(job: dict[str, Any], task: str) -> Views:
    return Views(TASKS[task].item, images_of(job), 32, "simple", seed=1, epoch=1)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_leaves_an_encoder_and_some_a_decoder(task: str, job: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "seed5"
    pretrain_encoder(folder=folder, **job | {"recipe": RECIPE | {"task": task}})
    encoder = build_encoder(job["encoder"], use="simple")
    load_encoder(encoder, folder / "epoch2.safetensors")
    names = set(load_file(folder / "epoch2.safetensors"))
    assert any(name.startswith("decoder.") for name in names) == (task in WITH_DECODER)
    card = json.loads((folder / "epoch2.json").read_text())
    assert card["images_seen"] == 24 and card["recipe"]["task"] == task
    assert (card["accuracy"] is None) == (task != "classification")
    losses = (folder / "history.csv").read_text()
    assert "validation loss" in losses and "nan" not in losses


@pytest.mark.parametrize("task", ["contrastive_reconstruction", "segmentation"])
def test_a_killed_task_resumes_bit_identical(
    task: str, job: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job["recipe"] = RECIPE | {"task": task}
    pretrain_encoder(folder=tmp_path / "whole", **job)

    class Dying(Views):
        def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
            if self.epoch == 2 and index == 7:
                raise KeyboardInterrupt
            return super().__getitem__(index)

    with monkeypatch.context() as patch:
        patch.setattr(pretrain, "Views", Dying)
        with pytest.raises(KeyboardInterrupt):
            pretrain_encoder(folder=tmp_path / "broken", **job)
    pretrain_encoder(folder=tmp_path / "broken", **job)
    whole, resumed = (load_file(tmp_path / name / "epoch2.safetensors") for name in ("whole", "broken"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_task_can_continue_from_another_encoder(job: dict[str, Any], tmp_path: Path) -> None:
    pretrain_encoder(folder=tmp_path / "first", **job)
    start = tmp_path / "first/epoch2.safetensors"
    recipe = RECIPE | {"task": "reconstruction", "learning_rate": 1e-12}  # it stays where it starts
    for name, given in (("on", start), ("new", None)):
        pretrain_encoder(folder=tmp_path / name, start=given, **job | {"recipe": recipe})
    first, on, new = (load_file(tmp_path / name / "epoch2.safetensors") for name in ("first", "on", "new"))
    kernel = "encoder.levels.0.0.weight"
    assert torch.allclose(on[kernel], first[kernel], atol=1e-4) and not torch.allclose(
        new[kernel], first[kernel], atol=1e-2
    )
    assert json.loads((tmp_path / "on/epoch2.json").read_text())["start"]


def test_test_splits_of_sources_are_held_out_along_the_chain(job: dict[str, Any], tmp_path: Path) -> None:
    def say(path: Path, held_out: dict[str, str]) -> None:
        path.write_text(json.dumps(json.loads(path.read_text()) | {"held_out": held_out}))

    job["recipe"] = RECIPE | {"task": "masked"}
    source = Path(job["source_card"])
    say(source, {"ACDC": "split 1"})
    pretrain_encoder(folder=tmp_path / "first", **job)
    start = tmp_path / "first/epoch2.safetensors"
    say(source, {"IDRiD": "split 2"})
    pretrain_encoder(folder=tmp_path / "later", start=start, **job)
    card = json.loads((tmp_path / "later/epoch2.json").read_text())
    assert card["held_out"] == {"ACDC": "split 1", "IDRiD": "split 2"}
    say(source, {"ACDC": "another split"})
    with pytest.raises(UserError, match="test split of target ACDC has changed"):
        pretrain_encoder(folder=tmp_path / "leak", start=start, **job)


def test_image_and_mask_are_cropped_and_flipped_together(job: dict[str, Any]) -> None:
    views = views_of(job, "segmentation")
    for index in range(len(views)):
        image, mask = views[index]
        label = 1 + int(views.images.labels[index])
        found = image[0] > 60 / 255
        assert set(mask.unique().tolist()) == {0, label}
        assert (found == (mask > 0)).float().mean() > 0.95, "but for the border, which is interpolated"


def test_segmentation_wants_masks(job: dict[str, Any], tmp_path: Path) -> None:
    job["recipe"] = RECIPE | {"task": "segmentation"}
    Image.fromarray(np.full((32, 32), 7, np.uint8)).save(tmp_path / "images/masks/train/n1/0.png")
    with pytest.raises(UserError, match="unusable mask") as error:
        pretrain_encoder(folder=tmp_path / "seed5", **job)
    assert "labels [7]" in str(error.value) and "0 to 2" in str(error.value)
    (tmp_path / "images/masks").rename(tmp_path / "elsewhere")
    index_source(source=job["source_card"], index=job["index"], registry=ROOT / "workflow/registry/datasets.tsv")
    with pytest.raises(UserError, match="needs a source with masks"):
        pretrain_encoder(folder=tmp_path / "seed5", **job)


def test_a_mask_that_is_absent_is_named(job: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "images/masks/val/n2/1.png").unlink()
    with pytest.raises(UserError, match="cannot be used") as error:
        index_source(source=job["source_card"], index=job["index"], registry=ROOT / "workflow/registry/datasets.tsv")
    assert "masks/val/n2/1.png" in str(error.value)


def test_corruptions_do_what_they_say() -> None:
    image = torch.rand(3, 40, 40, generator=torch.Generator().manual_seed(0))
    with seeded(1):
        shuffled, inside, outside = (
            f(image) for f in (corruptions.shuffle_pixels, corruptions.paint_in, corruptions.paint_out)
        )
    assert torch.equal(shuffled.flatten(1).sort(dim=1).values, image.flatten(1).sort(dim=1).values)
    assert not torch.equal(shuffled, image)
    for changed, least, most in ((inside, 0.01, 0.25), (outside, 0.02, 0.7)):
        share = (changed != image).any(dim=0).float().mean().item()
        assert least < share < most
        assert len((changed != image).any(dim=0).nonzero()) and changed.min() >= 0 and changed.max() <= 1


def test_a_change_of_intensities_is_monotone_and_of_grey_images_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    grey = torch.rand(1, 30, 30, generator=torch.Generator().manual_seed(0)).expand(3, -1, -1)
    order = grey[0].flatten().argsort()
    for seed in range(8):
        with seeded(seed):
            changed = corruptions.change_intensities(grey)[0].flatten()[order]
        steps = changed.diff()
        assert (steps >= -1e-5).all() or (steps <= 1e-5).all()
        assert 0 <= changed.min() and changed.max() <= 1
    used: list[str] = []
    for name in ("shuffle_pixels", "paint_in", "paint_out", "change_intensities"):
        monkeypatch.setattr(corruptions, name, lambda image, name=name: used.append(name))
    colour = torch.rand(3, 8, 8)
    with seeded(0):
        for image in [grey] * 60 + [colour] * 60:
            corruptions.corrupt(image)
    assert used[:60].count("change_intensities") > 5 and "change_intensities" not in used[60:]


def test_nt_xent_is_the_formula() -> None:
    z = torch.randn(3, 2, 5, generator=torch.Generator().manual_seed(0))
    flat = torch.nn.functional.normalize(z, dim=-1).view(6, 5)
    terms = []
    for i in range(6):
        similar = [torch.exp(flat[i] @ flat[k] / 0.5) for k in range(6)]
        partner = i + 1 if i % 2 == 0 else i - 1
        terms.append(-torch.log(similar[partner] / sum(s for k, s in enumerate(similar) if k != i)))
    assert contrastive.loss(z, torch.empty(0), {}).item() == pytest.approx(torch.stack(terms).mean().item(), rel=1e-5)


def test_views_of_an_image_differ_and_are_repeated(job: dict[str, Any]) -> None:
    views = views_of(job, "contrastive")
    both, _ = views[3]
    assert both.shape == (2, 3, 32, 32) and not torch.equal(both[0], both[1])
    assert torch.equal(views[3][0], both)


def test_masked_pixels_alone_count_and_are_hidden(job: dict[str, Any]) -> None:
    seen, wanted = views_of(job, "masked")[0]
    view, hidden = wanted[:3], wanted[3].bool()
    assert hidden.float().mean().item() == pytest.approx(masked.HIDDEN, abs=0.06)
    assert torch.equal(seen[:, ~hidden], view[:, ~hidden])
    assert (seen[:, hidden] - view.mean(dim=(1, 2))[:, None]).abs().max() < 1e-6
    logits = view.clamp(1e-4, 1 - 1e-4).logit()
    spoilt = torch.where(hidden, logits, 9.0)
    assert (
        masked.loss(spoilt[None], wanted[None], {}).item() < 1e-3 < masked.loss(-logits[None], wanted[None], {}).item()
    )


def test_reconstruction_wants_the_view_before_its_corruption(job: dict[str, Any]) -> None:
    views = views_of(job, "reconstruction")
    pairs = [views[i] for i in range(8)]
    assert all(not torch.equal(seen, view) for seen, view in pairs)
    perfect = torch.stack([view for _, view in pairs]).clamp(1e-4, 1 - 1e-4).logit()
    assert reconstruction.loss(perfect, torch.stack([view for _, view in pairs]), {}).item() < 1e-6


def test_a_segmentation_loss_ignores_borders() -> None:
    logits = torch.zeros(1, 3, 4, 4, requires_grad=True)
    mask = torch.full((1, 4, 4), 255)
    mask[0, 0, 0] = 1
    segmentation.loss(logits, mask, {}).backward()
    assert logits.grad is not None and logits.grad.isfinite().all()


def test_the_config_and_the_docs_know_every_task() -> None:
    schema = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
    schemes = schema["properties"]["schemes"]["additionalProperties"]["properties"]
    assert schemes["task"]["enum"] == list(TASKS)
    text = (ROOT / "docs/transfer.md").read_text()
    for task in TASKS:
        decoder = "yes" if task in WITH_DECODER else "no"
        assert re.search(rf"^\| `{task}` \| .* \| {decoder} \|$", text, re.MULTILINE), task
