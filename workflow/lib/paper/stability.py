"""Figure setting_stability: is a setting of the robustness score that is good on one data set good on another?"""

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from workflow.lib.paper import style
from workflow.lib.selection.elsewhere import shared_settings
from workflow.lib.selection.names import OTHERS, SCORE
from workflow.lib.tables.headed import read_table

ALL = "all encoders"
METRICS = {"cosine_distance": style.BLUE, "l2_loss": style.ORANGE, "inv_pearson_corr": style.PINK}
CHOSEN = {"chosen_x": ("s", "chosen for the target on the x axis"), "chosen_y": ("D", "… on the y axis")}


def setting_stability(selection: str, *, pdf: str, png: str, csv: str) -> None:
    """Draw the mean regret of every setting of the score on one target against another (pool within_run), from
    tables/selection.csv: a column per pair of targets, a row for all encoders together (settings they share, levels
    counted from the deepest, as in claim C13) and for each alone, Spearman's rho in each panel."""
    table = read_table(selection, dtype={"setting": str})
    table = table[(table["pool"] == "within_run") & table["regret"].notna()]
    data = pairs_of_regrets(table)
    if data.empty:
        reason = "settings on two targets need scores of the same encoders on both"
        return style.nothing_to_draw(reason, pdf=pdf, png=png, csv=csv)
    style.check_data(data, csv, ["spearman"])
    pairs = list(data[["target_x", "target_y"]].drop_duplicates().itertuples(index=False, name=None))
    rows = style.ordered(data["encoder"].tolist(), [ALL, *style.ENCODER_COLOURS])
    metrics = style.ordered(data["metric"].tolist(), list(METRICS))
    figure, axes = style.grid(len(rows), len(pairs), sharex="row", sharey="row")
    for row, column, axis in style.panels(axes):
        is_pair = (data["target_x"] == pairs[column][0]) & (data["target_y"] == pairs[column][1])
        here = data["encoder"] == rows[row]
        _panel(axis, data[here & is_pair], metrics)
        limit = data.loc[here, ["regret_x", "regret_y"]].to_numpy().max() or 1
        axis.set(xlim=(-0.05 * limit, 1.08 * limit), ylim=(-0.05 * limit, 1.08 * limit))
    style.title_panels(axes, rows, [f"x: {x}, y: {y}" for x, y in pairs], "Mean regret on y", "Mean regret on x (Dice)")
    colour = style.colours(metrics, METRICS)
    handles = [
        style.key(style.name(metric), color=colour[metric], marker=style.MARKERS[i % 6], linestyle="")
        for i, metric in enumerate(metrics)
    ]
    for chosen, (marker, words) in CHOSEN.items():
        if data[chosen].any():
            handles.append(style.key(words, **RING, marker=marker))
    style.legend_below(figure, handles)
    style.save_figure(figure, data, pdf=pdf, png=png, csv=csv, optional=["spearman"])


RING: dict[str, Any] = {
    "linestyle": "",
    "markerfacecolor": "none",
    "color": "black",
    "markersize": 7,
    "markeredgewidth": 0.9,
}


def pairs_of_regrets(table: pd.DataFrame) -> pd.DataFrame:
    """Mean regret of each setting on both targets of each pair: rows of selection.csv in, a row per encoder (and `ALL`),
    setting and pair out, with Spearman's rho of its panel (empty for fewer than three settings) and whether the setting
    was chosen for a target on the others."""
    scored = table[table["selector"] == SCORE]
    scored = scored.assign(metric=scored["setting"].str.split("|").str[0])
    chosen = table[table["selector"] == OTHERS].groupby(["encoder", "dataset"])["setting"].agg(set).to_dict()
    rows = []
    several = [(ALL, shared_settings(scored))] if scored["encoder"].nunique() > 1 else []
    for encoder, part in [*several, *scored.groupby("encoder")]:
        wide = part.pivot_table(index=["metric", "setting"], columns="dataset", values="regret")
        for x, y in combinations(wide.columns, 2):
            both = wide[[x, y]].dropna().set_axis(["regret_x", "regret_y"], axis=1).reset_index()
            both.insert(0, "encoder", encoder)
            both = both.assign(target_x=x, target_y=y, spearman=_spearman(both))
            for end, target in (("x", x), ("y", y)):
                both[f"chosen_{end}"] = both["setting"].isin(chosen.get((encoder, target), set()))
            rows.append(both)
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()


def _spearman(both: pd.DataFrame) -> float:
    regrets = both[["regret_x", "regret_y"]]
    varied = regrets.nunique().min() > 1 and len(both) > 2
    return float(np.corrcoef(regrets.rank(), rowvar=False)[1, 0]) if varied else float("nan")


def _panel(axis: Axes, part: pd.DataFrame, metrics: list[str]) -> None:
    if part.empty:
        return style.no_data(axis)
    colour = style.colours(metrics, METRICS)
    for metric, points in part.groupby("metric"):
        marker = style.MARKERS[metrics.index(metric) % 6]
        axis.scatter(
            points["regret_x"], points["regret_y"], s=9, color=colour[metric], marker=marker, alpha=0.55, linewidth=0
        )
    for column, (marker, _) in CHOSEN.items():
        points = part[part[column]]
        axis.plot(points["regret_x"], points["regret_y"], **RING, marker=marker)
    rho = part["spearman"].iloc[0]
    if pd.notna(rho):
        box = {"facecolor": "white", "linewidth": 0, "pad": 1, "alpha": 0.8}
        words = f"ρ = {rho:+.2f}".replace("-", "−")
        axis.text(0.97, 0.96, words, transform=axis.transAxes, ha="right", va="top", fontsize=7, bbox=box)
