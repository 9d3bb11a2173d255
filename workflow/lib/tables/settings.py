"""Settings of a score: its free choices, as columns of the run's tables and as one word in the tables of statistics."""

from typing import Any

import pandas as pd

ROBUSTNESS = "robustness"
CHOICES = ["metric", "margin", "pooled", "sample", "level"]  # empty where a score has no such choice
# The setting of the robustness score by which `rank` compares, and which figures of one setting show.
DECLARED: dict[str, Any] = {"metric": "cosine_distance", "margin": 0.5, "pooled": True}
WORD = r"^(?P<metric>[^|]+)\|(?P<way>.*)\|level=(?P<level>\d+)$"  # of the robustness score


def setting_name(metric: str, margin: float, pooled: bool, level: int, deepest: bool = False) -> str:
    """One setting of the robustness score in a word, e.g. `cosine_distance|m=0.5|pooled|level=5`; `from_deepest=0` in
    place of `level=5` where levels are counted from the `deepest`."""
    count = "from_deepest" if deepest else "level"
    return f"{metric}|m={margin:g}|{'pooled' if pooled else 'unpooled'}|{count}={level}"


def setting_names(choices: pd.DataFrame, deepest: bool = False) -> list[str]:
    """The setting of each row in a word, from the columns `CHOICES`: as `setting_name`, or as `balanced|level=2`."""
    count = "from_deepest" if deepest else "level"
    return [
        setting_name(metric, margin, pooled == True, int(level), deepest)  # noqa: E712  (read as text or bool)
        if isinstance(metric, str) and metric
        else "|".join([str(sample)] * isinstance(sample, str) + [f"{count}={level:.0f}"] * pd.notna(level))
        for metric, margin, pooled, sample, level in choices[CHOICES].itertuples(index=False, name=None)
    ]
