"""Whose names the tensors of a file have, for weights that fit no encoder, and what their owner can do about it."""

import re
from collections.abc import Mapping

from torch import Tensor

LIST = "python -c 'import timm; print(*timm.list_pretrained())' lists them"
OF_TIMM = f"timm has most such weights under its own names: architecture: timm/<name.tag>, weights: timm ({LIST})"
PATTERNS = {  # by whose names they are: what some names look like, and what to do
    "Hugging Face's transformers": (
        r"embeddings\.(patch_embeddings|position_embeddings?|cls_token)\b|\bembedder\.|\bvision_model\."
        r"|\bencoder\.(layers?\.\d+\.(attention|self_attn|layernorm)|stages\.\d+\.layers\.|block\.\d+\.\d+\.)",
        f"{OF_TIMM}; or take the file of the original authors",
    ),
    "torchvision, which differ from timm's here": (
        r"\bencoder_layer_\d+\.|\bfeatures\.\d+\.(\d+\.)*(weight|bias|block)",
        OF_TIMM,
    ),
    "OpenMMLab": (r"\.w_msa\.|\blayers\.\d+\.ln1\.", f"{OF_TIMM}; or the file of the original authors"),
    "nnU-Net": (
        r"\bencoder\.stages\.\d+\.\d+\.convs\.|\bconv_blocks_context\.",
        "fine-tune them in nnU-Net: it builds a network of its own for every data set, which timm does not have",
    ),
    "EfficientNet-PyTorch": (
        r"\b_conv_stem\.|\b_blocks\.\d+\._",
        "timm/tf_efficientnet_... has these weights: weights: timm",
    ),
}


def family(tensors: Mapping[str, Tensor]) -> tuple[str, str] | None:
    """What weights these are, by the dimensions and names of the tensors, and the next step; None where they do not tell."""
    dimensions = [tensor.ndim for tensor in tensors.values()]
    if dimensions.count(5) > dimensions.count(4):
        return (
            "weights of a 3-D network",
            "name weights of a 2-D network; 3-D ones can be fine-tuned where they come from",
        )
    for whose, (pattern, advice) in PATTERNS.items():
        if any(re.search(pattern, name) for name in tensors):
            return f"names of {whose}", advice
    return None
