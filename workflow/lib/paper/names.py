"""How values of the tables are written in figures and in LaTeX."""

from typing import Any

from workflow.lib.selection.names import ACCURACY, ELSEWHERE, LAST, ORACLE, RANDOM, SHORTEST

NAMES = {
    "unet": "U-Net encoder",
    "resnet50": "ResNet50",
    "swin": "Swin transformer",
    True: "frozen",
    False: "trainable",
}
NAMES |= {"cosine_distance": "cosine distance", "l2_loss": "squared distance", "inv_pearson_corr": "1 − Pearson r"}
# Selectors of checkpoints, where the tables have other names for them.
SELECTORS = {ORACLE: "best on other seeds (oracle)", LAST: "last length", ACCURACY: "highest ImageNet accuracy"}
SELECTORS |= {"parameters": "most parameters", "feature_dimension": "widest features"}
SELECTORS |= {RANDOM: "random", ELSEWHERE: "best on the other targets", SHORTEST: "shortest good enough on others"}


def name(value: Any) -> str:
    """How a value is written in a figure or in LaTeX."""
    return NAMES.get(value, str(value))
