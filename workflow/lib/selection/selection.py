"""What is lost, in Dice, by taking the checkpoint that a rule says instead of the best or the last one?"""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from workflow.lib.curves.correlation import POOLS
from workflow.lib.selection.choice import Choices, choose, join
from workflow.lib.selection.elsewhere import best_elsewhere, mean_regret
from workflow.lib.selection.names import OTHERS, SCORE

HEAD = """\
What each selector would choose, in every cell, and the mean Dice (0..1) of its choice over the fine-tuning seeds.
pool within_run: a length > 0 of one pretraining run; all: one of all checkpoints (network x scheme x length > 0) of a
data set and fine-tuning mode, named in column chosen. Ties are averaged: chosen_epochs and dice are then means (see note).
Selectors: last (longest); imagenet_accuracy (highest); random (expected value over all candidates); scratch (random
initialisation); fixed L; robustness (lowest score, in one setting; pool all: the level counted from the deepest, 0, as
only then scores of different encoders are alike, and deeper counts are known for fewer checkpoints); robustness with
the setting of lowest mean regret on the other data sets (pool within_run: with the same encoder); oracle (cross-fitted:
for each seed the best candidate of the other seeds, evaluated on the left-out one, against the last on that same seed).
In pool all, last, scratch and fixed L are expected values over the pretraining runs, as they don't say which run to take.
diff_to_last (primary): dice minus that of the longest length; in pool all minus the mean over the runs' longest lengths
(the step from there to the most accurate checkpoint is the row imagenet_accuracy). epochs_saved: likewise.
regret: highest mean Dice of the candidates minus dice. It is biased upward, as this best one is picked on the same seeds.
No intervals (see selection_summary.csv). Not covered: other pretraining runs, patients or test sets; lengths below the
last are un-annealed snapshots of one schedule, not completed shorter pretrainings."""

NUMBERS = ["regret", "diff_to_last", "epochs_trained"]  # that the cost of a setting may depend on


def selection(results: pd.DataFrame, scores: pd.DataFrame) -> Choices:
    """One row per selector, setting, pool and cell, see `HEAD`. scores: as of `read_scores`.

    A cell is a curve (pool within_run) or a data set and fine-tuning mode (pool all; model, scheme and encoder read `all`). The
    rows of `OTHERS` name the setting that was chosen; there are none with a single data set. Where a number can't be
    had it is empty, and note says why.
    """
    chosen = choose(results, scores)
    parts = [chosen]
    for pool, within in zip(POOLS, (["encoder"], []), strict=True):
        rows = chosen.take(np.flatnonzero(chosen.frame["pool"] == pool))
        parts.append(by_other_data_sets(rows, within))
    return join(parts)


def by_other_data_sets(
    chosen: Choices,
    within: Sequence[str],
    selector: str = SCORE,
    label: str = OTHERS,
    cost: Callable[[pd.DataFrame], pd.Series] = mean_regret,
) -> Choices:
    """The rows (of one pool) of a selector in the setting that is best on the other data sets (`best_elsewhere`, by `NUMBERS` of
    their rows), labelled `label`."""
    scored = chosen.frame[chosen.frame["selector"] == selector]
    scored = scored[scored.columns.intersection(["dataset", "encoder", "setting", *NUMBERS, *within])]
    return chosen.take(best_elsewhere(scored, within, cost), selector=label)


def neighbours(lengths: np.ndarray, mean: float) -> tuple[float, float, float] | None:
    """The two lengths around a mean number of epochs, and the weight of the lower one in the mixture that has this mean; None
    where no length lies on one side."""
    below, above = lengths[lengths <= mean], lengths[lengths >= mean]
    if not (len(below) and len(above)):
        return None
    low, high = float(below.max()), float(above.min())
    return low, high, 1.0 if high == low else (high - mean) / (high - low)
