"""All figures of a run, by name."""

from collections.abc import Callable, Sequence

from workflow.lib.paper.curves import accuracy_vs_length, dice_vs_accuracy, dice_vs_length
from workflow.lib.paper.forest import claims_forest
from workflow.lib.paper.heatmap import correlation_heatmap
from workflow.lib.paper.pool import pool_matrix, pool_regret
from workflow.lib.paper.replay import replay
from workflow.lib.paper.robustness import robustness_vs_dice, robustness_vs_length
from workflow.lib.paper.score_selection import score_selection
from workflow.lib.paper.selection import selection_all, selection_tradeoff
from workflow.lib.paper.stability import setting_stability
from workflow.lib.paper.transfer import convergence, dice_vs_patients, transfer_gain

_FIGURES: list[Callable[..., None]] = [
    accuracy_vs_length,
    dice_vs_length,
    dice_vs_accuracy,
    robustness_vs_length,
    robustness_vs_dice,
    correlation_heatmap,
    selection_tradeoff,
    selection_all,
    setting_stability,
    claims_forest,
    replay,
    score_selection,
    transfer_gain,
    dice_vs_patients,
    convergence,
    pool_matrix,
    pool_regret,
]
FIGURES = {draw.__name__: draw for draw in _FIGURES}


def draw_figure(name: str, tables: Sequence[str], *, pdf: str, png: str, csv: str) -> None:
    """Draw one of `FIGURES` from the tables that it takes, in its order."""
    FIGURES[name](*tables, pdf=pdf, png=png, csv=csv)
