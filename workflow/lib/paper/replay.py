"""Figure replay: epochs saved by stopping rules against Dice lost, beside the fixed lengths that they have to beat."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from workflow.lib.evidence.verdicts import MARGIN
from workflow.lib.paper import style
from workflow.lib.selection.names import ALL, FIXED, FRACTION, MINIMUM, NEVER, PATIENCE, PLATEAU, THRIFTY
from workflow.lib.tables.headed import read_table

LINE = style.BLUE
KINDS = {
    PATIENCE: style.VERMILLION,
    MINIMUM: style.PURPLE,
    PLATEAU: style.GREEN,
    FRACTION: style.SKY,
}  # first words of a rule
BUDGETS = {  # budget -> marker, words
    "whole": ("o", "parameters for most Dice"),
    "half": ("s", "… and half of the schedule at most"),
    THRIFTY: ("^", f"… for fewest epochs, {MARGIN} lost elsewhere"),
}
INTERVALS = ["diff_low", "diff_high", "epochs_saved_low", "epochs_saved_high"]
COLUMNS = ["rule", "budget", "dataset", "k", "epochs_saved", "diff_to_last", *INTERVALS, "to_fixed", "goal"]
OPTIONAL = [*INTERVALS, "to_fixed"]
MOST = 18  # points with bars; more can't be read
NAMED = 3  # rules of which the score is written where there are several: those furthest above the fixed lengths


def replay(replay_summary: str, *, pdf: str, png: str, csv: str) -> None:
    """Draw Dice against the last length over pretraining epochs saved, a point per stopping rule and the line of fixed
    lengths, from tables/replay_summary.csv: over all data sets, and small for each."""
    table = read_table(replay_summary, dtype={"goal": str})
    data = table.loc[table["diff_to_last"].notna(), COLUMNS].fillna({"goal": ""})
    data = data[data["epochs_saved"].notna()]
    if not data["rule"].isin([NEVER, f"{FIXED}1"]).any() or (data["epochs_saved"] == 0).all():
        return style.nothing_to_draw("stopping needs curves of two or more lengths", pdf=pdf, png=png, csv=csv)
    style.check_data(data, csv, OPTIONAL)
    targets = sorted(set(data["dataset"]) - {ALL})
    columns = min(max(len(targets), 2), 4)
    rows = -(-len(targets) // columns)
    figure, axes = style.grid(1 + rows, columns, gridspec_kw={"height_ratios": [2.2] + [1] * rows})
    figure.set_size_inches(style.WIDTH, 3.6 + 1.5 * rows)
    grid = axes[0, 0].get_gridspec()
    for axis in axes[0]:
        axis.remove()
    main = figure.add_subplot(grid[0, :])
    _panel(main, data[data["dataset"] == ALL], bars=True)
    main.set_title("all targets", fontweight="bold")
    small = axes[1:].ravel()
    for axis, target in zip(small, targets, strict=False):
        _panel(axis, data[data["dataset"] == target], bars=False)
        axis.set_title(target, fontweight="bold")
    for axis in small[len(targets) :]:
        axis.set_axis_off()
    for axis in (main, *axes[1:, 0]):
        axis.set_ylabel("Dice against the last")
    main.set_xlabel("Pretraining saved (epochs)")
    for axis in small[: len(targets)]:
        axis.set_xlabel("Epochs saved")
    style.legend_below(figure, _handles(data), _words(data))
    style.save_figure(figure, data, pdf=pdf, png=png, csv=csv, optional=OPTIONAL)


def _words(data: pd.DataFrame) -> str:
    shown = data["diff_low"].notna().any() and len(_rules(data[data["dataset"] == ALL])) <= MOST
    bars = f"Bars: 95 % t intervals over k = {data['k'].max():.0f} pretraining runs. " if shown else ""
    return f"{bars}Grey band: ±{MARGIN} Dice. Snapshots of one schedule, not completed short ones"


def _rules(data: pd.DataFrame) -> pd.DataFrame:
    return data[~data["rule"].str.startswith(FIXED) & (data["rule"] != NEVER)]


def _handles(data: pd.DataFrame) -> list[Any]:
    handles = [style.key("fixed length (to beat)", color=LINE, marker="o", markersize=3)]
    for kind, colour in KINDS.items():
        if data["rule"].str.startswith(kind).any():
            handles.append(style.key(kind, color=colour, marker="D", linestyle="", markersize=4.5))
    for marker, words in BUDGETS.values():
        handles.append(style.key(words, marker=marker, linestyle="", markersize=5))
    return handles


def _panel(axis: Axes, part: pd.DataFrame, bars: bool) -> None:
    axis.axhspan(-MARGIN, MARGIN, color=style.BAND, alpha=0.6, linewidth=0, zorder=0.5)
    axis.axhline(0, color=style.GREY, linewidth=0.7, zorder=1)
    fixed = part[part["rule"].str.startswith(FIXED)].sort_values("epochs_saved")
    axis.plot(fixed["epochs_saved"], fixed["diff_to_last"], color=LINE, marker="o", markersize=3 if bars else 2)
    points = _rules(part)
    for kind, colour in KINDS.items():
        for budget, (marker, _) in BUDGETS.items():
            rows = points[points["rule"].str.startswith(kind) & (points["budget"] == budget)]
            look: dict[str, Any] = {"color": colour, "linewidth": 0.9, "alpha": 0.55}
            if bars and len(points) <= MOST:
                axis.vlines(rows["epochs_saved"], rows["diff_low"], rows["diff_high"], **look)
                axis.hlines(rows["diff_to_last"], rows["epochs_saved_low"], rows["epochs_saved_high"], **look)
            axis.plot(rows["epochs_saved"], rows["diff_to_last"], marker, color=colour, markersize=5 if bars else 3.2)
    values = pd.concat([points["diff_to_last"], pd.Series([-1.5 * MARGIN, 1.2 * MARGIN])])
    least = max(values.min(), -1.0)
    axis.set_ylim(least - 0.35 * (values.max() - least), values.max() + 0.25 * (values.max() - least))
    span = max(fixed["epochs_saved"].max(), points["epochs_saved"].max() if len(points) else 0, 1)
    axis.set_xlim(-0.03 * span, 1.04 * span)
    if bars:
        _annotate(axis, fixed, points)


def _annotate(axis: Axes, fixed: pd.DataFrame, points: pd.DataFrame) -> None:
    where: dict[str, Any] = {"xytext": (4, 4), "textcoords": "offset points", "fontsize": 6.5, "annotation_clip": True}
    for row in fixed.itertuples():
        axis.annotate(row.rule.removeprefix(FIXED), (row.epochs_saved, row.diff_to_last), color=LINE, **where)
    better = points[points["rule"].str.contains(", ") & (points["to_fixed"] > 0)]
    if points["rule"].str.split(", ").str[1].nunique() > 1:
        for i, row in enumerate(better.nlargest(NAMED, "to_fixed").itertuples()):
            where |= {"xytext": (-6, 14 + 9 * i), "ha": "right", "arrowprops": {"arrowstyle": "-", "linewidth": 0.4}}
            axis.annotate(row.rule.split(", ", 1)[1], (row.epochs_saved, row.diff_to_last), color=style.INK, **where)
