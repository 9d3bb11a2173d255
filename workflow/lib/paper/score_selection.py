"""Figure score_selection: what every score gains or loses as a selector of checkpoints, beside the baselines."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from workflow.lib.evidence.verdicts import MARGIN
from workflow.lib.paper import style
from workflow.lib.paper.names import SELECTORS
from workflow.lib.selection.names import (
    ACCURACY,
    ALL,
    COMBINED,
    ELSEWHERE,
    FIXED,
    LAST,
    NULLS,
    ORACLE,
    RANDOM,
    SHORTEST,
)
from workflow.lib.tables.headed import read_table

BASELINES = [ORACLE, LAST, ACCURACY, ELSEWHERE, SHORTEST, *NULLS, RANDOM]
PANELS = [  # pool, budget, column, title, label
    ("within_run", "whole", "diff_to_last", "a length of one run", "Dice against the last"),
    ("within_run", "half", "diff_to_last", "… at most half of it", "Dice against the last"),
    ("within_run", "half", "to_fixed", "… against a fixed length", "Dice at equal epochs"),
    ("within_run", "whole", "kendall", "ranking within a run", "Weighted Kendall"),
    ("all", "whole", "diff_to_last", "among all checkpoints", "Dice against mean last"),
]
ENDS = {"diff_to_last": ("diff_low", "diff_high"), "to_fixed": ("to_fixed_low", "to_fixed_high"), "kendall": None}
COLUMNS = 3  # of panels
COLOUR = {"score": style.VERMILLION, "combined": style.GREEN, "baseline": style.BLACK}
SYMBOLS = ["o", "s", "^", "D", "v", "P", "X", "<"]


def score_selection(score_selection_summary: str, *, pdf: str, png: str, csv: str) -> None:
    """Draw Dice of every selector's choice and how it ranks, from tables/score_selection_summary.csv: a row per selector, a
    panel per contest, the mean with its interval and each data set."""
    table = read_table(score_selection_summary, dtype={"goal": str, "goal_kept": str})
    table = table[~table["selector"].str.startswith(FIXED) & (table["selector"] != "scratch")]
    data = shown(table)
    if data.empty:
        reason = "choosing needs curves of two or more lengths"
        return style.nothing_to_draw(reason, pdf=pdf, png=png, csv=csv)
    style.check_data(data, csv, ["low", "high", "ceiling"])
    kind = data.drop_duplicates("selector").set_index("selector")["kind"]
    mean = data[(data["dataset"] == ALL) & (data["panel"] == PANELS[0][3])].set_index("selector")["value"]
    scores = sorted(kind.index[kind == "score"], key=lambda name: -mean.get(name, -np.inf))
    rows = [*scores, *(name for name in [*COMBINED, *BASELINES] if name in kind)]
    panels = [panel for panel in PANELS if panel[3] in set(data["panel"])]
    lines = -(-len(panels) // COLUMNS)
    figure, axes = style.grid(lines, min(COLUMNS, len(panels)), sharey=True)
    figure.set_size_inches(style.WIDTH, 0.8 + lines * (0.6 + 0.17 * len(rows)))
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    targets = sorted(set(data["dataset"]) - {ALL})
    for axis, panel in zip(axes.flat, panels, strict=False):
        _panel(axis, data[data["panel"] == panel[3]], rows, targets, panel)
    axes[0, 0].set_yticks(
        range(len(rows)), [SELECTORS.get(name, name) for name in rows]
    )  # of all, as they share the axis
    axes[0, 0].set_ylim(len(rows) - 0.4, -0.6)
    words = {"score": "score, setting chosen on other targets", "combined": "combined", "baseline": "baseline"}
    handles = [style.key(text, color=COLOUR[one], marker="o", markersize=5) for one, text in words.items()]
    marks = zip(targets, SYMBOLS * len(targets), strict=False)
    handles += [style.key(target, color=style.DIM, marker=mark, linestyle="") for target, mark in marks]
    k = table["k"].max()
    bars = f"Bars, within runs: 95 % t interval over k = {k:.0f} runs; " if k > 1 else "Bars, "
    note = f"{bars}among all: seeds only. Grey band: ±{MARGIN} Dice; grey line: perfect selector, same seed noise"
    style.legend_below(figure, handles, note)
    style.save_figure(figure, data, pdf=pdf, png=png, csv=csv, optional=["low", "high", "ceiling"])


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """The numbers of the panels: a row per panel, selector and data set with its value, interval, kind and ceiling."""
    parts = []
    for pool, budget, column, title, _ in PANELS:
        part = table[(table["pool"] == pool) & (table["budget"] == budget) & table[column].notna()]
        ends = ENDS[column]
        low, high = (part[ends[0]], part[ends[1]]) if ends else (np.nan, np.nan)
        ceiling = part["kendall_ceiling"] if column == "kendall" else np.nan
        part = part[["selector", "dataset"]].assign(
            panel=title, value=part[column], low=low, high=high, ceiling=ceiling
        )
        parts.append(part)
    data = pd.concat(parts, ignore_index=True)
    kinds = {name: "combined" for name in COMBINED} | {name: "baseline" for name in BASELINES}
    return data.assign(kind=[kinds.get(name, "score") for name in data["selector"]])


def _panel(axis: Axes, part: pd.DataFrame, rows: list[str], targets: list[str], panel: tuple[str, ...]) -> None:
    axis.set_title(panel[3], fontweight="bold")
    axis.set_xlabel(panel[4])
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="y", visible=False)
    axis.axvline(0, color=style.GREY, linewidth=0.7, zorder=1)
    if panel[2] != "kendall":
        axis.axvspan(-MARGIN, MARGIN, color=style.BAND, alpha=0.6, linewidth=0, zorder=0.5)
    means = part[part["dataset"] == ALL]
    if means["ceiling"].notna().any():
        axis.axvline(means["ceiling"].mean(), color=style.SILVER, linestyle=style.DASHES[1])
    for target, mark in zip(targets, SYMBOLS * len(targets), strict=False):
        points = part[part["dataset"] == target]
        at = [rows.index(name) for name in points["selector"]]
        look: dict[str, Any] = {"color": style.DIM, "alpha": 0.7, "markersize": 2.8, "linestyle": ""}
        axis.plot(points["value"], at, mark, **look)
    for row in means.itertuples():
        i, colour = rows.index(row.selector), COLOUR[row.kind]
        if np.isfinite(row.low):
            axis.hlines(i, row.low, row.high, color=colour, linewidth=1.2)
        axis.plot(row.value, i, "o", color=colour, markersize=4.5)
