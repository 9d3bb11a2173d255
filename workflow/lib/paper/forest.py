"""Figure claims_forest: every claim that the run's data can test, with its interval, its margins and its verdict."""

import re

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from workflow.lib.evidence.verdicts import CONTRADICTED, INCONCLUSIVE, POOR, SUPPORTED, UNTESTED
from workflow.lib.paper import style
from workflow.lib.tables.headed import read_table

LOOKS = {SUPPORTED: ("o", style.BLUE), CONTRADICTED: ("X", style.VERMILLION), INCONCLUSIVE: ("D", style.GREY)}
VERDICTS = {0.0025: "verdict_0.0025", 0.005: "verdict", 0.01: "verdict_0.01"}
NUMBERS = ["estimate", "ci_low", "ci_high", "p_value"]
COLUMNS = ["claim_id", "claim", *NUMBERS, *VERDICTS.values(), "scope", "note"]
CORRELATIONS = ("C4", "C5", "C6", "C7", "C13")
TEXTS = ("C1", "C8")  # a count, and a p-value alone
INTERVALS = ("95 % interval over pretraining runs", "95 % interval, fine-tuning seeds only")
WIDTHS = (2.0, 0.8)
TITLES = {"dice": "Difference of Dice", "correlation": "Spearman correlation", "text": "No interval"}
LABELS = {
    "C1": "a shorter length beats the last",
    "C2": "best length − last",
    "C2f": "best length − last, frozen",
    "C2t": "best length − last, trainable",
    "C3": "best length's gain, frozen − trainable",
    "C4": "accuracy ranks lengths poorly",
    "C4R": "accuracy ranks poorly, ResNet50",
    "C4S": "accuracy ranks poorly, Swin",
    "C4b": "accuracy ranks poorly, basic U-Net",
    "C5": "accuracy ranks encoders poorly",
    "C6": "score ranks lengths",
    "C7": "score ranks better than epochs",
    "C8": "own score curve fits best",
    "C9": "primary: lowest score − last",
    "C10a": "lowest score − last: no loss?",
    "C10b": "lowest score − fixed, same epochs",
    "C13": "settings agree between targets",
}


def claims_forest(claims: str, *, pdf: str, png: str, csv: str) -> None:
    """Draw tables/claims.csv: a row per testable claim with its estimate and interval, Dice differences with the margins
    0.0025, 0.005 and 0.01, correlations with 0 and 0.5, verdict by symbol and colour; claims without an interval of
    either kind (`TEXTS`) as text."""
    table = read_table(claims, dtype={"note": str}).fillna({"note": ""})
    data = table.loc[table["verdict"] != UNTESTED, COLUMNS].copy()
    if data.empty:
        return style.nothing_to_draw("no claim can be tested with these data", pdf=pdf, png=png, csv=csv)
    data.insert(1, "unit", [_unit(row.claim_id, row.estimate) for row in data.itertuples()])
    style.check_data(data, csv, NUMBERS)
    parts = {unit: data[data["unit"] == unit] for unit in TITLES if (data["unit"] == unit).any()}
    heights = [len(part) + 0.2 for part in parts.values()]
    figure, axes = style.grid(len(parts), 2, height_ratios=heights, width_ratios=[1, 0.85], sharey="row")
    figure.set_size_inches(style.WIDTH, 0.7 + 0.18 * sum(heights) + 0.6 * len(parts))
    for (axis, beside), (unit, part) in zip(axes, parts.items(), strict=True):
        axis.set_title(TITLES[unit], fontweight="bold", loc="left")
        {"dice": _dice_axis, "correlation": _correlation_axis, "text": _text_axis}[unit](axis, part)
        _claims(axis, part)
        _text_axis(beside, part)
        _verdicts(beside, part)
    untested = len(table) - len(data)
    keys = [style.key(verdict, marker=m, color=c, linestyle="", markersize=5) for verdict, (m, c) in LOOKS.items()]
    keys += [style.key(words, linewidth=WIDTHS[i]) for i, words in enumerate(INTERVALS)]
    style.legend_below(figure, keys, f"{untested} more claims cannot be tested with these data" if untested else "")
    style.save_figure(figure, data, pdf=pdf, png=png, csv=csv, optional=NUMBERS)


def _unit(claim_id: str, estimate: float) -> str:
    """Where a claim is drawn: a key of `TITLES`."""
    family = re.split("[- ]", claim_id)[0]
    if family in TEXTS or not np.isfinite(estimate):
        return "text"
    return "correlation" if family.rstrip("RSb") in CORRELATIONS else "dice"


def label(claim_id: str, claim: str) -> str:
    """A claim's family and what it says, in a few words."""
    family, *rest = re.split("[- ]", claim_id, maxsplit=1)
    rest = rest or [""]
    words = {"C11": f"length {rest[0]} − last: no loss?", "C12": f"last − random, {rest[0]}"}.get(family)
    words = words or LABELS.get(claim_id) or (claim if len(claim) < 40 else claim[:38] + "…")
    return f"{words}  {family}"


def _dice_axis(axis: Axes, part: pd.DataFrame) -> None:
    """A symmetric logarithmic axis of Dice differences with the margins."""
    axis.axvline(0, color=style.GREY, linewidth=0.8, zorder=1)
    for margin, shade in ((0.01, 0.25), (0.005, 0.35), (0.0025, 0.45)):
        axis.axvspan(-margin, margin, color=style.MARGINS, alpha=shade, linewidth=0, zorder=0.5)
    axis.set_xscale("symlog", linthresh=0.01, linscale=1.6)
    ticks = [0.005, 0.01, 0.03, 0.1, 0.3, 1.0]
    limit = max(0.02, 1.2 * np.nanmax(np.abs(part[NUMBERS[:3]].to_numpy(float))))
    low = min(-0.012, 1.2 * np.nanmin(part[NUMBERS[:3]].to_numpy(float)))
    axis.set_xlim(low, limit)
    shown = [tick for tick in [*(-tick for tick in ticks[::-1]), 0, *ticks] if low <= tick <= limit]
    axis.set_xticks(shown, [f"{tick:g}".replace("-", "−") for tick in shown])
    axis.minorticks_off()
    axis.set_xlabel("Dice (logarithmic beyond ±0.01)")


def _correlation_axis(axis: Axes, part: pd.DataFrame) -> None:
    for value in (0, POOR):
        axis.axvline(value, color=style.GREY, linewidth=0.8, linestyle=style.DASHES[int(value > 0)], zorder=1)
    axis.set_xlim(-1.02, 1.02)
    axis.set_xticks([-1, -0.5, 0, 0.5, 1])
    axis.set_xlabel(f"Spearman's ρ, or a difference of two; dashed: {POOR}")


def _text_axis(axis: Axes, part: pd.DataFrame) -> None:
    axis.set_xticks([])
    axis.patch.set_visible(False)  # the panel at the left may write across it
    for side in ("bottom", "left"):
        axis.spines[side].set_visible(False)


def _claims(axis: Axes, part: pd.DataFrame) -> None:
    """A row per claim from the top: name, interval and estimate, or the claim's numbers in words."""
    for i, (_, row) in enumerate(part.iterrows()):
        marker, colour = LOOKS[row["verdict"]]
        if row["unit"] == "text":
            # May run into the next panel.
            axis.text(0.02, i, claim_text(row), va="center", fontsize=6.5).set_in_layout(False)
            continue
        width = WIDTHS["seeds only" in str(row["scope"])]
        axis.plot([row["ci_low"], row["ci_high"]], [i, i], color=colour, linewidth=width, solid_capstyle="butt")
        axis.plot(row["estimate"], i, marker=marker, color=colour, markersize=5.5, markeredgecolor="white", mew=0.4)
    labels = [label(row["claim_id"], row["claim"]) for _, row in part.iterrows()]
    axis.set_yticks(range(len(part)), labels)
    axis.set_ylim(len(part) - 0.4, -0.6)
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="y", visible=False)


def _verdicts(axis: Axes, part: pd.DataFrame) -> None:
    """Beside the rows of `part`: estimates and intervals, and the verdict at the margins it depends on."""
    where = dict(zip(VERDICTS, (0.66, 0.8, 0.94), strict=True))
    axis.set_xlim(0, 1)
    axis.tick_params(axis="y", labelleft=False, length=0)
    axis.grid(False)
    for i, (_, row) in enumerate(part.iterrows()):
        if row["unit"] != "text":
            axis.text(0, i, numbers(row), va="center", fontsize=6.5)
        depends = row["unit"] == "dice" or row[list(VERDICTS.values())].nunique() > 1
        for margin, column in VERDICTS.items():
            marker, colour = LOOKS[row[column]]
            if depends or column == "verdict":
                axis.plot(where[margin], i, marker=marker, color=colour, markersize=5.5, markeredgewidth=0)
    if "dice" in set(part["unit"]):
        axis.set_title("Verdict at margin", fontsize=6.5, x=where[0.005], ha="center", pad=11)
        for margin, x in where.items():
            axis.annotate(f"{margin:g}", (x, 1), (0, 3), "axes fraction", "offset points", ha="center", fontsize=6)


def numbers(row: pd.Series) -> str:
    digits = 4 if row["unit"] == "dice" else 2
    low, high = (f"{row[name]:.{digits}f}".replace("-", "−") for name in ("ci_low", "ci_high"))
    estimate = f"{row['estimate']:+.{digits}f}".replace("-", "−")
    return f"{estimate} [{low}, {high}]" if np.isfinite(row["ci_high"]) else estimate


def claim_text(row: pd.Series) -> str:
    """The count, or the p-value, with the beginning of its note."""
    note = "; ".join(row["note"].split("; ")[:2])
    if row["claim_id"] == "C1":
        return f"{row['estimate']:.0f} {note}"
    return "; ".join(filter(None, [note, f"p = {row['p_value']:.3f}" if np.isfinite(row["p_value"]) else ""]))
