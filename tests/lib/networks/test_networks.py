"""Networks: the study's sizes and shapes, and strict loading of checkpoints."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from workflow.lib.job.run import UserError, read_json, sha256_of, write_json
from workflow.lib.networks import weights
from workflow.lib.networks.build import build_classifier, build_encoder, build_segmenter, load_encoder
from workflow.lib.networks.checkpoint import write_checkpoint
from workflow.lib.networks.resnet50 import Bottleneck

FULL = {
    "unet": {"architecture": "unet", "width": 64},
    "resnet50": {"architecture": "resnet50", "width": 64},
    "swin": {"architecture": "swin", "width": 96, "window": 7},
}
SMALL = {
    "unet": {"architecture": "unet", "width": 4},
    "resnet50": {"architecture": "resnet50", "width": 8},
    "swin": {"architecture": "swin", "width": 24, "window": 4},
}


def parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("name", "encoder", "classifier", "segmenter"),
    [
        ("unet", 18_888_064, 19_913_064, 31_080_449),
        ("resnet50", 20_731_456, 22_780_456, 55_668_321),
        ("swin", 20_411_850, 21_180_850, 27_166_596),
    ],
)
def test_parameter_counts_of_the_study(name: str, encoder: int, classifier: int, segmenter: int) -> None:
    assert parameters(build_encoder(FULL[name], use="simple")) == encoder
    assert parameters(build_classifier(FULL[name], 1000, use="simple", seed=0)) == classifier
    assert parameters(build_segmenter(FULL[name], 1, seed=0)) == segmenter


@pytest.mark.parametrize("name", SMALL)
def test_feature_and_output_shapes(name: str) -> None:
    network = build_segmenter(SMALL[name], 4, seed=0).eval()
    images = torch.rand(2, 3, 64, 64)
    shapes = [tuple(features.shape[1:]) for features in network.encoder(images)]
    expected = {
        "unet": [(4, 64, 64), (8, 32, 32), (16, 16, 16), (32, 8, 8), (64, 4, 4)],
        "resnet50": [(8, 32, 32), (32, 16, 16), (64, 8, 8), (128, 4, 4), (256, 2, 2)],
        "swin": [(256, 24), (64, 48), (16, 96), (4, 192)],
    }
    assert shapes == expected[name]
    assert network(images).shape == (2, 4, 64, 64)


@pytest.mark.parametrize("name", SMALL)
def test_weights_depend_on_the_seed_alone(name: str) -> None:
    torch.manual_seed(5)
    first = build_segmenter(SMALL[name], 1, seed=1).state_dict()
    torch.manual_seed(6)
    same, other = (build_segmenter(SMALL[name], 1, seed=seed).state_dict() for seed in (1, 2))
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_stochastic_depth_of_resnet_scales_in_evaluation_and_not_in_training() -> None:
    block = Bottleneck(8, 8, 1, drop=0.25).eval()
    plain = Bottleneck(8, 8, 1, drop=0.0).eval()
    plain.load_state_dict(block.state_dict())
    x = torch.rand(1, 8, 4, 4)
    branch = plain.branch(x)
    assert torch.allclose(block(x), torch.relu(x + 0.75 * branch))
    block.train().branch.eval()
    torch.manual_seed(0)
    outputs = torch.stack([block(x) for _ in range(40)])
    kept = torch.isclose(outputs, torch.relu(x + branch)).flatten(1).all(dim=1)
    dropped = torch.isclose(outputs, torch.relu(x)).flatten(1).all(dim=1)
    assert kept.any() and dropped.any() and (kept | dropped).all()


@pytest.mark.parametrize("shape", [(100, 100), (224, 256)])
def test_swin_names_the_sizes_that_it_can_take(shape: tuple[int, int]) -> None:
    with pytest.raises(UserError, match="Swin encoder cannot take") as error:
        build_encoder(SMALL["swin"], use="simple")(torch.zeros(1, 3, *shape))
    for word in (f"{shape[0]} x {shape[1]} pixels", "multiple of 32", "224", "next:"):
        assert word in str(error.value)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "epoch1.safetensors"
    write_checkpoint(build_classifier(SMALL["unet"], 10, use="simple", seed=1), path, {})
    return path


def test_encoder_of_a_checkpoint_is_loaded_whole(checkpoint: Path) -> None:
    encoder = build_encoder(SMALL["unet"], use="downstream")
    load_encoder(encoder, checkpoint)
    tensors = load_file(checkpoint)
    assert all(torch.equal(value, tensors[f"encoder.{name}"]) for name, value in encoder.state_dict().items())


def test_checkpoint_of_another_network_is_refused_and_changes_nothing(checkpoint: Path) -> None:
    encoder = build_encoder({"architecture": "unet", "width": 8}, use="downstream")
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    with pytest.raises(UserError) as error:
        load_encoder(encoder, checkpoint)
    for word in (str(checkpoint), "levels.0.0.bias has shape (4,) instead of (8,)", "UNetEncoder", "next:"):
        assert word in str(error.value)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


@pytest.mark.parametrize("change", ["missing", "unexpected"])
def test_missing_and_left_over_tensors_are_refused(checkpoint: Path, change: str) -> None:
    tensors = load_file(checkpoint)
    if change == "missing":
        del tensors["encoder.stem.bias"]
    else:
        tensors["encoder.extra.bias"] = torch.zeros(1)
    save_file(tensors, checkpoint)
    write_json(checkpoint.with_suffix(".json"), {"sha256": sha256_of(checkpoint)})
    with pytest.raises(UserError, match=f"{change} (stem|extra).bias"):
        load_encoder(build_encoder(SMALL["unet"], use="downstream"), checkpoint)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1  # of a weight: the file can still be read, and no other check would notice
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [cut, flip_a_bit, Path.unlink], ids=["cut", "one bit", "no weights"])
def test_damaged_checkpoint_is_named_and_never_read(
    checkpoint: Path, damage: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "load_file", lambda path: pytest.fail("was read"))
    damage(checkpoint)
    with pytest.raises(UserError, match="damaged checkpoint") as error:
        load_encoder(build_encoder(SMALL["unet"], use="downstream"), checkpoint)
    for word in (str(checkpoint), read_json(checkpoint.with_suffix(".json"))["sha256"], "rm -f", "whole pretraining"):
        assert word in str(error.value)


@pytest.mark.parametrize("damage", [cut, Path.unlink], ids=["cut", "no card"])
def test_checkpoint_without_its_card_is_never_read(checkpoint: Path, damage: Callable[[Path], None]) -> None:
    card = checkpoint.with_suffix(".json")
    card.write_text(card.read_text()[:60])
    damage(card)
    with pytest.raises(UserError, match="unreadable JSON file") as error:
        load_encoder(build_encoder(SMALL["unet"], use="downstream"), checkpoint)
    assert str(card) in str(error.value) and "run the same command again" in str(error.value)
