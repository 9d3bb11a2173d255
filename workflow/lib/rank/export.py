"""The chosen encoder for other software: weights under the names that they use, and a note on what goes in."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from workflow.lib.job.run import atomic_folder, read_json, write_json
from workflow.lib.networks.build import TIMM, build_encoder, load_encoder
from workflow.lib.networks.checkpoint import trained_as
from workflow.lib.networks.timm_models import call_of, config_of, create

RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")  # which MONAI builds with timm's names
OWN = "a network of the study, which no other software builds: load `encoder.safetensors` into the class named here"


ASPECTS = {"squeezed": "stretched to this size", "kept": "the longer side; the aspect is kept, the rest is black"}
VALUES = "8 bits divided by 255, NIfTI and deeper pictures as the protocol scales them (docs/protocol.md)"


def export_choice(
    *,
    facts: str | Path,
    weights: Sequence[str],
    folder: Path,
    encoders: Mapping[str, Mapping[str, Any]],
    inputs: Mapping[str, str],
    image_size: int,
    aspect: str,
) -> None:
    """Export the choice of a ranking (`facts`): one of the `weights`. encoders, inputs: for each encoder of the config."""
    choice = read_json(facts)["choice"]
    path = next(path for path in weights if path.endswith(f"/{choice['path']}.safetensors"))
    export_encoder(
        weights=Path(path),
        folder=folder,
        encoder=encoders[choice["encoder"]],
        inputs=inputs[choice["encoder"]],
        image_size=image_size,
        aspect=aspect,
        choice=choice,
    )


def export_encoder(
    *,
    weights: Path,
    folder: Path,
    encoder: Mapping[str, Any],
    image_size: int,
    aspect: str,
    inputs: str,
    choice: Mapping[str, Any],
) -> None:
    """Write `folder`: encoder.safetensors (as this pipeline names tensors), for timm's models timm.safetensors and
    segmentation_models_pytorch.safetensors too, and note.json: how to load each, and what the encoder sees.

    inputs: unchanged | standardised; aspect: squeezed | kept; choice: the candidate. Raises `UserError` for weights that are
    damaged or do not fit.
    """
    card = read_json(weights.with_suffix(".json"))
    network = build_encoder(encoder, image_size=image_size, use=trained_as(card))
    load_encoder(network, weights)
    note: dict[str, Any] = {"choice": dict(choice), "sha256_of_checkpoint": card["sha256"], "encoder": dict(encoder)}
    if "licence" in card:
        note["licence"] = card["licence"] or f"not known here; the weights come from {card['from']}"
    note |= {"images": f"3 channels, {image_size} pixels wide and high ({ASPECTS[aspect]}); {VALUES}" + _after(inputs)}
    with atomic_folder(folder) as place:
        _save(network.state_dict(), place / "encoder.safetensors")
        if encoder["architecture"].startswith(TIMM):
            note |= _export_timm(network, encoder["architecture"].removeprefix(TIMM), image_size, place)
        else:
            module = type(network).__module__
            note |= {"encoder.safetensors": OWN, "class": f"{module}.{type(network).__name__}"}
        write_json(place / "note.json", note)


def _after(inputs: str) -> str:
    return (
        "; then (x - mean) / (SD + 0.001), mean and SD over all channels and slices of the volume or picture, without padding"
        if inputs == "standardised"
        else ""
    )


def _export_timm(network: nn.Module, place_name: str, image_size: int, place: Path) -> dict[str, Any]:
    """Write the files for timm and segmentation_models_pytorch; the notes on them."""
    maps: dict[str, Tensor] = network.network.state_dict()  # type: ignore[union-attr]
    _save(model_names(place_name, maps), place / "timm.safetensors")
    mean, std = (getattr(network, key).flatten().tolist() for key in ("mean", "std"))
    name, own = call_of(place_name)
    sized = {"img_size": network.side} if config_of(place_name).fixed_input_size else {}
    size = "".join(f"{key}={value!r}, " for key, value in {**own, **sized}.items())
    loading = f"timm.create_model('{name}', {size}features_only=True, pretrained=True, pretrained_cfg_overlay="
    loading += "{'file': 'timm.safetensors'}); without features_only: num_classes=0"
    note = {
        "then": f"(image - mean) / std of these weights' inputs: mean {mean}, std {std}",
        "encoder.safetensors": "TimmEncoder of this pipeline",
        "timm.safetensors": loading,
    }
    smp = "segmentation_models_pytorch"
    if network.blocks:
        # Not through `pretrained`: of models without classifier timm then wants the last norm too, which no map depends on.
        loading = f"m = timm.create_model('{name}', {size}features_only=True, out_indices={network.blocks}); "
        note["timm.safetensors"] = loading + "m.model.load_state_dict(safetensors.torch.load_file('timm.safetensors'))"
        note["maps"] = "resampled to 1/4, 1/8, 1/16 and 1/32 of the image: means of smaller squares, or bilinear"
        if network.side != image_size:
            note["size"] = f"images of {image_size} pixels are resized to {network.side} (bilinear, antialiased)"
        note[smp] = "its Unet takes no plain transformers as encoders"
    else:
        _save({f"model.{key}": tensor for key, tensor in maps.items()}, place / f"{smp}.safetensors")
        note[f"{smp}.safetensors"] = (
            f"m = {smp}.Unet('tu-{name}', {size}encoder_weights=None); "
            f"m.encoder.load_state_dict(safetensors.torch.load_file('{smp}.safetensors'))"
        )
    monai = "MONAI builds no encoder of this name; its UNetDecoder takes the maps of timm's features_only model"
    if name.split(".")[0] in RESNETS:
        monai = f"timm.safetensors fits monai.networks.nets.{name.split('.')[0]}(spatial_dims=2, n_input_channels=3, "
        monai += "conv1_t_stride=2, shortcut_type='B', bias_downsample=False, feed_forward=False)"
    return note | {"MONAI": monai}


def model_names(name: str, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of timm's extractor of feature maps under the names of timm's whole model (the inverse of what
    `find_pretrained` does)."""
    with torch.device("meta"):
        known = create(name, num_classes=0).state_dict()
    names = {alias: key for key in known for alias in (f"model.{key}", key.replace(".", "_", 1), key)}
    return {names.get(key, key): tensor for key, tensor in maps.items()}


def _save(tensors: Mapping[str, Tensor], path: Path) -> None:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
