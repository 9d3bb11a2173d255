"""Figures of the robustness score: against length, and against the Dice reached."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import FuncNorm, ListedColormap

from workflow.lib.paper import noise, style
from workflow.lib.paper.curves import LENGTH
from workflow.lib.tables.headed import read_table
from workflow.lib.tables.read import ROBUSTNESS, ROBUSTNESS_KEY, RUN, name_robustness, read_raw, read_robustness, settle
from workflow.lib.tables.settings import DECLARED

LIMITS = ["ci_low", "ci_high"]
INTERVAL = ["shown_low", "shown_high"]


def read_with_intervals(path: str) -> pd.DataFrame:
    """`read_robustness` with the columns `LIMITS`: the 95 % t interval over draws of jitter, empty where the run has none."""
    scores, raw = read_robustness(path), read_raw(path, list(ROBUSTNESS))
    raw = raw[raw["robustness"].notna()]
    limits = settle(name_robustness(raw)).assign(**{column: raw.get(column, np.nan) for column in LIMITS})
    return scores.merge(limits.drop_duplicates(ROBUSTNESS_KEY)[[*ROBUSTNESS_KEY, *LIMITS]], on=ROBUSTNESS_KEY)


def one_setting(scores: pd.DataFrame, metric: str, margin: float, pooled: bool) -> tuple[pd.DataFrame, str]:
    """The scores of one metric, margin and pooling, and these in words.

    What the run does not have is replaced by what is nearest: the first metric, the closest margin, the other pooling.
    Column `shown` is score / margin, 1 where a changed image is no nearer to itself than another image is; for margin 0
    the score itself; `INTERVAL` is its interval.
    """
    metrics = scores["metric"].unique()
    part = scores[scores["metric"] == (metric if metric in metrics else sorted(metrics)[0])]
    margins = part["margin"].unique()
    part = part[part["margin"] == margins[np.abs(margins - margin).argmin()]]
    part = part[part["pooled"] == (pooled if (part["pooled"] == pooled).any() else not pooled)]
    metric, margin, pooled = part[["metric", "margin", "pooled"]].iloc[0]
    words = f"{style.name(metric)}, margin {margin:g}, {'pooled' if pooled else 'not pooled'}"
    scale = margin or 1
    shown = {name: part[column] / scale for name, column in zip(INTERVAL, LIMITS, strict=True)}
    return part.assign(shown=part["score"] / scale, **shown), words


def robustness_vs_length(robustness: str, *, pdf: str, png: str, csv: str) -> None:
    """Draw score / margin against length from robustness_scores.csv: a panel per target and encoder, a line per level
    and scheme (length 0: mean over random networks, where there is one), a band for the interval of the score, if any."""
    part, words = one_setting(read_with_intervals(robustness), **DECLARED)
    part.loc[part["epochs"] == 0, "pretrain_seed"] = 0
    by = ["dataset", *RUN, "metric", "margin", "pooled", "level", "epochs"]
    data = part.groupby(by, as_index=False)[["score", "shown", *INTERVAL]].mean()
    style.check_data(data, csv, INTERVAL)
    targets, encoders = sorted(data["dataset"].unique()), style.encoders_of(data)
    levels, schemes = sorted(data["level"].unique()), style.schemes_of(data[data["epochs"] > 0])
    shade = dict(zip(levels, _shades(len(levels)), strict=True))
    figure, axes = style.grid(len(targets), len(encoders), sharex=True, sharey="row")
    for row, column, axis in style.panels(axes):
        panel = data[(data["dataset"] == targets[row]) & (data["encoder"] == encoders[column])]
        if panel.empty:
            style.no_data(axis)
        for (level, scheme, _), line in _with_random(panel).groupby(["level", "scheme", "pretrain_seed"]):
            look = {"color": shade[level], "linestyle": style.DASHES[schemes.index(scheme) % 4], "marker": "o"}
            axis.plot(line["epochs"], line["shown"], **look, markersize=2.4, linewidth=1.1)
            axis.fill_between(line["epochs"], *line[INTERVAL].to_numpy().T, color=shade[level], alpha=0.2, linewidth=0)
        style.length_axis(axis, data["epochs"].tolist())
    style.title_panels(axes, targets, encoders, "Score / margin", LENGTH)
    figure.suptitle(f"Robustness score, lower = more robust\n({words})", fontsize=8)
    handles = [style.key(f"level {level}", color=shade[level]) for level in levels]
    handles += [style.key(scheme, linestyle=style.DASHES[i % 4]) for i, scheme in enumerate(schemes)]
    style.legend_below(figure, handles)
    style.save_figure(figure, data, pdf=pdf, png=png, csv=csv, optional=INTERVAL)


def _shades(count: int) -> np.ndarray:
    """RGBA colours (count, 4) from light to dark, without the palest, which white paper hides."""
    return colormaps["viridis_r"](np.linspace(0.12, 0.95, count))


def _with_random(panel: pd.DataFrame) -> pd.DataFrame:
    """Every pretraining run starts at the length-0 score of its scheme, if there is one."""
    trained, random = panel[panel["epochs"] > 0], panel[panel["epochs"] == 0]
    runs = trained[[*RUN, "level"]].drop_duplicates()
    own = runs.merge(random.drop(columns="pretrain_seed"), on=["encoder", "scheme", "level"])
    return pd.concat([own, trained]).sort_values("epochs")


def robustness_vs_dice(robustness: str, downstream: str, noise_ceiling: str, *, pdf: str, png: str, csv: str) -> None:
    """Draw Dice (tables/downstream.csv) against score / margin at the encoder's deepest level: a panel per target and
    network, a point per checkpoint of length > 0 and fine-tuning mode, coloured by length; small and pale where the ranking of
    the lengths is noise (`mark_muted`)."""
    part, words = one_setting(read_with_intervals(robustness), **DECLARED)
    deepest = part[part["level"] == part.groupby("encoder")["level"].transform("max")]
    dice = read_table(downstream)
    dice = dice[dice["epochs"] > 0][["dataset", "model", "freeze", *RUN, "epochs", "dice_mean"]]
    data = dice.merge(deepest.drop(columns=[*LIMITS, *INTERVAL]), on=["dataset", *RUN, "epochs"])
    style.check_data(data, csv)
    data = noise.mark_muted(data, noise_ceiling)
    targets, networks, schemes = sorted(data["dataset"].unique()), style.networks_of(data), style.schemes_of(data)
    shades = ListedColormap(list(map(tuple, _shades(256))))
    norm = FuncNorm((np.sqrt, np.square), 0, data["epochs"].max())
    figure, axes = style.grid(len(targets), len(networks))
    for row, column, axis in style.panels(axes):
        panel = data[(data["dataset"] == targets[row]) & (data["model"] == networks[column])]
        if panel.empty:
            style.no_data(axis)
        for (scheme, freeze, muted), points in panel.groupby(["scheme", "freeze", "muted"]):
            colour = list(ScalarMappable(norm, shades).to_rgba(points["epochs"].to_numpy()))
            colour = [style.pale(shade) for shade in colour] if muted else colour
            look: dict[str, Any] = {"marker": style.MARKERS[schemes.index(scheme) % 6], "s": 5 if muted else 16}
            look |= {"linewidth": 0.9, "edgecolor": colour}
            axis.scatter(points["shown"], points["dice_mean"], facecolor="none" if freeze else colour, **look)
        axis.locator_params(axis="x", nbins=4)
    style.title_panels(axes, targets, networks, "Dice", "Score / margin")
    figure.suptitle(f"Robustness score of the deepest level, lower = more robust\n({words})", fontsize=8)
    bar = figure.colorbar(ScalarMappable(norm, shades), ax=axes, label=LENGTH, aspect=40, pad=0.02)
    bar.set_ticks(_bar_ticks(data["epochs"]))
    handles = [style.key(scheme, marker=style.MARKERS[i % 6], linestyle="") for i, scheme in enumerate(schemes)]
    for freeze in sorted(data["freeze"].unique()):
        fill = "none" if freeze else style.INK
        handles.append(style.key(f"{style.name(freeze)} encoder", marker="o", linestyle="", markerfacecolor=fill))
    style.legend_below(figure, handles, noise.note(data).replace("Pale", "Small and pale"))
    style.save_figure(figure, data, pdf=pdf, png=png, csv=csv)


def _bar_ticks(epochs: pd.Series) -> list[int]:
    """Lengths to label on the colour bar: those with room."""
    ticks = [int(epochs.max())]
    for length in sorted(epochs.unique())[-2::-1]:
        if np.sqrt(ticks[-1]) - np.sqrt(length) > 0.05 * np.sqrt(ticks[0]):
            ticks.append(int(length))
    return ticks
