"""Files in the naming of the study's release, with random weights of any width."""

import math
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from workflow.lib.networks.build import build_classifier

NAMES = {"unet": "unet_encoder", "resnet50": "resnet50", "swin": "swin_transformer"}
# Our tensor names -> the study's, written down independently of the pipeline's own map.
_BACK = {
    "unet": [
        (r"^stem\.", "first_block."),
        (r"^levels\.4\.", "bottom_block.conv0.block."),
        (r"^levels\.(\d)\.", r"down_layers.\1.conv0.block."),
    ],
    "resnet50": [
        *((rf"^stages\.(\d)\.(\d)\.branch\.{3 * i}\.", rf"levels.\1.\2.conv{i + 1}.") for i in range(3)),
        *((rf"^stages\.(\d)\.(\d)\.branch\.{3 * i + 1}\.", rf"levels.\1.\2.bn{i + 1}.") for i in range(3)),
    ],
    "swin": [
        (r"^patch\.", "first_block.proj."),
        (r"^norm\.", "first_block.norm_layer."),
        (r"^levels\.3\.(\d)\.", r"bottom_block.conv\1."),
        (r"^levels\.(\d)\.(\d)\.", r"down_layers.\1.conv\2."),
        (r"^merges\.(\d)\.", r"down_layers.\1.downsampl."),
        (r"mlp\.0\.", "mlp.fc1."),
        (r"mlp\.3\.", "mlp.fc2."),
    ],
}


def study_classifier(settings: dict[str, Any], seed: int = 3) -> dict[str, Tensor]:
    """A pretraining checkpoint as the study saved it: `layers.0.` the encoder, `layers.3.` the classifier."""
    named = {}
    for ours, tensor in build_classifier(settings, 1000, use="simple", seed=seed).state_dict().items():
        if ours.startswith("head."):
            named[ours.replace("head.", "layers.3.")] = tensor
            continue
        name = ours.removeprefix("encoder.")
        for pattern, study in _BACK[settings["architecture"]]:
            name = re.sub(pattern, study, name)
        if name.endswith("relative_position_index"):
            tokens = math.isqrt(len(tensor))
            tensor = tensor.view(tokens, tokens)
        named[f"layers.0.{name}"] = tensor
    return named


def file_name(settings: dict[str, Any], scheme: str, epochs: int) -> str:
    """The study's name of a file."""
    return f"{NAMES[settings['architecture']]}_{scheme}_pretraining_checkpoint_epoch_{epochs}.pt"


def save_study_file(folder: Path, settings: dict[str, Any], scheme: str, epochs: int, seed: int = 3) -> Path:
    """Write one file of the release into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / file_name(settings, scheme, epochs)
    torch.save(study_classifier(settings, seed), path)
    return path
