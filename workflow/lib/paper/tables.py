"""The two tables of the paper, as CSV and LaTeX (booktabs), each headed by what it estimates and what it leaves out."""

from pathlib import Path

import pandas as pd

from workflow.lib.paper.style import name
from workflow.lib.run import atomic_path
from workflow.lib.stats.tidy import SETTING

GROUP = ["dataset", "model", "encoder", "freeze"]
LENGTH_EFFECT = """\
Mean Dice of the best pretraining length against the last one and against random initialisation, per target, network,
way of fine-tuning and scheme. p: one-sided Dunnett test over the fine-tuning seeds that any shorter length is better than
the last; p Holm: corrected over all rows with a test. The best length is chosen on the same seeds: its gain is
optimistic. Not covered: other pretraining runs, other patients or test sets; shorter lengths are snapshots of one
schedule, not completed shorter ones."""
CORRELATIONS = """\
Spearman correlation of what is known before fine-tuning with mean Dice over the lengths > 0 of one pretraining run,
averaged over the schemes (and pretraining seeds) of a row. Robustness score: sign turned, so positive = a lower score goes
with a higher Dice. 'chosen elsewhere': the setting with the highest mean correlation on the other targets with the same
encoder (empty with one target); 'best in hindsight': the highest of all settings on this very row, optimistic. No
intervals: few runs; other pretraining runs, patients and test sets are not covered."""


def length_effect_table(length_effect: str, *, csv: str, tex: str) -> None:
    """Write the best length against the last, from stats/length_effect.csv."""
    table = pd.read_csv(length_effect)
    several = table["pretrain_seed"].nunique() > 1
    shown = {
        "Target": table["dataset"],
        "Network": table["model"],
        "Encoder": table["freeze"].map(name),
        "Scheme": table["scheme"],
        **({"Pretraining seed": table["pretrain_seed"]} if several else {}),
        "Best length (epochs)": table["best_epochs"],
        "Dice": table["best_dice"].map("{:.4f}".format),
        "Last length (epochs)": table["final_epochs"],
        "Dice at last": table["final_dice"].map("{:.4f}".format),
        "Gain over last": table["gain_over_final"].map("{:+.4f}".format),
        "p": table["p_dunnett"].map(_p_value),
        "p Holm": table["p_holm"].map(_p_value),
        "Gain over random": table["gain_over_scratch"].map(_signed),
    }
    write_both(pd.DataFrame(shown), LENGTH_EFFECT, csv, tex)


def correlations_table(correlations: str, *, csv: str, tex: str) -> None:
    """Write a summary of the within-run correlations, from stats/correlations.csv: a row per target, network, freezing."""
    table = pd.read_csv(correlations, dtype={"setting": str}).fillna({"setting": ""})
    table = table[table["pool"] == "within_run"]
    means = table.groupby([*GROUP, "predictor", "setting"])["spearman"].mean().unstack(["predictor", "setting"])
    robust = means["robustness"] if "robustness" in means else pd.DataFrame(index=means.index)
    words = table.dropna(subset=SETTING).drop_duplicates("setting").set_index("setting")[SETTING]
    rows = []
    for group, row in means.iterrows():
        dataset, model, encoder, freeze = group  # type: ignore[misc]
        others = robust[(robust.index.get_level_values(0) != dataset) & (robust.index.get_level_values(2) == encoder)]
        elsewhere, here = others.mean().dropna(), robust.loc[group].dropna()  # type: ignore[index]
        elsewhere = elsewhere[elsewhere.index.isin(here.index)].round(12)
        pick, best = (values.idxmax() if len(values) else None for values in (elsewhere, here.round(12)))
        rows.append(
            {
                "Target": dataset,
                "Network": model,
                "Encoder": name(freeze),
                "Pretraining accuracy": _signed2(row.get(("imagenet_accuracy", ""))),
                "Epochs": _signed2(row.get(("epochs", ""))),
                "Score, chosen elsewhere": _signed2(here.get(pick)),
                "Setting chosen elsewhere": _words(words, pick),
                "Score, best in hindsight": _signed2(here.get(best)),
                "Setting best in hindsight": _words(words, best),
            }
        )
    write_both(pd.DataFrame(rows), CORRELATIONS, csv, tex)


def write_both(table: pd.DataFrame, comment: str, csv: str | Path, tex: str | Path) -> None:
    """Write a table of text as CSV (comment lines start with `#`) and as a LaTeX tabular (with `%`), both or none."""
    body = table.map(_escape).rename(columns=_escape)
    latex = body.style.hide(axis="index").to_latex(hrules=True, column_format="l" * len(body.columns))
    with atomic_path(csv) as csv_file, atomic_path(tex) as tex_file:
        csv_file.write_text(_commented(comment, "# ") + table.to_csv(index=False))
        tex_file.write_text(_commented(comment, "% ") + latex)


def _commented(text: str, mark: str) -> str:
    return "".join(mark + line + "\n" for line in text.splitlines())


def _escape(value: object) -> str:
    """LaTeX text of a value: special characters escaped, a minus sign as such."""
    text = str(value)
    for character in "&%$#_":
        text = text.replace(character, "\\" + character)
    return f"${text}$" if text[:1] in ("+", "-") else text.replace("<", "$<$").replace("−", "$-$")


def _p_value(p: float) -> str:
    return "" if pd.isna(p) else "<0.0001" if p < 0.0001 else f"{p:.4f}"


def _signed(value: float) -> str:
    return "" if pd.isna(value) else f"{value:+.4f}"


def _signed2(value: float | None) -> str:
    return "" if value is None or pd.isna(value) else f"{value:+.2f}"


def _words(words: pd.DataFrame, setting: str | None) -> str:
    if setting is None:
        return ""
    metric, margin, pooled, level = words.loc[setting]
    return f"{name(metric)}, margin {margin:g}, {'pooled' if pooled else 'not pooled'}, level {level:.0f}"
