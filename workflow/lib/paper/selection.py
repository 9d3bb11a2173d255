"""Figures of choosing a checkpoint: what stopping earlier costs, and what choosing among all checkpoints gives."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from workflow.lib.evidence.verdicts import MARGIN
from workflow.lib.paper import style
from workflow.lib.selection.names import ACCURACY, ANALYST, LAST, ORACLE, OTHERS, RANDOM, SCORE
from workflow.lib.tables.headed import read_table

SCRATCH = "scratch"
LOOKS = {  # selector -> name, marker, colour
    ORACLE: ("best length, chosen on other seeds", "^", style.GREEN),
    OTHERS: ("lowest score, setting chosen on other data sets", "o", style.VERMILLION),
    LAST: ("last length", "s", style.BLACK),
    ACCURACY: ("highest accuracy", "x", style.PURPLE),
    RANDOM: ("random length, expected", "P", style.DIM),
    SCRATCH: ("random initialisation", "v", style.DIM),
}
FIXED = style.BLUE
CLOUD: dict[str, Any] = {
    "color": style.ORANGE,
    "alpha": 0.45,
    "linewidth": 0,
    "zorder": 1.5,
}  # single settings of the score
HALO = [withStroke(linewidth=2, foreground="white")]
INTERVALS = ["diff_low", "diff_high", "seeds_low", "seeds_high"]


def selection_tradeoff(selection_summary: str, *, pdf: str, png: str, csv: str) -> None:
    """Draw Dice lost or gained against the last length over epochs saved, per selector (pool within_run), from
    tables/selection_summary.csv: at the left everything, at the right what lies near the margins."""
    table = read_table(selection_summary, dtype={"setting": str})
    table = table[(table["pool"] == "within_run") & table["diff_to_last"].notna()]
    known = table["selector"].isin([*LOOKS, SCORE, ANALYST]) | table["selector"].str.startswith("fixed ")
    columns = ["selector", "setting", "k", "epochs_saved", "diff_to_last", *INTERVALS]
    data = table.loc[known, columns].fillna({"setting": ""})
    style.check_data(data, csv, INTERVALS)
    figure, axes = style.grid(1, 2)
    figure.set_size_inches(style.WIDTH, 4.2)
    for column, axis in enumerate(axes[0]):
        _tradeoff_panel(axis, data, near=column == 1)
        axis.set_xlabel("Pretraining saved (epochs)")
    axes[0, 0].set_title("all selectors", fontweight="bold")
    axes[0, 0].set_ylabel("Dice against the last length")
    axes[0, 1].set_title("near the margins", fontweight="bold")
    axes[0, 1].set_ylim(-3.2 * MARGIN, 2.2 * MARGIN)
    handles = [style.key("fixed length", color=FIXED, marker="o", markersize=3)]
    for selector, (label, marker, colour) in LOOKS.items():
        if selector in set(data["selector"]):
            handles.append(style.key(label, color=colour, marker=marker, linestyle="", markersize=5))
    if (data["selector"] == ANALYST).any():
        handles.append(style.key("lowest score, other analyst choices", **_hollow()))
    if (data["selector"] == SCORE).any():
        handles.append(style.key("lowest score, each setting", marker=".", linestyle="", color=CLOUD["color"]))
    runs = data.loc[data["selector"] == OTHERS, "k"] if (data["selector"] == OTHERS).any() else data["k"]
    bars = (
        f"Bars: 95 % t interval over k = {runs.max():.0f} pretraining runs. " if data["diff_low"].notna().any() else ""
    )
    style.legend_below(figure, handles, f"{bars}Grey band: ±{MARGIN} Dice")
    style.save_figure(figure, data, pdf=pdf, png=png, csv=csv, optional=INTERVALS)


def _hollow() -> dict[str, Any]:
    return {"marker": "o", "linestyle": "", "color": LOOKS[OTHERS][2], "markerfacecolor": "none", "markersize": 3.5}


def _tradeoff_panel(axis: Axes, data: pd.DataFrame, near: bool) -> None:
    axis.axhspan(-MARGIN, MARGIN, color=style.BAND, alpha=0.6, linewidth=0, zorder=0.5)
    axis.axhline(0, color=style.GREY, linewidth=0.7, zorder=1)
    cloud = data[data["selector"] == SCORE]
    axis.scatter(cloud["epochs_saved"], cloud["diff_to_last"], s=9, **CLOUD)
    others = data[data["selector"] == ANALYST]
    axis.plot(others["epochs_saved"], others["diff_to_last"], markeredgewidth=0.8, **_hollow())
    fixed = data[data["selector"].str.startswith("fixed ")].sort_values("epochs_saved")
    axis.plot(fixed["epochs_saved"], fixed["diff_to_last"], color=FIXED, marker="o")
    _bars(axis, fixed, FIXED, 0.35)
    for row in fixed.itertuples():
        if near and abs(row.diff_to_last) < 3 * MARGIN or not near and abs(row.diff_to_last) > 3 * MARGIN:
            where: dict[str, Any] = {"xytext": (4, 4), "textcoords": "offset points", "fontsize": 6.5}
            where |= {"color": FIXED, "path_effects": HALO}
            axis.annotate(row.selector.removeprefix("fixed "), (row.epochs_saved, row.diff_to_last), **where)
    for selector, (_, marker, colour) in LOOKS.items():
        part = data[data["selector"] == selector]
        axis.plot(part["epochs_saved"], part["diff_to_last"], marker=marker, color=colour, linestyle="", markersize=5)
        _bars(axis, part, colour, 1)


def _bars(axis: Axes, part: pd.DataFrame, colour: str, alpha: float) -> None:
    axis.vlines(part["epochs_saved"], part["diff_low"], part["diff_high"], color=colour, alpha=alpha, linewidth=1)


ROWS = {  # rows of a panel, from the top
    ORACLE: "best on other seeds",
    ACCURACY: "highest accuracy",
    OTHERS: "lowest score",
    SCORE: "  … each setting",
    LAST: "last length, any run",
    "fixed": "fixed lengths, any run",
    RANDOM: "random checkpoint",
    SCRATCH: "random initialisation",
}
LINES: dict[str, tuple[str, dict[str, Any]]] = {
    ORACLE: (
        "best checkpoint, chosen on other seeds",
        {"color": style.GREEN, "linestyle": style.DASHES[1], "linewidth": 0.9, "zorder": 1},
    ),
    RANDOM: (
        "random checkpoint, expected",
        {"color": style.DIM, "linestyle": style.DASHES[2], "linewidth": 0.9, "zorder": 1},
    ),
}


def selection_all(selection: str, *, pdf: str, png: str, csv: str) -> None:
    """Draw the Dice of what each selector takes among all checkpoints of a target (pool all), from
    tables/selection.csv: a panel per target and fine-tuning mode, a row per selector, lines at the best and at random."""
    table = read_table(selection, dtype={"setting": str, "chosen": str})
    data = table[(table["pool"] == "all") & table["dice"].notna()]
    data = data.assign(row=data["selector"].where(~data["selector"].str.startswith("fixed "), "fixed"))
    columns = ["dataset", "freeze", "row", "selector", "setting", "chosen_epochs", "dice", "regret", "chosen"]
    data = data.loc[data["row"].isin(ROWS), columns].fillna({"setting": "", "chosen": ""})
    if data.empty:
        return style.nothing_to_draw("no choice among all checkpoints of a target", pdf=pdf, png=png, csv=csv)
    style.check_data(data, csv)
    targets, freezings = sorted(data["dataset"].unique()), sorted(data["freeze"].unique())
    rows = [row for row in ROWS if row in set(data["row"])]
    figure, axes = style.grid(len(targets), len(freezings), sharey=True)
    figure.set_size_inches(style.WIDTH, 0.8 + len(targets) * (0.45 + 0.155 * len(rows)))
    for row, column, axis in style.panels(axes):
        part = data[(data["dataset"] == targets[row]) & (data["freeze"] == freezings[column])]
        _choice_panel(axis, part, rows)
    style.title_panels(axes, targets, [f"{style.name(value)} encoder" for value in freezings], "", "Dice of the choice")
    handles = [style.key(words, **look) for selector, (words, look) in LINES.items() if selector in rows]
    style.legend_below(figure, handles)
    style.save_figure(figure, data, pdf=pdf, png=png, csv=csv)


def _choice_panel(axis: Axes, part: pd.DataFrame, rows: list[str]) -> None:
    """One panel: a dot and a text per selector, small dots for single settings and lengths."""
    if part.empty:
        return style.no_data(axis)
    axis.set_yticks(range(len(rows)), [ROWS[row] for row in rows])
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="y", visible=False)
    for selector, (_, look) in LINES.items():
        for dice in part.loc[part["selector"] == selector, "dice"]:
            axis.axvline(dice, **look)
    for i, row in enumerate(rows):
        points = part[part["row"] == row]
        if row == SCORE:
            axis.scatter(points["dice"], np.full(len(points), i), s=9, **CLOUD)
        elif row == "fixed":
            axis.plot(points["dice"], np.full(len(points), i), "o", color=FIXED, markersize=2.5, linestyle="")
        else:
            _, marker, colour = LOOKS[row]
            axis.plot(points["dice"], np.full(len(points), i), marker=marker, color=colour, markersize=5, linestyle="")
    middle = np.mean(axis.get_xlim())
    for point in part[part["row"].isin(LOOKS)].itertuples():
        left = point.dice > middle
        where: dict[str, Any] = {"xytext": (-6 if left else 6, 0), "ha": "right" if left else "left", "va": "center"}
        where |= {"textcoords": "offset points", "fontsize": 6}
        where |= {"bbox": {"facecolor": "white", "linewidth": 0, "pad": 0.6}}
        axis.annotate(f"{point.dice:.3f}{chosen_in_short(point.chosen)}", (point.dice, rows.index(point.row)), **where)


def chosen_in_short(words: str) -> str:
    """The chosen checkpoint in short; none where the choice is left to chance."""
    first, *more = words.split("; ")
    if "," not in first:
        return "" if first.startswith("expected") or not first else f", {first}"
    network, rest = first.split(", ", 1)
    return f", {style.short(network)}, {rest}" + (f" (+{len(more)})" if more else "")
