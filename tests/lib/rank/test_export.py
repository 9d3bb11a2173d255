"""An exported encoder gives the same features in the program that it was exported for."""

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import segmentation_models_pytorch
import timm
import torch
from monai.networks.nets import resnet
from safetensors.torch import load_file
from torch import nn

from workflow.lib.networks.build import build_encoder
from workflow.lib.networks.checkpoint import write_checkpoint
from workflow.lib.rank.export import export_choice


class Holder(nn.Module):
    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder


def exported(tmp_path: Path, encoder: dict[str, object]) -> tuple[Any, Path]:
    """The encoder with weights of its own, and the folder of its export."""
    weights = tmp_path / "e/pretrained/seed0/epoch9.safetensors"
    torch.manual_seed(3)
    network = build_encoder(encoder, use="simple", image_size=64)
    write_checkpoint(Holder(network), weights, {"accuracy": None, "licence": None, "from": "/w.pth"})
    facts = tmp_path / "ranking.json"
    facts.write_text(json.dumps({"choice": {"encoder": "e", "path": "e/pretrained/seed0/epoch9"}}))
    export_choice(
        facts=facts,
        weights=[str(weights)],
        folder=tmp_path / "encoder",
        encoders={"e": encoder},
        inputs={"e": "unchanged"},
        image_size=64,
        aspect="kept",
    )
    return network.eval(), tmp_path / "encoder"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "convnext_atto", "swin_tiny_patch4_window7_224"])
@torch.inference_mode()
def test_timm_and_smp_files_give_the_same_maps(tmp_path: Path, name: str) -> None:
    network, folder = exported(tmp_path, {"architecture": f"timm/{name}"})
    images = torch.rand(2, 3, 64, 64)
    maps = network(images)
    images = (images - network.mean) / network.std
    note = json.loads((folder / "note.json").read_text())
    call = note["timm.safetensors"].partition(";")[0].replace("timm.safetensors", str(folder / "timm.safetensors"))
    loaded = [eval(call, {"timm": timm}).eval()(images)[level] for level in network.levels]
    key = "segmentation_models_pytorch.safetensors"
    names = {"segmentation_models_pytorch": segmentation_models_pytorch, "safetensors": safetensors}
    exec(note[key].replace(f"'{key}'", f"'{folder / key}'"), names)
    by_smp = names["m"].encoder.eval()(images)[-len(maps) :]
    if name.startswith("swin"):
        loaded = [x.permute(0, 3, 1, 2) for x in loaded]
    for levels in (loaded, by_smp):
        for found, expected in zip(levels, maps, strict=True):
            torch.testing.assert_close(found, expected)
    whole = timm.create_model(name, num_classes=0).state_dict()
    assert load_file(folder / "timm.safetensors").keys() <= whole.keys()


@pytest.mark.parametrize(("name", "side"), [("vit_tiny_patch16_224", 64), ("vit_small_patch14_dinov2", 56)])
@torch.inference_mode()
def test_plain_transformers_are_exported_for_timm_alone(tmp_path: Path, name: str, side: int) -> None:
    network, folder = exported(tmp_path, {"architecture": f"timm/{name}"})
    assert sorted(path.name for path in folder.iterdir()) == ["encoder.safetensors", "note.json", "timm.safetensors"]
    note = json.loads((folder / "note.json").read_text())
    names = {"timm": timm, "safetensors": safetensors}
    exec(note["timm.safetensors"].replace("timm.safetensors", str(folder / "timm.safetensors")), names)
    loaded, images = names["m"].eval(), torch.rand(2, 3, side, side)
    for found, expected in zip(loaded(images), network.network(images), strict=True):
        torch.testing.assert_close(found, expected)
    with pytest.raises(ValueError):
        segmentation_models_pytorch.Unet(f"tu-{name}", encoder_weights=None)
    assert ("resized to 56" in note.get("size", "")) == (side == 56) and "no plain transformers" in str(note)


@torch.inference_mode()
def test_monai_takes_timm_resnets(tmp_path: Path) -> None:
    network, folder = exported(tmp_path, {"architecture": "timm/resnet18"})
    note = json.loads((folder / "note.json").read_text())["MONAI"]
    model = eval(note.removeprefix("timm.safetensors fits monai.networks.nets."), {"resnet18": resnet.resnet18}).eval()
    model.load_state_dict(load_file(folder / "timm.safetensors"))
    images = torch.rand(2, 3, 64, 64)
    pooled = network.network(images)[-1].mean(dim=(2, 3))
    torch.testing.assert_close(model(images).flatten(1), pooled)


def test_own_network_is_said_to_be_the_studys(tmp_path: Path) -> None:
    network, folder = exported(tmp_path, {"architecture": "unet", "width": 4})
    assert sorted(path.name for path in folder.iterdir()) == ["encoder.safetensors", "note.json"]
    assert load_file(folder / "encoder.safetensors").keys() == network.state_dict().keys()
    assert "no other software" in json.loads((folder / "note.json").read_text())["encoder.safetensors"]


def test_licence_is_in_the_note(tmp_path: Path) -> None:
    _, folder = exported(tmp_path, {"architecture": "unet", "width": 4})
    assert json.loads((folder / "note.json").read_text())["licence"] == "not known here; the weights come from /w.pth"
