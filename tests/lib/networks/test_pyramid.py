"""Encoders of timm as pyramids, the decoder that fits them all, and strict loading of pretrained weights."""

import argparse
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from workflow.lib.job.run import UserError
from workflow.lib.networks import pretrained
from workflow.lib.networks.pretrained import find_pretrained
from workflow.lib.networks.pyramid import PyramidDecoder, TimmEncoder
from workflow.lib.networks.weights import read_weights

SIZE = 64
LEVELS = {  # channels by reduction
    "resnet10t": {2: 64, 4: 64, 8: 128, 16: 256, 32: 512},
    "mobilenetv3_small_050": {2: 16, 4: 8, 8: 16, 16: 24, 32: 288},
    "convnext_atto": {4: 40, 8: 80, 16: 160, 32: 320},
    "swin_tiny_patch4_window7_224": {4: 96, 8: 192, 16: 384, 32: 768},
    "vit_tiny_patch16_224": {4: 192, 8: 192, 16: 192, 32: 192},
    "vgg11": {1: 64, 2: 128, 4: 256, 8: 512, 16: 512, 32: 512},
}
FIXED = ("swin_tiny_patch4_window7_224", "vit_tiny_patch16_224")


def whole(name: str, size: int = SIZE) -> Any:
    """timm's classifier, of 7 classes and not 1000, with random weights, none of them a constant."""
    torch.manual_seed(3)
    arguments: dict[str, Any] = {"img_size": size} if name in FIXED else {}
    model = timm.create_model(name, num_classes=7, **arguments).eval()
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.add_(0.1 * torch.rand_like(tensor))
    return model


@pytest.fixture(scope="module")
def resnet() -> dict[str, Tensor]:
    return whole("resnet10t").state_dict()


@pytest.mark.slow
@pytest.mark.parametrize("name", LEVELS)
def test_levels_and_full_size_logits_with_gradients_in_every_level(name: str) -> None:
    torch.manual_seed(0)
    encoder = TimmEncoder(name, SIZE)
    assert dict(zip(encoder.reductions, encoder.channels, strict=True)) == LEVELS[name]
    assert encoder.training
    features = encoder(torch.rand(2, 3, SIZE, SIZE))
    sizes = {SIZE // x.shape[-1]: x.shape for x in features}
    assert sizes == {r: (2, c, SIZE // r, SIZE // r) for r, c in LEVELS[name].items()}
    for level in features:
        level.retain_grad()
    logits = PyramidDecoder(encoder.channels, encoder.reductions, 3)(features)
    assert logits.shape == (2, 3, SIZE, SIZE)
    logits.square().mean().backward()
    # A map at full resolution is no skip connection.
    used = [level for level, reduction in zip(features, encoder.reductions, strict=True) if reduction > 1]
    assert all(level.grad is not None and level.grad.abs().sum() > 0 for level in used)
    first = next(encoder.parameters())
    assert first.grad is not None and first.grad.abs().sum() > 0


def test_widths_of_the_decoder_are_those_of_flexible_unet_and_capped() -> None:
    network: Any = PyramidDecoder([8, 8], [4, 64], 1)
    widths = [block.convs.conv_1.conv.out_channels for block in network.decoder.blocks]
    assert widths == [256, 256, 128, 64, 32, 16]


@pytest.mark.parametrize("name", ["resnet10t", "vit_tiny_patch16_224"])
def test_construction_depends_on_the_generator_alone(name: str) -> None:
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states.append(TimmEncoder(name, SIZE).state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert any(not torch.equal(states[0][key], states[2][key]) for key in states[0])


@pytest.mark.parametrize("name", ["resent18", "swin_tiny_patch4_window7"])
def test_unknown_name_suggests_close_ones(name: str) -> None:
    with pytest.raises(UserError, match="unknown timm encoder") as error:
        TimmEncoder(name, SIZE)
    assert {"resent18": "resnet18", "swin_tiny_patch4_window7": FIXED[0]}[name] in str(error.value)
    assert str(error.value).count(",") <= 5


@pytest.mark.parametrize(
    ("name", "size", "words"),
    [
        ("resnet10t", 100, ["a multiple of 32, such as 96 or 128"]),
        ("vit_tiny_patch16_224", 8, ["a multiple of 32, such as 32 or 64"]),
        ("efficientformer_l1", 64, ["or the size it was made for, 224 pixels"]),  # its attention has a fixed size
        ("legacy_xception", 64, ["(64, 29, 29)", "(64, 32, 32)", "use another encoder\n"]),  # no padding
    ],
)
def test_sizes_that_do_not_work_are_refused_with_those_that_do(name: str, size: int, words: list[str]) -> None:
    with pytest.raises(UserError) as error:
        TimmEncoder(name, size)
    for word in (*words, "found:", "expected:", "where:", "next:"):
        assert word in f"{error.value}\n"


def test_model_without_feature_maps_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def create_model(name: str, **arguments: Any) -> None:
        raise RuntimeError("features_only not implemented")

    monkeypatch.setattr(timm, "create_model", create_model)
    with pytest.raises(UserError, match="(?s)resnet10t gives no feature maps.*features_only not implemented"):
        TimmEncoder("resnet10t", SIZE)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*LEVELS][:4])
@pytest.mark.parametrize("save", [save_file, torch.save])
def test_features_with_weights_of_a_file_are_those_of_the_whole_model(
    name: str, save: Callable[..., None], tmp_path: Path
) -> None:
    model, path = whole(name), tmp_path / ("w.pth" if save is torch.save else "w.safetensors")
    save(model.state_dict(), path)
    encoder = TimmEncoder(name, SIZE).eval()
    encoder.load_state_dict(find_pretrained(name, str(path), SIZE)[0])
    images = torch.rand(2, 3, SIZE, SIZE)
    mean, std = (torch.tensor(x).view(-1, 1, 1) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    normal = (images - mean) / std
    with torch.no_grad():
        features, expected = encoder(images), model.forward_intermediates(normal, intermediates_only=True)
    close = [[x.shape == y.shape and torch.allclose(x, y, rtol=1e-3, atol=1e-4) for y in expected] for x in features]
    assert all(any(row) for row in close) and close[-1][-1]
    assert features[-1].std() > 0.01


@pytest.mark.parametrize(
    ("name", "side", "kept"),  # kept: the level whose map has its size already
    [("vit_tiny_patch16_224", 64, 2), ("vit_small_patch14_dinov2", 56, 2), ("vit_small_patch8_224", 64, 1)],
)
def test_plain_transformers_give_four_blocks_at_four_sizes(name: str, side: int, kept: int, tmp_path: Path) -> None:
    torch.manual_seed(3)
    model: Any = timm.create_model(name, img_size=side).eval()
    torch.save({"teacher": model.state_dict()}, tmp_path / "w.pth")
    encoder = TimmEncoder(name, SIZE).eval()
    encoder.load_state_dict(find_pretrained(name, str(tmp_path / "w.pth"), SIZE)[0])
    assert (encoder.side, encoder.reductions) == (side, [4, 8, 16, 32])
    images = torch.rand(2, 3, SIZE, SIZE)
    seen = functional.interpolate(images, size=(side, side), mode="bilinear", antialias=True)
    with torch.no_grad():
        features = encoder(images)
        normal = (seen - encoder.mean) / encoder.std
        maps = model.forward_intermediates(normal, indices=[2, 5, 8, 11], intermediates_only=True)
    assert [x.shape[-1] for x in features] == [16, 8, 4, 2]
    torch.testing.assert_close(features[kept], maps[kept], rtol=1e-3, atol=1e-4)
    for level in (level for level in range(4) if level != kept):
        torch.testing.assert_close(features[level].mean(dim=(2, 3)), maps[level].mean(dim=(2, 3)), rtol=1e-2, atol=0.1)
    deepest = functional.adaptive_avg_pool2d(maps[3], 2)
    torch.testing.assert_close(features[3], deepest, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", FIXED)
def test_weights_for_another_image_size_are_resampled(name: str, tmp_path: Path) -> None:
    state = whole(name, size=128).state_dict()
    save_file(state, tmp_path / "w.safetensors")
    encoder = TimmEncoder(name, SIZE)
    encoder.load_state_dict(find_pretrained(name, str(tmp_path / "w.safetensors"), SIZE)[0])
    kept = {"vit": "blocks.0.attn.qkv.weight", "swi": "layers.0.blocks.0.attn.qkv.weight"}[name[:3]]
    values = next(
        value for key, value in encoder.state_dict().items() if re.sub("layers_", "layers.", key).endswith(kept)
    )
    assert torch.equal(values, state[kept])


def test_original_convnext_names_are_converted(tmp_path: Path) -> None:
    state = whole("convnext_atto").state_dict()
    original = {}
    for key, value in state.items():
        key = key.replace("stem.", "downsample_layers.0.").replace(".blocks.", ".").replace("conv_dw", "dwconv")
        key = re.sub(r"stages\.(\d)\.downsample", r"downsample_layers.\1", key).replace("mlp.fc", "pwconv")
        original[key.replace("head.norm", "norm").replace("head.fc", "head")] = value
    torch.save({"model": original}, tmp_path / "w.pth")
    tensors = find_pretrained("convnext_atto", str(tmp_path / "w.pth"), SIZE)[0]
    key = "stages.1.downsample.1.weight"
    assert torch.equal(tensors[f"network.{key.replace('.', '_', 1)}"], state[key])


def test_wrappings_of_training_programs_are_removed(resnet: dict[str, Tensor], tmp_path: Path) -> None:
    averaged = {f"module.{key}": value for key, value in resnet.items()}
    content = {"epoch": 3, "state_dict_ema": averaged, "args": argparse.Namespace(lr=0.1)}
    torch.save(content, tmp_path / "w.pt")
    tensors = find_pretrained("resnet10t", str(tmp_path / "w.pt"), SIZE)[0]
    assert torch.equal(tensors["network.conv1.0.weight"], resnet["conv1.0.weight"])


def test_weights_without_classifier_do(resnet: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save({key: value for key, value in resnet.items() if not key.startswith("fc.")}, tmp_path / "w.pth")
    assert len(find_pretrained("resnet10t", str(tmp_path / "w.pth"), SIZE)[0]) == len(resnet) - 2


def test_classifier_in_a_file_for_a_model_without_one_does(tmp_path: Path) -> None:
    name = "convnextv2_atto.fcmae"  # pretrained without labels
    save_file(whole(name).state_dict(), tmp_path / "w.safetensors")
    assert (
        find_pretrained(name, str(tmp_path / "w.safetensors"), SIZE)[0].keys()
        == TimmEncoder(name, SIZE).state_dict().keys()
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"layer1.0.conv1.weight": None},
            ["1 tensors missing, 0 unknown, 0 of another", "missing layer1.0.conv1.weight"],
        ),
        ({"layer1.0.se.bias": torch.zeros(2)}, ["0 tensors missing, 1 unknown, 0 of another", "layer1.0.se.bias"]),
        ({"scale": torch.zeros(2)}, ["0 tensors missing, 1 unknown, 0 of another", "unknown scale"]),
        (
            {"layer1.0.conv1.weight": torch.zeros(64, 32, 3, 3)},
            ["1 of another", "layer1.0.conv1.weight has shape (64, 32, 3, 3) instead of (64, 64, 3, 3)"],
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    resnet: dict[str, Tensor], change: dict[str, Any], words: list[str], tmp_path: Path
) -> None:
    torch.save({key: value for key, value in (resnet | change).items() if value is not None}, tmp_path / "w.pth")
    with pytest.raises(UserError, match="do not fit") as error:
        find_pretrained("resnet10t", str(tmp_path / "w.pth"), SIZE)
    for word in (*words, str(tmp_path / "w.pth"), "timm's encoder resnet10t", "next:"):
        assert word in str(error.value)


@pytest.mark.parametrize("name", ["dla46x_c", "mobilenetv3_small_050", "swin_tiny_patch4_window7_224"])
def test_weights_of_another_model_are_refused_in_short(name: str, resnet: dict[str, Tensor], tmp_path: Path) -> None:
    save_file(resnet, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match="do not fit") as error:
        find_pretrained(name, str(tmp_path / "w.safetensors"), SIZE)
    assert len(str(error.value)) < 1000


def test_missing_tensor_of_a_model_that_timm_loads_non_strictly_is_refused(tmp_path: Path) -> None:
    state = whole("dla46x_c").state_dict()
    del state["base_layer.0.weight"]
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(UserError, match="missing base_layer.0.weight"):
        find_pretrained("dla46x_c", str(tmp_path / "w.pth"), SIZE)


class Code:
    """Unpickling it makes the folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return os.mkdir, (self.folder,)


def test_code_in_a_file_is_not_run(resnet: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save({"state_dict": resnet, "hook": Code(tmp_path / "made")}, tmp_path / "w.pth")
    with pytest.raises(UserError, match="unreadable weights") as error:
        find_pretrained("resnet10t", str(tmp_path / "w.pth"), SIZE)
    assert not (tmp_path / "made").exists()
    assert "mkdir" in str(error.value) and "weights_only" not in str(error.value)


@pytest.mark.parametrize(("suffix", "save"), [("safetensors", save_file), ("pth", torch.save), ("bin", None)])
def test_damaged_files_are_refused(
    resnet: dict[str, Tensor], suffix: str, save: Callable[..., None] | None, tmp_path: Path
) -> None:
    path = tmp_path / f"w.{suffix}"
    if save:
        save(resnet, path)
        os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(UserError, match="unreadable weights") as error:
        find_pretrained("resnet10t", str(path), SIZE)
    assert str(path) in str(error.value) and "next:" in str(error.value)


@pytest.mark.parametrize("content", [{"weights": {"a": 1.0}}, [torch.zeros(1)], {}])
def test_file_without_named_tensors_is_refused(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(UserError, match="no tensors but "):
        find_pretrained("resnet10t", str(tmp_path / "w.pth"), SIZE)


def test_weights_of_timms_hub(resnet: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    def load(hub: str, weights_only: bool) -> dict[str, Tensor]:
        assert hub == "timm/resnet10t.c3_in1k" and weights_only
        return resnet

    monkeypatch.setattr(pretrained, "load_state_dict_from_hf", load)
    tensors = find_pretrained("resnet10t", "timm", SIZE)[0]
    assert torch.equal(tensors["network.conv1.0.weight"], resnet["conv1.0.weight"])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "resnet10t",
            ["found:    no route", "https://huggingface.co/timm/resnet10t.c3_in1k", "give its path as `weights`"],
        ),
        ("resnet10t.untrained", ["unknown timm encoder"]),
        ("gcvit_xxtiny", ["no weights on its hub"]),
    ],
)
def test_without_the_hub_the_user_is_told_to_bring_a_file(
    name: str, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(hub: str, weights_only: bool) -> dict[str, Tensor]:
        raise OSError("no route")

    monkeypatch.setattr(pretrained, "load_state_dict_from_hf", load)
    with pytest.raises(UserError) as error:
        find_pretrained(name, "timm", SIZE)
    for word in words:
        assert word in str(error.value)


def test_files_without_tensors_say_what_is_in_them(tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("hello\n")
    with pytest.raises(UserError, match="no file that torch.save wrote"):
        read_weights(tmp_path / "text.pth")
    torch.save({"net": {"conv": 2}, "epoch": 3}, tmp_path / "wrapped.pth")
    with pytest.raises(UserError, match="no tensors but a dict of net, epoch"):
        read_weights(tmp_path / "wrapped.pth")
