"""Fine-tuning a small network on a small prepared target."""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from workflow.lib.data.prepared import hash_of_tested, load_prepared, truths_of
from workflow.lib.finetune import batches
from workflow.lib.finetune import finetune as module
from workflow.lib.finetune.batches import (
    Patch,
    TrainItems,
    as_input,
    augmented,
    evaluation_patches,
    lasting,
    rotated_crop,
    square,
    training_patches,
)
from workflow.lib.finetune.evaluate import assembled, at_full_size, evaluate, evaluation_tiles, selection_dice
from workflow.lib.finetune.finetune import finetune_network, polynomial_rate
from workflow.lib.finetune.kept import read_predictions
from workflow.lib.finetune.metrics import Case, confusion, dice
from workflow.lib.finetune.start import freeze
from workflow.lib.job.run import UserError, read_json, sha256_of, write_json
from workflow.lib.networks.build import build_classifier, build_segmenter
from workflow.lib.networks.checkpoint import write_checkpoint
from workflow.lib.study.checkpoints import Finetuning
from workflow.lib.study.protocol import PROTOCOLS
from workflow.lib.tables.gather import downstream_row, robustness_table

ENCODER = {"architecture": "unet", "width": 4}
RECIPE: dict[str, Any] = {
    "epochs": 4,
    "steps_per_epoch": 5,
    "batch": 4,
    "micro_batch": None,
    "optimizer": "adamw",
    "learning_rate": 0.01,
    "weight_decay": 0.0,
    "loss": "dice_ce",
    "background_weight": 0.5,
    "rotation": 20,
    "flip": True,
}
JOB = Finetuning("squares", "trainable", "unet", "simple/seed5", 3, (1,))


def prepared(
    folder: Path, images: np.ndarray, masks: np.ndarray, parts: list[str], windows: dict[str, int] | None = None
) -> Path:
    folder.mkdir()
    arrays = {"images": images, "masks": masks.astype(np.uint8)}
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    items = [
        {
            "item": f"i{i}",
            "case": f"c{i}",
            "group": f"g{i}",
            "part": part,
            "scale": 255,
            "range": 255,
            "mean": images[i].mean() / 255,
            "sd": images[i].std() / 255,
            "top": 0,
            "left": 0,
            "height": masks.shape[1],
            "width": masks.shape[2],
            "spacing_z": 1,
            "spacing_y": 1,
            "spacing_x": 1,
        }
        for i, part in enumerate(parts)
    ]
    pd.DataFrame(items).to_csv(folder / "items.csv", index=False)
    write_truth(folder, [mask[None] for mask in masks])
    described = {
        name: {"shape": list(array.shape), "dtype": str(array.dtype), "sha256": sha256_of(folder / f"{name}.npy")}
        for name, array in arrays.items()
    }
    card = {
        "target": "squares",
        "protocol": PROTOCOLS["sound"],
        "inputs": "standardised",
        "image_size": 16,
        "classes": ["square"],
        "windows": windows,
    }
    write_json(folder / "card.json", card | {"counts": {}, "arrays": described, "truth": {}})
    return folder


class Shown(torch.nn.Module):
    """A network that finds what the image shows, in units of the prepared array."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(1e5))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (images[:, :1] * 255 - 0.5) * self.scale


def write_truth(folder: Path, cases: list[np.ndarray]) -> None:
    arrays: dict[str, Any] = {str(i): case.astype(np.uint8) for i, case in enumerate(cases)}
    np.savez_compressed(folder / "truth.npz", **arrays)


@pytest.fixture
def job(tmp_path: Path) -> dict[str, Any]:
    """Bright squares on noise: learnable within a few steps."""
    rng = np.random.default_rng(0)
    images, masks = rng.integers(0, 90, (12, 1, 16, 16)), np.zeros((12, 16, 16))
    for image, mask in zip(images, masks, strict=True):
        y, x = rng.integers(2, 9, 2)
        mask[y : y + 5, x : x + 5] = 1
        image[0][mask > 0] += 150
    folder = prepared(
        tmp_path / "data", images.astype(np.uint8), masks, ["train"] * 6 + ["validation"] * 2 + ["test"] * 4
    )
    card = {"epoch": 3, "accuracy": 0.4}
    write_checkpoint(build_classifier(ENCODER, 10, use="simple", seed=1), tmp_path / "epoch3.safetensors", card)
    return {
        "data_folder": folder,
        "weights": [tmp_path / "epoch3.safetensors"],
        "encoder": ENCODER,
        "recipe": RECIPE,
        "job": JOB,
        "image_size": 16,
        "protocol": PROTOCOLS["sound"],
        "inputs": "standardised",
        "precision": "float32",
        "source": "ImageNet",
        "device": "cpu",
        "threads": 1,
    }


@pytest.mark.parametrize("protocol", ["sound", "paper"])
@pytest.mark.parametrize("frozen", ["frozen", "trainable"])
def test_network_learns_and_reports(job: dict[str, Any], tmp_path: Path, frozen: str, protocol: str) -> None:
    job |= {"protocol": PROTOCOLS[protocol], "job": JOB._replace(way=frozen), "recipe": RECIPE | {"epochs": 8}}
    finetune_network(output_folder=tmp_path / "out", **job)
    [card] = read_json(tmp_path / "out" / "card.json")["runs"]
    assert card["metrics"]["dice index"] > 0.5
    cases = pd.read_csv(tmp_path / "out" / "cases.csv")
    assert len(cases) == 4
    kept, masks = read_predictions(tmp_path / "out"), load_prepared(job["data_folder"]).masks
    found = {f"c{row}": dice(confusion(masks[row] > 0, labels > 0), 0) for row, labels in (kept or {}).items()}
    assert found == dict(zip(cases["case"], cases["dice"], strict=True))
    history = pd.read_csv(tmp_path / "out" / "history.csv")
    best = history["validation dice"].max()
    assert history.loc[history["epoch"] == card["best epoch"], "validation dice"].item() == best
    row = downstream_row(card, {"unet": "basic U-Net"}, {"unet": ["simple"]})
    assert row["model"] == "basic U-Net" and row["freeze encoder"] is (frozen == "frozen")
    assert row["ImageNet accuracy"] == 0.4 and row["pretraining length"] == 3
    if protocol == "paper":  # the study's flaw: the best epoch is chosen on the test split
        assert card["metrics"]["dice index"] == pytest.approx(best)


def test_killed_finetuning_resumes_bit_identical(
    job: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SAVE_EVERY", 0.0)
    finetune_network(output_folder=tmp_path / "whole", **job)
    calls = []

    def dying(*args: Any, **kwargs: Any) -> float:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return selection_dice(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(module, "selection_dice", dying)
        with pytest.raises(KeyboardInterrupt):
            finetune_network(output_folder=tmp_path / "broken", **job)
    assert not (tmp_path / "broken").exists()
    finetune_network(output_folder=tmp_path / "broken", **job)
    whole, broken = (read_json(tmp_path / name / "card.json")["runs"][0]["metrics"] for name in ("whole", "broken"))
    assert whole == broken
    assert not (tmp_path / "broken.resume").exists()


Results = tuple[dict[str, Any], list[pd.DataFrame]]  # metrics, and tables of cases and epochs


def seed_results(folder: Path, seed: int) -> Results:
    """What a job says of one of its seeds, without times."""
    [run] = [run for run in read_json(folder / "card.json")["runs"] if run["names"]["seed"] == str(seed)]
    tables = [pd.read_csv(folder / f"{name}.csv") for name in ("cases", "history")]
    rows = [table[table["seed"] == seed].drop(columns="seconds", errors="ignore") for table in tables]
    return run["metrics"], [table.reset_index(drop=True) for table in rows]


def assert_same_results(one: Results, other: Results) -> None:
    assert one[0] == other[0]
    for table, wanted in zip(one[1], other[1], strict=True):
        assert len(table)
        pd.testing.assert_frame_equal(table, wanted, check_exact=True)


def test_each_seed_of_a_job_is_bit_identical_to_the_same_seed_alone(job: dict[str, Any], tmp_path: Path) -> None:
    finetune_network(output_folder=tmp_path / "three", **job | {"job": JOB._replace(seeds=(1, 2, 3))})
    card = read_json(tmp_path / "three/card.json")
    assert [run["names"]["seed"] for run in card["runs"]] == ["1", "2", "3"]
    assert card["seconds"] == pytest.approx(sum(run["seconds"] for run in card["runs"]), abs=0.01)
    for seed in (2, 3):
        finetune_network(output_folder=tmp_path / "alone", **job | {"job": JOB._replace(seeds=(seed,))})
        assert_same_results(seed_results(tmp_path / "three", seed), seed_results(tmp_path / "alone", seed))


@pytest.mark.slow
def test_a_job_that_was_ended_in_its_second_seed_goes_on_there(
    job: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SAVE_EVERY", 0.0)
    names, log = {"job": JOB._replace(seeds=(1, 2, 3))}, []
    finetune_network(output_folder=tmp_path / "whole", **job | names)

    def dying(*args: Any, **kwargs: Any) -> float:
        log.append(1)
        if len(log) == RECIPE["epochs"] + 3:
            raise KeyboardInterrupt
        return selection_dice(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(module, "selection_dice", dying)
        with pytest.raises(KeyboardInterrupt):
            finetune_network(output_folder=tmp_path / "broken", **job | names)
    assert not (tmp_path / "broken").exists()

    def counted(*args: Any, **kwargs: Any) -> float:
        log.append(2)
        return selection_dice(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(module, "selection_dice", counted)
        finetune_network(output_folder=tmp_path / "broken", **job | names)
    assert log.count(2) == 2 + RECIPE["epochs"], "two epochs of the second seed, and the third"
    for seed in (1, 2, 3):
        assert_same_results(seed_results(tmp_path / "broken", seed), seed_results(tmp_path / "whole", seed))
    assert not (tmp_path / "broken.resume").exists()


def test_random_weights_are_each_seeds_own(job: dict[str, Any], tmp_path: Path) -> None:
    for seed in (1, 2):
        network = build_classifier(ENCODER, 10, use="simple", seed=seed)
        write_checkpoint(network, tmp_path / f"{seed}.safetensors", {"epoch": 0, "accuracy": 0.1}, dated=False)
    weights = [tmp_path / "1.safetensors", tmp_path / "2.safetensors"]
    random = JOB._replace(pretraining="random", epochs=0, seeds=(1, 2))
    finetune_network(output_folder=tmp_path / "out", **job | {"job": random, "weights": weights})
    runs = read_json(tmp_path / "out/card.json")["runs"]
    assert [(run["names"]["scheme"], run["names"]["pretrain_seed"]) for run in runs] == [
        ("random", "1"),
        ("random", "2"),
    ]
    assert [run["checkpoint"] for run in runs] == [sha256_of(path) for path in weights]


def test_checkpoint_of_another_width_is_refused(job: dict[str, Any], tmp_path: Path) -> None:
    job["encoder"] = ENCODER | {"width": 8}
    with pytest.raises(UserError, match="does not fit") as error:
        finetune_network(output_folder=tmp_path / "out", **job)
    assert str(job["weights"][0]) in str(error.value)
    assert not (tmp_path / "out").exists()


def test_sound_calibration_has_no_stochastic_depth() -> None:
    def statistics(state: int) -> torch.Tensor:
        network: Any = build_segmenter({"architecture": "resnet50", "width": 8}, 1, seed=0)
        torch.manual_seed(state)
        freeze(network, "evaluation", [torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(1))])
        return network.encoder.encoder.stages[3][2].branch[7].running_mean

    assert torch.equal(statistics(1), statistics(2))


@pytest.mark.parametrize("classes", [1, 2])
def test_dice_of_an_epoch_is_that_of_the_table_of_cases(tmp_path: Path, classes: int) -> None:
    rng = np.random.default_rng(classes)
    masks = rng.integers(0, classes + 1, (7, 16, 16)) * (np.arange(7) != 3)[:, None, None]  # one slice shows nothing
    images = rng.integers(0, 255, (7, 1, 16, 16)).astype(np.uint8)
    folder = prepared(tmp_path / "d", images, masks, ["train"] + ["test"] * 6)
    items = pd.read_csv(folder / "items.csv").assign(case=["x", "b", "a", "b", "c", "a", "b"])
    items.to_csv(folder / "items.csv", index=False)
    write_truth(folder, [masks[:1], masks[[1, 3, 6]], masks[[2, 5]], masks[4:5]])
    card = read_json(folder / "card.json") | {"classes": [f"c{i}" for i in range(classes)]}
    write_json(folder / "card.json", card)
    network = build_segmenter(ENCODER, 1 if classes == 1 else 3, seed=0)
    tiles = evaluation_tiles(load_prepared(folder), "test", PROTOCOLS["sound"], "unchanged", seed=0)
    table, _ = evaluate(network, tiles, 4, "float32", PROTOCOLS["paper"])
    tp, fp, fn = (table[name].sum() for name in ("tp", "fp", "fn"))
    assert tp and fp and fn
    assert selection_dice(network, tiles, 4, "float32", "pooled") == pytest.approx(
        (2 * tp + 1) / (2 * tp + fp + fn + 1)
    )
    per_case = table.groupby(["case", "class"])[["tp", "fp", "fn"]].sum()
    dice = 2 * per_case["tp"] / (2 * per_case["tp"] + per_case["fp"] + per_case["fn"])
    wanted = dice.groupby("case").mean().mean()
    assert selection_dice(network, tiles, 4, "float32", "per_case") == pytest.approx(wanted)


def test_a_part_without_anything_to_find_counts_as_zero(tmp_path: Path) -> None:
    folder = prepared(tmp_path / "d", np.zeros((2, 1, 16, 16), np.uint8), np.zeros((2, 16, 16)), ["train", "test"])
    tiles = evaluation_tiles(load_prepared(folder), "test", PROTOCOLS["sound"], "unchanged", seed=0)
    network: Any = build_segmenter(ENCODER, 1, seed=0)
    torch.nn.init.constant_(network.decoder.head.bias, -1e6)  # finds nothing anywhere
    assert selection_dice(network, tiles, 2, "float32", "per_case") == 0.0
    assert selection_dice(network, tiles, 2, "float32", "pooled") == 1.0  # as the study's smoothed ratio says


def test_cases_are_assembled_from_tiles_in_any_order(tmp_path: Path) -> None:
    masks = np.random.default_rng(0).integers(0, 2, (3, 32, 32))
    folder = prepared(tmp_path / "d", np.zeros((3, 1, 32, 32), np.uint8), masks, ["train", "test", "test"])
    items = pd.read_csv(folder / "items.csv").assign(case=["a", "b", "b"], spacing_z=[1, 7, 7], spacing_x=[1, 2, 2])
    items.to_csv(folder / "items.csv", index=False)
    write_truth(folder, [masks[:1], masks[1:]])
    data = load_prepared(folder)
    patches = evaluation_patches(data, "test", "whole")
    patches = [patches[i] for i in (5, 2, 7, 0, 1, 4, 3, 6)]
    tiles = [np.asarray(masks[row, top : top + 16, left : left + 16]) for row, top, left in patches]
    (case,) = assembled(data, patches, ((np.stack([1 - tile, tile]), tile) for tile in tiles))
    assert case.name == "b" and case.spacing == (7, 1, 2)
    assert np.array_equal(case.truth, masks[1:]) and np.array_equal(case.probability[1], masks[1:])


def test_cases_are_evaluated_at_the_size_of_their_masks(tmp_path: Path) -> None:
    """A network can't find what resizing has lost, and is not spared it."""
    truth = np.zeros((1, 32, 64), np.uint8)
    truth[0, 8:24, 16:48] = 1
    small = truth[:, ::4, ::4]
    masks = np.zeros((1, 16, 16), np.uint8)
    masks[:, 4:12] = small  # padded above and below
    folder = prepared(tmp_path / "d", masks[:, None], masks, ["test"])
    box = {"top": 4, "left": 0, "height": 8, "width": 16, "spacing_y": 4, "spacing_x": 4}
    pd.read_csv(folder / "items.csv").assign(**box).to_csv(folder / "items.csv", index=False)
    network = Shown()
    dice = {}
    for lost in (0, 1):
        truth[0, 0, : 20 * lost] = 1
        write_truth(folder, [truth])
        data = load_prepared(folder)
        tiles = evaluation_tiles(data, "test", PROTOCOLS["sound"], "unchanged", seed=0)
        table, _ = evaluate(network, tiles, 4, "float32", PROTOCOLS["sound"], truths_of(data))
        assert table[["tp", "fp", "fn", "tn"]].sum(axis=1).item() == truth.size
        dice[lost] = table["dice"].item()
        network_size, _ = evaluate(network, tiles, 4, "float32", PROTOCOLS["sound"])
        assert network_size[["tp", "fp", "fn", "tn"]].sum(axis=1).item() == small.size
    assert dice[0] == pytest.approx(1, abs=0.01)  # but for the corners
    assert dice[1] == pytest.approx(2 * 512 / (2 * 512 + 20), abs=0.01)


def test_volumes_of_several_classes_at_full_size() -> None:
    truth = np.repeat(np.repeat(np.random.default_rng(0).integers(0, 3, (4, 5, 6)), 8, axis=1), 8, axis=2).astype(
        np.uint8
    )
    small = truth[:, 4::8, 4::8]
    case = Case("a", small, np.stack([small == label for label in range(3)]).astype(np.float32), (5.0, 8.0, 4.0))
    found = at_full_size(case, truth)
    assert found.spacing == (5, 1, 0.5) and (found.labels == truth)[:, 4::8, 4::8].all()
    assert (found.labels == truth).mean() > 0.7


def test_what_is_found_in_the_padding_counts_nothing(tmp_path: Path) -> None:
    masks = np.zeros((1, 16, 16), np.uint8)
    masks[:, 6:10, 4:8] = 1
    images = masks[:, None].copy()
    images[:, :, :2] = 1  # above the image
    folder = prepared(tmp_path / "d", images, masks, ["test"])
    dice, pooled = {}, {}
    protocol: Any = PROTOCOLS["sound"] | {"metrics": "pooled"}
    for top, height in ((0, 16), (4, 8)):
        pd.read_csv(folder / "items.csv").assign(top=top, height=height).to_csv(folder / "items.csv", index=False)
        tiles = evaluation_tiles(load_prepared(folder), "test", PROTOCOLS["sound"], "unchanged", seed=0)
        dice[top] = selection_dice(Shown(), tiles, 4, "float32", "per_case")
        pooled[top] = evaluate(Shown(), tiles, 4, "float32", protocol)[0]["dice"].item()
    expected = {0: pytest.approx(2 * 16 / (2 * 16 + 32), abs=0.01), 4: pytest.approx(1)}
    assert dice == expected and pooled == expected


def test_dark_tiles_stay_dark_and_rotation_does_not_shift_tissue(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(100, 200, (1, 1, 32, 32)).astype(np.uint8)
    images[0, 0, :16, :16] = rng.integers(0, 3, (16, 16))
    data = load_prepared(prepared(tmp_path / "d", images, np.zeros((1, 32, 32)), ["train"]))
    dark, bright = (
        as_input(square(data, patch, 16)[0], data, patch, "standardised")
        for patch in (Patch(0, 0, 0), Patch(0, 16, 16))
    )
    assert dark.std() < 0.05 and dark.max() < bright.min()
    whole, _ = square(data, Patch(0, 0, 0), 32)
    upright, turned = (
        as_input(functional.rotate(whole, angle), data, Patch(0, 0, 0), "standardised") for angle in (0, 45)
    )
    centre = (..., slice(18, 22), slice(14, 18))
    assert turned[centre].min() >= bright.min() and turned.mean() < upright.mean() - 0.2  # corners are black


def test_pooled_metrics_see_tiles_in_a_seeded_random_order(tmp_path: Path) -> None:
    folder = prepared(tmp_path / "d", np.zeros((20, 1, 16, 16), np.uint8), np.zeros((20, 16, 16)), ["test"] * 20)
    data = load_prepared(folder)
    orders = [evaluation_tiles(data, "test", PROTOCOLS["paper"], "unchanged", seed).patches for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == evaluation_tiles(data, "test", PROTOCOLS["sound"], "unchanged", 1).patches


def test_sound_freezing_calibrates_once_and_never_changes() -> None:
    network: Any = build_segmenter(ENCODER, 1, seed=0)
    images = [torch.rand(4, 3, 16, 16) * 5 + 2 for _ in range(3)]
    freeze(network, "evaluation", images)
    norm = network.encoder.encoder.levels[0][1]
    expected = torch.stack(
        [network.encoder.encoder.levels[0][0](network.encoder.encoder.stem(b)).mean((0, 2, 3)) for b in images]
    )
    assert torch.allclose(norm.running_mean, expected.mean(0), rtol=1e-4)
    before = {name: value.clone() for name, value in network.encoder.state_dict().items()}
    network.train()
    network(images[0]).sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in network.encoder.state_dict().items())
    assert all(parameter.grad is None for parameter in network.encoder.parameters())
    assert network.decoder.head.weight.grad is not None


def test_paper_freezing_lets_statistics_move() -> None:
    network: Any = build_segmenter(ENCODER, 1, seed=0)
    freeze(network, "gradients_off", [])
    before = network.encoder.levels[0][1].running_mean.clone()
    network.train()
    network(torch.rand(4, 3, 16, 16)).sum().backward()
    assert not torch.equal(network.encoder.levels[0][1].running_mean, before)
    assert all(parameter.grad is None for parameter in network.encoder.parameters())


def test_learning_rate_of_the_study_is_two_steps_late() -> None:
    steps = 150 * 80  # of 80 batches an epoch
    study = [polynomial_rate(step, base=0.05, total=steps, late=2) for step in (0, 1, 2, 3, steps - 1)]
    assert study == pytest.approx(
        [0.05, 0.05 * (1 + 1 / steps) ** 0.9, 0.05, 0.05 * (1 - 1 / steps) ** 0.9, 0.05 * (3 / steps) ** 0.9]
    )
    plain = [polynomial_rate(step, base=0.05, total=steps, late=0) for step in (0, 1, steps - 1)]
    assert plain == pytest.approx([0.05, 0.05 * (1 - 1 / steps) ** 0.9, 0.05 * (1 / steps) ** 0.9])


def test_windows_and_tiles(tmp_path: Path) -> None:
    images = np.full((2, 3, 80, 160), 100, np.uint8)
    images[1, :, :, :80] = 0  # the dark half is dropped
    windows = {"window": 32, "stride": 8, "crop": 16}
    data = load_prepared(prepared(tmp_path / "d", images, np.zeros((2, 80, 160)), ["train", "test"], windows))
    assert len(training_patches(data)) == 7 * 17  # as in the study
    paper = evaluation_patches(data, "test", "windows")
    # The bottom is never seen.
    assert max(patch.top for patch in paper) == 48 and all(patch.left >= 64 for patch in paper)
    assert len(evaluation_patches(data, "test", "whole")) == 5 * 10
    image, mask = TrainItems(data, training_patches(data), "unchanged", 180, True, 1, None)[1, 0]
    assert image.shape == (3, 16, 16) and mask.shape == (16, 16)


def test_rotated_crop_stays_inside_and_keeps_image_and_mask_together() -> None:
    field = torch.arange(1.0, 65 * 64 + 1).view(65, 64)[:64]
    for angle in (0, 33, 90, -135):
        image, mask = rotated_crop(field.expand(3, -1, -1), field.long(), angle, 32)
        assert torch.equal(image[0].long(), mask)
        assert len(mask.unique()) > 0.75 * 32 * 32  # nearest neighbour repeats few pixels; padding would repeat one


def test_augmentation_of_the_study(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rotation by U(-180, 180) always, image bilinear and mask nearest; then a vertical flip of every second."""
    calls = []

    def rotate(x: torch.Tensor, angle: float, **how: Any) -> torch.Tensor:
        calls.append((angle, how))
        return x

    monkeypatch.setattr(v2.functional, "rotate", rotate)
    image, mask = torch.arange(16.0).view(1, 4, 4).expand(3, -1, -1), torch.arange(16).view(4, 4)
    torch.manual_seed(0)
    flips = 0
    for _ in range(1000):
        turned, turned_mask = augmented(image, mask, None, rotation=180, flip=True)
        assert torch.equal(turned[0].long(), turned_mask)
        flipped = torch.equal(turned_mask, mask.flip(0))
        assert flipped or torch.equal(turned_mask, mask)  # never left to right
        flips += flipped
    assert flips == pytest.approx(500, abs=60)
    assert [how.get("interpolation") for _, how in calls[:2]] == [v2.InterpolationMode.BILINEAR, None]
    angles = np.array([angle for angle, _ in calls[::2]])
    assert np.quantile(angles, [0, 0.25, 0.5, 0.75, 1]) == pytest.approx([-180, -90, 0, 90, 180], abs=20)


def test_windows_are_turned_by_whole_degrees_and_jittered(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, jitters = [], []

    def rotated_crop(
        x: torch.Tensor, m: torch.Tensor, angle: float, size: tuple[int, int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(angle)
        return x, m

    def jitter(**how: float) -> Callable[[torch.Tensor], torch.Tensor]:
        jitters.append(how)
        return lambda x: x

    monkeypatch.setattr(batches, "rotated_crop", rotated_crop)
    monkeypatch.setattr(v2, "ColorJitter", jitter)
    for _ in range(300):
        augmented(torch.rand(3, 4, 4), torch.zeros(4, 4), {"crop": 2}, rotation=180, flip=True)
    assert all(angle == int(angle) and -180 <= angle < 180 for angle in seen)
    assert jitters[0] == {"brightness": 0.1, "contrast": 0.05, "saturation": 0.1, "hue": 0.05}


def test_items_depend_on_seed_and_epoch_alone(job: dict[str, Any]) -> None:
    data = load_prepared(job["data_folder"])
    patches = training_patches(data)
    items, again = (TrainItems(data, patches, "standardised", 180, True, 1, 20) for _ in range(2))
    assert len(items) == 20
    assert any(not torch.equal(items[1, i][0], items[2, i][0]) for i in range(20))
    assert all(torch.equal(items[1, i][0], again[1, i][0]) for i in range(20)), "after another epoch"


def test_one_loader_serves_all_epochs_also_from_the_middle_of_one() -> None:
    loads = []

    def load(places: Iterable[list[tuple[int, int]]]) -> Iterator[list[tuple[int, int]]]:
        loads.append(1)
        yield from places

    parts = [range(0, 2), range(2, 4), range(4, 5)]
    for first, chosen in ((1, [0, 1, 2]), (2, [2])):
        loads.clear()
        wanted = [(first, chosen), *((epoch, [0, 1, 2]) for epoch in range(first + 1, 5))]
        batches = lasting(load, parts, 4)
        found = {epoch: list(batches(epoch, numbers)) for epoch, numbers in wanted}
        assert found == {epoch: [[(epoch, i) for i in parts[n]] for n in numbers] for epoch, numbers in wanted}
        assert len(loads) == 1
    assert list(batches(2, [0])) == [[(2, 0), (2, 1)]], "what was not expected gets a loader of its own"


def test_random_scores_are_averaged_and_given_for_every_scheme() -> None:
    def row(scheme: str, seed: int, epochs: int, value: float) -> dict[str, Any]:
        names = {"target": "T", "encoder": "unet", "scheme": scheme, "pretrain_seed": seed, "epochs": epochs}
        setting = {"score": "robustness_sound", "metric": "l2_loss", "margin": 0.0, "pooled": True, "level": 1}
        rest = {"value": value, "ci_low": value - 0.1, "ci_high": value + 0.1, "draws": 5, "warning": None}
        return names | setting | rest

    scores = pd.DataFrame([row("random", 1, 0, 0.2), row("random", 2, 0, 0.4), row("simple", 9, 1, 0.5)])
    published = scores.assign(score="robustness", value=9.0)
    table = robustness_table(
        pd.concat([scores, published]), {"unet": ["simple", "advanced"], "mine": ["pretrained"]}, "robustness_sound"
    )
    assert list(table.columns)[:9] == json.loads(
        '["dataset","metric","margin","encoder","pretraining_scheme","pooled","level","pretraining_length","robustness"]'
    )
    zero = table[table["pretraining_length"] == 0]
    assert list(zero["pretraining_scheme"]) == ["simple", "advanced"]
    assert zero["robustness"].tolist() == pytest.approx([0.3, 0.3])
    assert zero["ci_low"].isna().all()  # jitter alone would claim too much
    assert table[table["pretraining_length"] == 1][["robustness", "ci_low"]].to_numpy().tolist() == [[0.5, 0.4]]


def test_micro_batches_keep_the_steps_and_their_size(job: dict[str, Any], tmp_path: Path) -> None:
    """With half a batch per pass, there are as many optimiser steps, each over the whole batch."""
    plans = []
    for micro in (None, 2):
        recipe = RECIPE | {"micro_batch": micro, "optimizer": "sgd"}
        items = TrainItems(
            load_prepared(job["data_folder"]),
            training_patches(load_prepared(job["data_folder"])),
            "standardised",
            0,
            False,
            1,
            10,
        )
        plans.append(
            module.finetune_plan(torch.nn.Conv2d(3, 1, 1), recipe, items, None, None, 1, "float32", PROTOCOLS["sound"])
        )
    whole, halves = plans
    assert (whole.steps_per_epoch, whole.accumulate, whole.micro_batches) == (3, 1, 3)
    assert (halves.steps_per_epoch, halves.accumulate, halves.micro_batches) == (3, 2, 5)
    assert "micro_batch: 1" in halves.shrink and "2 images of 16 pixels" in halves.forward
    finetune_network(output_folder=tmp_path / "out", **(job | {"recipe": RECIPE | {"micro_batch": 2}}))
    assert read_json(tmp_path / "out" / "card.json")["runs"][0]["recipe"]["micro_batch"] == 2


def test_a_checkpoint_that_saw_test_images_is_refused(job: dict[str, Any], tmp_path: Path) -> None:
    [weights] = job["weights"]
    card = {"epoch": 3, "accuracy": None}
    for split, held_out in (
        ("same", hash_of_tested(load_prepared(job["data_folder"]))),
        ("other", "before the split changed"),
    ):
        write_checkpoint(
            build_classifier(ENCODER, 10, use="simple", seed=1), weights, card | {"held_out": {"squares": held_out}}
        )
        if split == "same":
            finetune_network(output_folder=tmp_path / split, **job)
            continue
        with pytest.raises(UserError, match="test split of target squares has changed since this checkpoint") as error:
            finetune_network(output_folder=tmp_path / split, **job)
        assert "leakage" in str(error.value) and f"rm -r {weights.parent}" in str(error.value)


def test_an_interrupted_training_does_not_go_on_with_another_split(
    job: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workflow.lib.finetune.finetune.SAVE_EVERY", 0.0)
        patch.setattr("workflow.lib.finetune.finetune.evaluate", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            finetune_network(output_folder=tmp_path / "out", **job)
    items = pd.read_csv(job["data_folder"] / "items.csv")
    items["part"] = items["part"].replace({"train": "test", "test": "train"})
    items.to_csv(job["data_folder"] / "items.csv", index=False)
    with caplog.at_level("INFO", "medseg"):
        finetune_network(output_folder=tmp_path / "out", **job)
    assert "belongs to other settings" in caplog.text
