"""Tensor names of the study's checkpoints (Hidy et al., arXiv 2410.18677) as names of this project's networks."""

import math
import re
from collections.abc import Mapping

import torch
from torch import Tensor

# Per architecture: pattern in the study's name -> ours. Applied in turn, so that a later one may see an earlier one's result.
_PREFIXES = [(r"^layers\.0\.", "encoder."), (r"^layers\.3\.", "head.")]  # classifier: encoder, linear layer
_CONVOLUTIONAL = [
    (r"up_layers\.(\d)\.upsampl\.convup\.1\.", r"ups.\1.2."),
    (r"up_layers\.(\d)\.conv0\.block\.", r"convs.\1."),
    (r"decoder\.final_block\.", "decoder.head."),
]
RENAMED = {
    "unet": [
        *_PREFIXES,
        (r"first_block\.", "stem."),
        (r"down_layers\.(\d)\.conv0\.block\.", r"levels.\1."),
        (r"bottom_block\.conv0\.block\.", "levels.4."),
        *_CONVOLUTIONAL,
    ],
    "resnet50": [
        *_PREFIXES,
        (r"levels\.(\d)\.(\d)\.", r"stages.\1.\2.branch."),
        *((rf"branch\.conv{i + 1}\.", f"branch.{3 * i}.") for i in range(3)),
        *((rf"branch\.bn{i + 1}\.", f"branch.{3 * i + 1}.") for i in range(3)),
        *_CONVOLUTIONAL,
        (r"up_layers\.(\d)\.mixing\.gs_block\.block\.", r"gates.\1.gate."),
        (r"up_layers\.(\d)\.mixing\.W_g\.", r"gates.\1.from_gate."),
        (r"up_layers\.(\d)\.mixing\.W_s\.", r"gates.\1.from_skip."),
        (r"up_layers\.(\d)\.mixing\.psi\.", r"gates.\1.weight."),
    ],
    "swin": [
        *_PREFIXES,
        (r"first_block\.proj\.", "patch."),
        (r"first_block\.norm_layer\.", "norm."),
        (r"down_layers\.(\d)\.downsampl\.", r"merges.\1."),
        (r"down_layers\.(\d)\.conv(\d)\.", r"levels.\1.\2."),
        (r"bottom_block\.conv(\d)\.", r"levels.3.\1."),
        (r"up_layers\.(\d)\.upsampl\.expand\.", r"ups.\1.linear."),
        (r"up_layers\.(\d)\.upsampl\.", r"ups.\1."),
        (r"up_layers\.(\d)\.mixing\.linear_layer\.", r"mixes.\1."),
        (r"up_layers\.(\d)\.conv(\d)\.", r"blocks.\1.\2."),
        (r"mlp\.fc1\.", "mlp.0."),
        (r"mlp\.fc2\.", "mlp.3."),
        (r"final_block\.init_norm\.", "norm."),
        (r"final_block\.output\.", "head."),
        (r"final_block\.norm\.", "expand.norm."),
        (r"final_block\.expand\.", "expand.linear."),
    ],
}


def renamed(tensors: Mapping[str, Tensor], architecture: str) -> dict[str, Tensor]:
    """Tensors of a study checkpoint (classifier, or segmentation network) under this project's names.

    architecture: unet | resnet50 | swin. Names that no pattern knows stay as they are, for the caller to refuse. Swin's
    attention masks, which this project's blocks compute themselves, are left out when they say the same.
    """
    result = {}
    for name, tensor in tensors.items():
        if name.endswith("attn_mask") and _is_shift_mask(tensor):
            continue
        for pattern, replacement in RENAMED[architecture]:
            name = re.sub(pattern, replacement, name)
        result[name] = tensor.flatten() if name.endswith("relative_position_index") else tensor
    return result


def _is_shift_mask(mask: Tensor) -> bool:
    """Whether `mask` (windows, tokens, tokens) is -100 between tokens of different regions of the shifted map, 0 elsewhere."""
    if mask.ndim != 3:
        return False
    window, across = math.isqrt(mask.shape[1]), math.isqrt(mask.shape[0])
    side, shift = window * across, window // 2
    band = (torch.arange(side) >= side - window).int() + (torch.arange(side) >= side - shift).int()
    regions = 3 * band[:, None] + band  # nine regions: three bands of rows by three of columns
    tokens = regions.view(across, window, across, window).transpose(1, 2).reshape(across**2, window**2)
    expected = -100.0 * (tokens[:, None] != tokens[:, :, None])
    return mask.shape == expected.shape and torch.equal(mask, expected.to(mask.dtype))
