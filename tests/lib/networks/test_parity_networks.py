"""Networks against the study's: the reference's tensors, under the study's names, give the reference's numbers (parity)."""

import json
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as TF

from tests.parity import parity_folder, score_of_views, uniform
from workflow.lib.networks.build import build_classifier, build_encoder, build_segmenter
from workflow.lib.networks.resnet50 import Bottleneck
from workflow.lib.networks.study_names import renamed
from workflow.lib.score.robustness import DISTANCES, MARGINS

SETTINGS = {
    "unet": {"architecture": "unet", "width": 64},
    "resnet50": {"architecture": "resnet50", "width": 64},
    "swin": {"architecture": "swin", "width": 96, "window": 7},
}
ENCODERS = {"unet_encoder": "unet", "resnet50": "resnet50", "swin_transformer": "swin"}
SEGMENTATION = {"unet": "unet", "resnet50_attention_unet": "resnet50", "swin_unet": "swin"}
UNFILLED = ("num_batches_tracked", "relative_position_index", "attn_mask")


@cache
def reference(name: str) -> dict[str, Any]:
    return json.loads((parity_folder() / name).read_text())


def fill(name: str, shape: list[int], seed: int, k: int) -> Tensor:
    """One tensor of the generated checkpoint."""
    v = uniform(seed, int(np.prod(shape)), k).reshape(shape)
    kind = name.split(".")[-1]
    if kind == "running_var":
        v = 1 + 0.3 * np.abs(v)
    elif kind == "weight":
        scale = {2: lambda: np.sqrt(3 / shape[1]), 4: lambda: np.sqrt(6 / np.prod(shape[1:]))}
        v = 1 + 0.2 * v if len(shape) == 1 else v * scale[len(shape)]()
    else:
        v = v * {"running_mean": 0.1, "bias": 0.1, "relative_position_bias_table": 0.5}[kind]
    return torch.from_numpy(v.astype(np.float32))


def filled(network: nn.Module, manifest: str, architecture: str, seed: int) -> nn.Module:
    """`network` with the generated tensors of `manifest`, through this project's key map; strict."""
    tensors = reference("manifests.json")[manifest]["tensors"]
    generated = {name: fill(name, shape, seed, k) for name, shape, _, k in tensors if not name.endswith(UNFILLED)}
    ours = renamed(generated, architecture)
    for name, value in network.state_dict().items():
        if name.endswith(UNFILLED):
            ours[name] = value
    network.load_state_dict(ours)
    return network.eval()


def image_batch(seed: int, count: int) -> Tensor:
    b, c, y, x = np.meshgrid(*(np.arange(n) for n in (count, 3, 224, 224)), indexing="ij")
    wave = np.sin(2 * np.pi * (y * (b + 1) / 37 + x * (c + 2) / 53) + 0.01 * (seed % 97))
    noise = uniform(seed, b.size, 999983).reshape(b.shape)
    return torch.from_numpy((0.5 + 0.3 * wave + 0.2 * noise).astype(np.float32))


def agree(found: Tensor, expected: dict[str, Any]) -> None:
    assert list(found.shape) == expected["shape"]
    flat = found.flatten().double()
    values, std = torch.tensor(expected["values"], dtype=torch.float64), expected["std"]
    tolerance = 1e-4 * values.abs().clamp(min=0.5 * std)
    assert ((flat[expected["indices"]] - values).abs() <= tolerance).all()
    assert abs(flat.mean().item() - expected["mean"]) <= 1e-4 * max(abs(expected["mean"]), std)


@pytest.mark.parametrize("manifest", [*ENCODERS, *SEGMENTATION])
def test_parity_of_names_and_shapes(manifest: str) -> None:
    entry = reference("manifests.json")[manifest]
    architecture = (ENCODERS | SEGMENTATION)[manifest]
    if manifest in ENCODERS:
        network: nn.Module = build_classifier(SETTINGS[architecture], 1000, use="simple", seed=0)
    else:
        network = build_segmenter(SETTINGS[architecture], 1, seed=0)
    assert sum(parameter.numel() for parameter in network.parameters()) == entry["params"]
    shapes = {name: torch.empty(shape) for name, shape, *_ in entry["tensors"] if not name.endswith("attn_mask")}
    ours = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    assert {name: tuple(tensor.shape) for name, tensor in renamed(shapes, architecture).items()} == ours


@pytest.mark.slow
@pytest.mark.parametrize("name", [*ENCODERS, "resnet50_no_stochastic_depth"])
def test_parity_of_encoders(name: str) -> None:
    expected = reference("study/networks.json")
    manifest = name.removesuffix("_no_stochastic_depth")
    architecture = ENCODERS[manifest]
    # Stochastic depth scales ResNet50's branches in evaluation: rate 0.1 but where the name says otherwise.
    use = "simple" if name != manifest else "downstream"
    classifier = build_classifier(SETTINGS[architecture], 1000, use=use, seed=0)
    filled(classifier, manifest, architecture, expected["seed"])
    images = image_batch(expected["seed"], 2)
    with torch.inference_mode():
        levels, logits = classifier.encoder(images), classifier(images)
    entry = expected["encoders"][name]
    assert len(levels) == len(entry["levels"])
    for level, wanted in zip(levels, entry["levels"], strict=True):
        agree(level, wanted)
    agree(logits, entry["logits"])


@pytest.mark.parametrize("name", SEGMENTATION)
def test_parity_of_segmentation_networks(name: str) -> None:
    expected = reference("study/networks.json")
    network = build_segmenter(SETTINGS[SEGMENTATION[name]], 1, seed=0)
    filled(network, name, SEGMENTATION[name], expected["seed"])
    with torch.inference_mode():
        images = image_batch(expected["seed"], 2)
        levels = network.encoder(images)
        logits = network.decoder(levels)
    entry = expected["segmentation"][name]
    for level, wanted in zip(levels, entry["encoder_levels"], strict=True):
        agree(level, wanted)
    agree(logits, entry["pre_activation"])
    agree(logits.sigmoid(), entry["output"])


def jittered(images: Tensor, jitter: dict[str, Any]) -> Tensor:
    for name in jitter["order"]:
        images = getattr(TF, f"adjust_{name}")(images, jitter[name])
    return images


@pytest.mark.slow
@pytest.mark.parametrize("name", ENCODERS)
def test_parity_of_robustness_end_to_end(name: str) -> None:
    expected = reference("study/robustness_end_to_end.json")
    images = image_batch(expected["image_seed"], expected["n"])
    views = [jittered(images, jitter) for jitter in expected["jitter"]]
    for view, check in zip(views, expected["views_check"], strict=True):
        assert view.flatten()[check["indices"]].tolist() == pytest.approx(check["values"], abs=1e-5)
    architecture = ENCODERS[name]
    encoder = build_encoder(SETTINGS[architecture], use="advanced")
    classifier = build_classifier(SETTINGS[architecture], 1000, use="advanced", seed=0)
    encoder.load_state_dict(
        filled(classifier, name, architecture, expected["seed"]).get_submodule("encoder").state_dict()
    )
    encoder.eval()
    assert any(module.drop for module in encoder.modules() if isinstance(module, Bottleneck)) == (name == "resnet50")
    with torch.inference_mode():
        found = score_of_views(encoder, *views, published=True)
    wanted = {tuple(row[:4]): row[4] for row in expected["encoders"][name]}
    assert {key[2] for key in wanted} == set(DISTANCES) and {key[3] for key in wanted} == set(MARGINS)
    assert found.keys() == wanted.keys()
    assert [found[key] for key in wanted] == pytest.approx(list(wanted.values()), abs=2e-5)
