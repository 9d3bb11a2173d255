"""The tables of a run in LaTeX (booktabs), each below the lines that say what it estimates and what it leaves out."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from workflow.lib.job.run import atomic_path
from workflow.lib.paper.names import name
from workflow.lib.selection.elsewhere import best_elsewhere, misfit
from workflow.lib.selection.names import ANALYST, OTHERS
from workflow.lib.tables.headed import head_of, read_table
from workflow.lib.tables.read import SETTING
from workflow.lib.tables.settings import ROBUSTNESS

Shown = dict[str, str]  # column -> heading

CELL: Shown = {"dataset": "Target", "model": "Network", "freeze": "Encoder", "scheme": "Scheme"}
SELECTED: Shown = {"diff_to_last": "Against last", "diff_low": "from", "diff_high": "to", "epochs_trained": "Trained"}
GOAL: Shown = {"to_fixed": "Against fixed", "to_fixed_low": "from ", "to_fixed_high": "to ", "goal": "Goal"}
# What of each table is set, and how its columns are called; all of them are in the CSV.
COLUMNS: dict[str, Shown] = {
    "data_quality": {"file": "File", "kind": "Finding", "count": "Count", "where": "Where", "treatment": "Treatment"},
    "downstream": CELL
    | {"epochs": "Length", "n_seeds": "Seeds", "dice_mean": "Dice", "dice_sd": "SD"}
    | {"dice_ci_low": "from", "dice_ci_high": "to"},
    "length_effect": CELL
    | {"best_epochs": "Best length", "best_dice": "Dice", "final_epochs": "Last length", "final_dice": "Dice at last"}
    | {"gain_over_final": "Gain", "p_dunnett": "p", "p_holm": "p Holm", "honest_gain": "Honest gain"}
    | {"honest_ci_low": "from", "honest_ci_high": "to"},
    "selection": {"selector": "Selector"}
    | CELL
    | {"chosen_epochs": "Length", "dice": "Dice", "diff_to_last": "Against last", "regret": "Regret"}
    | {"epochs_saved": "Epochs saved"},
    "selection_summary": {"selector": "Selector", "pool": "Chosen among", "k": "Runs", "diff_to_last": "Against last"}
    | {"diff_low": "from", "diff_high": "to", "seeds_low": "seeds only, from", "seeds_high": "to", "worst": "Worst"}
    | {"regret": "Regret", "epochs_saved": "Epochs saved"},
    "replay_summary": {"rule": "Rule", "budget": "Budget", "dataset": "Target", "k": "Runs"} | SELECTED | GOAL,
    "score_selection_summary": {"selector": "Selector", "pool": "Chosen among", "budget": "Budget", "dataset": "Target"}
    | SELECTED
    | {"regret": "Regret", "kendall": "Kendall", "top1": "Top 1", "top3": "Top 3"}
    | GOAL,
    "noise_ceiling": CELL
    | {"lengths": "Lengths", "f_statistic": "F", "p_holm": "p Holm", "reliability": "Reliability"}
    | {"distinguishable": "Distinguishable"},
    "variance": {"dataset": "Target", "freeze": "Encoder", "source": "Between", "df": "df", "share": "Share"},
    "transfer_effects": {
        "budget": "Budget",
        "dataset": "Target",
        "encoder": "Encoder",
        "patients": "Patients",
        "task": "Task",
    }
    | {
        "transfer": "Transfer",
        "against": "Against",
        "measure": "Measure",
        "estimate": "Difference",
        "low": "from",
        "high": "to",
    }
    | {"verdict": "Verdict"},
    "pool": {"dataset": "Target", "encoder": "Encoder", "features": "Features", "score": "Score", "level": "Level"}
    | {"n_models": "Networks", "n_sources": "Sources", "pearson": "Pearson", "kendall": "Kendall", "chance": "Chance"}
    | {"regret": "Regret", "low": "from", "high": "to"},
    "transfer_claims": {
        "claim_id": "Claim",
        "claim": "In words",
        "estimate": "Estimate",
        "ci_low": "from",
        "ci_high": "to",
    }
    | {"verdict": "Verdict", "verdict_0.0025": "D = 0.0025", "verdict_0.01": "D = 0.01"},
    "learning_curves": {"dataset": "Target", "encoder": "Encoder", "task": "Task", "transfer": "Transfer"}
    | {"patients": "Patients", "dice": "Dice", "low": "from", "high": "to", "gain": "Gain", "worth": "Worth patients"}
    | {"worth_low": "from ", "worth_high": "to "},
    "claims": {"claim_id": "Claim", "claim": "In words", "estimate": "Estimate", "ci_low": "from", "ci_high": "to"}
    | {"p_value": "p", "verdict": "Verdict", "verdict_0.0025": "D = 0.0025", "verdict_0.01": "D = 0.01"}
    | {"verdict_encoders": "Over encoders"},
    "reproduction": CELL
    | {"epochs": "Length", "our_dice": "Dice here", "their_dice": "Dice there", "difference": "Difference"}
    | {"ci_low": "from", "ci_high": "to", "within_margin": "Within 0.005"},
}
SIGNED = {"gain_over_final", "honest_gain", "honest_ci_low", "honest_ci_high", "diff_to_last", "diff_low", "diff_high"}
SIGNED |= {"seeds_low", "seeds_high", "worst", "difference", "to_fixed", "to_fixed_low", "to_fixed_high"}
TEXT = "6cm"  # width of columns that hold sentences
GROUP = ["dataset", "model", "encoder", "freeze"]
CORRELATIONS = """
Set here: Spearman correlations within runs, lengths > 0, averaged over the schemes (and pretraining seeds) of a row.
'chosen elsewhere': the setting with the highest mean correlation on the other targets with the same encoder (empty with
one target); 'best in hindsight': the highest of all settings on this very row, optimistic."""


def set_table(table: str, csv: str | Path, tex: str | Path) -> None:
    """Set the `digest` of a table in LaTeX."""
    _write(*digest(table, csv), tex)


def digest(table: str, csv: str | Path) -> tuple[pd.DataFrame, str]:
    """A table as text, by the titles of `COLUMNS`, and the lines above it; of long ones a part: correlations and selection
    without the single settings of the score."""
    head, frame = head_of(csv), read_table(csv)
    if table == "correlations":
        return correlations_digest(frame), head + CORRELATIONS
    if table.startswith("selection"):
        frame = frame[~frame["selector"].isin(["robustness", ANALYST]) & (frame["pool"] == "within_run")]
        head += "\nSet here: without the single settings of the score, and choices within runs only."
        frame = frame[frame["selector"] == OTHERS] if table == "selection" else frame
    columns = {column: title for column, title in COLUMNS[table].items() if column in frame}
    body = pd.DataFrame({column: frame[column].map(_format(column)) for column in columns})
    return body.set_axis(list(columns.values()), axis=1), head


def correlations_digest(table: pd.DataFrame) -> pd.DataFrame:
    """A row per target, network and fine-tuning mode: what ranks the lengths within runs."""
    table = table[(table["pool"] == "within_run") & (table["lengths"] == ">0") & (table["n"] > 1)]
    groups = table.groupby(GROUP).size().index
    accuracy, epochs, score = (table[table["predictor"] == one] for one in ("imagenet_accuracy", "epochs", ROBUSTNESS))
    elsewhere = score.loc[best_elsewhere(score, ["encoder"], misfit)]
    best = score.groupby([*GROUP, "setting"])["spearman"].mean().round(12).groupby(GROUP).idxmax()
    hindsight = score[pd.MultiIndex.from_frame(score[[*GROUP, "setting"]]).isin(best.tolist())]

    def mean(rows: pd.DataFrame) -> list[str]:
        return rows.groupby(GROUP)["spearman"].mean().reindex(groups).map(_signed2).tolist()

    def words(rows: pd.DataFrame) -> list[str]:
        settings = rows.drop_duplicates(GROUP).set_index(GROUP)[SETTING].reindex(groups)
        return [_words(*setting) for setting in settings.itertuples(index=False)]

    return pd.DataFrame(
        {
            "Target": groups.get_level_values("dataset"),
            "Network": groups.get_level_values("model"),
            "Encoder": groups.get_level_values("freeze").map(name),
            "Pretraining accuracy": mean(accuracy),
            "Epochs": mean(epochs),
            "Score, chosen elsewhere": mean(elsewhere),
            "Setting chosen elsewhere": words(elsewhere),
            "Score, best in hindsight": mean(hindsight),
            "Setting best in hindsight": words(hindsight),
        }
    )


def _write(body: pd.DataFrame, head: str, tex: str | Path) -> None:
    rows = [" & ".join(escape(cell) for cell in row) + r" \\" for row in body.to_numpy()]
    titles = " & ".join(escape(title) for title in body.columns) + r" \\"
    longest = [max(map(len, body.iloc[:, i]), default=0) for i in range(len(body.columns))]
    kinds = " ".join(rf"p{{{TEXT}}}" if length > 40 else "l" for length in longest)
    start = [rf"\begin{{longtable}}{{{kinds}}}", r"\toprule", titles, r"\midrule", r"\endhead"]
    comment = [f"% {line}" for line in head.splitlines()]
    with atomic_path(tex) as temporary:
        temporary.write_text("\n".join([*comment, *start, *rows, r"\bottomrule", r"\end{longtable}"]) + "\n")


def _format(column: str) -> Callable[[object], str]:
    def text(value: object) -> str:
        if value is None or pd.isna(value):
            return ""
        if column == "freeze" and not isinstance(value, str):
            return name(bool(value))
        if column == "patients" and value == 0:
            return "all"
        if column.startswith("p_") and isinstance(value, float):
            return "<0.0001" if value < 0.0001 else f"{value:.4f}"
        if isinstance(value, float):
            return f"{value:+.4f}" if column in SIGNED else f"{value:.0f}" if value.is_integer() else f"{value:.4f}"
        return str(value)

    return text


SPECIAL = {character: "\\" + character for character in "&%$#_{}"}
SPECIAL |= {"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}"}
SPECIAL |= {"<": "$<$", ">": "$>$", "−": "$-$", "ρ": r"$\rho$"}


def escape(value: object) -> str:
    """LaTeX text of a value: special characters escaped, a minus sign as such."""
    text = str(value)
    if text[:1] in ("+", "-") and text[1:2].isdigit():
        return f"${text}$"
    return "".join(SPECIAL.get(character, character) for character in text)


def _signed2(value: float) -> str:
    return "" if pd.isna(value) else f"{value:+.2f}"


def _words(metric: str, margin: float, pooled: bool, level: float) -> str:
    """A setting of the robustness score; empty where there is none."""
    if pd.isna(level):
        return ""
    return f"{name(metric)}, margin {margin:g}, {'pooled' if pooled else 'not pooled'}, level {level:.0f}"
