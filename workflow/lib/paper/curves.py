"""Figures with the pretraining length or the accuracy on the x axis: accuracy_vs_length, dice_vs_length, dice_vs_accuracy."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from workflow.lib.paper import style
from workflow.lib.stats.summary import share_scratch

LENGTH = "Pretraining length (epochs)"
ACCURACY = "Pretraining top-1 accuracy (%)"
INTERVAL = ["dice_ci_low", "dice_ci_high"]
PLOTTED = ["dataset", "model", "encoder", "freeze", "scheme", "pretrain_seed", "epochs"]


def accuracy_vs_length(downstream: str, *, pdf: str, png: str, csv: str) -> None:
    """Draw pretraining accuracy against length from stats/downstream.csv: a line per encoder, scheme and seed."""
    table = share_scratch(pd.read_csv(downstream)).dropna(subset="accuracy")
    run = ["encoder", "scheme", "pretrain_seed"]
    data = table[[*run, "epochs", "accuracy"]].drop_duplicates([*run, "epochs"]).sort_values([*run, "epochs"])
    style.check_data(data, csv)
    encoders, schemes = style.encoders_of(data), style.schemes_of(data)
    colour = style.colours(encoders, style.ENCODER_COLOURS)
    figure, axes = style.grid(1, 1)
    figure.set_size_inches(4.6, 3.0)
    axis = axes[0, 0]
    for (encoder, scheme, _), part in data.groupby(run):
        dashes = style.DASHES[schemes.index(scheme) % 4]
        axis.plot(part["epochs"], 100 * part["accuracy"], color=colour[encoder], linestyle=dashes, marker="o")
    style.length_axis(axis, data["epochs"].tolist())
    axis.set_ylim(bottom=0)
    axis.set(xlabel=LENGTH, ylabel=ACCURACY)
    handles = [style.key(style.name(encoder), color=colour[encoder]) for encoder in encoders]
    handles += [style.key(scheme, linestyle=style.DASHES[i % 4]) for i, scheme in enumerate(schemes)]
    figure.legend(handles=handles, loc="outside right center", handlelength=2.4)
    style.save_figure(figure, data, pdf=pdf, png=png, csv=csv)


def dice_vs_length(downstream: str, *, pdf: str, png: str, csv: str) -> None:
    """Draw Dice against length from stats/downstream.csv: a panel per target and network, a line and 95 % band per
    scheme and freezing, random initialisation as grey lines."""
    data = pd.read_csv(downstream)[[*PLOTTED, "n_seeds", "dice_mean", *INTERVAL]]
    style.check_data(data, csv, INTERVAL)
    targets, networks = sorted(data["dataset"].unique()), style.networks_of(data)
    trained = data[data["epochs"] > 0]
    schemes = style.schemes_of(trained)
    colour = style.colours(schemes, style.SCHEME_COLOURS)
    figure, axes = style.grid(len(targets), len(networks), sharex=True)
    for row, column, axis in style.panels(axes):
        part = data[(data["dataset"] == targets[row]) & (data["model"] == networks[column])]
        _dice_panel(axis, part, colour)
        style.length_axis(axis, trained["epochs"].tolist())
    style.title_panels(axes, targets, networks, "Dice", LENGTH)
    handles = [style.key(scheme, color=colour[scheme]) for scheme in schemes]
    frozen = sorted(data["freeze"].unique())
    handles += [style.key(f"{style.name(value)} encoder", linestyle=style.DASHES[int(value)]) for value in frozen]
    handles += [style.key("random initialisation", color="#999999", linewidth=1)] if (data["epochs"] == 0).any() else []
    style.legend_below(figure, handles)
    style.save_figure(figure, data, pdf=pdf, png=png, csv=csv, optional=INTERVAL)


def _dice_panel(axis: Axes, part: pd.DataFrame, colour: dict[str, str]) -> None:
    if part.empty:
        style.no_data(axis)
    for (scheme, freeze, _), line in part[part["epochs"] > 0].groupby(["scheme", "freeze", "pretrain_seed"]):
        x = line["epochs"].to_numpy()
        dashes = style.DASHES[int(freeze)]
        axis.plot(x, line["dice_mean"], color=colour[scheme], linestyle=dashes, marker="o", markersize=2.6)
        axis.fill_between(x, line["dice_ci_low"], line["dice_ci_high"], color=colour[scheme], alpha=0.18, linewidth=0)
    for freeze, dice in part.loc[part["epochs"] == 0, ["freeze", "dice_mean"]].itertuples(index=False):
        axis.axhline(dice, color="#999999", linestyle=style.DASHES[int(freeze)], linewidth=1)
    axis.autoscale_view(scalex=False)  # axhline alone leaves a line on the very edge


def dice_vs_accuracy(downstream: str, *, pdf: str, png: str, csv: str) -> None:
    """Draw Dice against pretraining accuracy from stats/downstream.csv: a panel per freezing and target, a line through
    the lengths > 0 of each encoder and scheme, bars = 95 % interval."""
    data = pd.read_csv(downstream)[[*PLOTTED, "accuracy", "dice_mean", *INTERVAL]]
    data = data[data["epochs"] > 0].dropna(subset="accuracy")
    style.check_data(data, csv, INTERVAL)
    targets, freezings = sorted(data["dataset"].unique()), sorted(data["freeze"].unique())
    encoders, schemes = style.encoders_of(data), style.schemes_of(data)
    colour = style.colours(encoders, style.ENCODER_COLOURS)
    figure, axes = style.grid(len(freezings), len(targets), sharex=True)
    for row, column, axis in style.panels(axes):
        part = data[(data["freeze"] == freezings[row]) & (data["dataset"] == targets[column])]
        if part.empty:
            style.no_data(axis)
        for (_, encoder, scheme, _), line in part.groupby(["model", "encoder", "scheme", "pretrain_seed"]):
            i, x = schemes.index(scheme), 100 * line["accuracy"]
            bars = np.nan_to_num(np.abs(line[INTERVAL].to_numpy().T - line["dice_mean"].to_numpy()))
            look: dict[str, Any] = {"color": colour[encoder], "linewidth": 0.8, "elinewidth": 0.7}
            look |= {"linestyle": style.DASHES[i % 4], "marker": style.MARKERS[i % 6]}
            axis.errorbar(x, line["dice_mean"], bars, **look)
    style.title_panels(axes, [f"{style.name(value)} encoder" for value in freezings], targets, "Dice", ACCURACY)
    handles = [style.key(style.name(encoder), color=colour[encoder]) for encoder in encoders]
    for i, scheme in enumerate(schemes):
        handles.append(style.key(scheme, linestyle=style.DASHES[i % 4], marker=style.MARKERS[i % 6], linewidth=0.8))
    style.legend_below(figure, handles)
    style.save_figure(figure, data, pdf=pdf, png=png, csv=csv, optional=INTERVAL)
