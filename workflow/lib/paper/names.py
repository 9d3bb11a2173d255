"""How values of the tables are written in figures and in LaTeX."""

from typing import Any

NAMES = {
    "unet": "U-Net encoder",
    "resnet50": "ResNet50",
    "swin": "Swin transformer",
    True: "frozen",
    False: "trainable",
}
NAMES |= {"cosine_distance": "cosine distance", "l2_loss": "squared distance", "inv_pearson_corr": "1 − Pearson r"}


def name(value: Any) -> str:
    """How a value is written in a figure or in LaTeX."""
    return NAMES.get(value, str(value))
