"""Figures with the pretraining length or the accuracy on the x axis: accuracy_vs_length, dice_vs_length, dice_vs_accuracy."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from workflow.lib.curves.summary import share_scratch
from workflow.lib.paper import noise, style
from workflow.lib.tables.headed import read_table

LENGTH = "Pretraining length (epochs)"
ACCURACY = "Pretraining top-1 accuracy (%)"
INTERVAL = ["dice_ci_low", "dice_ci_high"]
PLOTTED = ["dataset", "model", "encoder", "freeze", "scheme", "pretrain_seed", "epochs"]


def accuracy_vs_length(downstream: str, *, pdf: str, png: str, csv: str) -> None:
    """Draw pretraining accuracy against length from tables/downstream.csv: a line per encoder, scheme and seed."""
    table = share_scratch(read_table(downstream)).dropna(subset="accuracy")
    run = ["encoder", "scheme", "pretrain_seed"]
    data = table[[*run, "epochs", "accuracy"]].drop_duplicates([*run, "epochs"]).sort_values([*run, "epochs"])
    if data.empty:
        return style.nothing_to_draw("no accuracy of any checkpoint is known", pdf=pdf, png=png, csv=csv)
    style.check_data(data, csv)
    encoders, schemes = style.encoders_of(data), style.schemes_of(data)
    colour = style.colours(encoders, style.ENCODER_COLOURS)
    figure, axes = style.grid(1, 1)
    figure.set_size_inches(4.6, 3.0)
    axis = axes[0, 0]
    import seaborn  # here, as its import takes seconds and the other figures do without

    percent = data.assign(accuracy=100 * data["accuracy"])
    for (encoder, scheme), part in percent.groupby(["encoder", "scheme"]):
        look = _scheme_look(schemes.index(scheme)) | {"color": colour[encoder], "markeredgecolor": colour[encoder]}
        look |= {"marker": _marker(encoders, encoder), "clip_on": False}
        seaborn.lineplot(part, x="epochs", y="accuracy", units="pretrain_seed", estimator=None, ax=axis, **look)
    style.length_axis(axis, data["epochs"].tolist())
    axis.set_ylim(bottom=0)
    axis.set(xlabel=LENGTH, ylabel=ACCURACY)
    figure.legend(handles=_run_keys(encoders, schemes), loc="outside right center", handlelength=2.4)
    style.save_figure(figure, data, pdf=pdf, png=png, csv=csv)


def _marker(encoders: list[str], encoder: str) -> str:
    return style.MARKERS[encoders.index(encoder) % 6]


def _scheme_look(i: int) -> dict[str, Any]:
    """Dashes and filling of markers of the i-th scheme, where colour and marker tell the encoder."""
    look = {"linestyle": style.DASHES[i % 4], "fillstyle": style.FILLS[i % 4], "markerfacecoloralt": "white"}
    return look | ({"markerfacecolor": "white", "fillstyle": "full"} if look["fillstyle"] == "none" else {})


def _run_keys(encoders: list[str], schemes: list[str]) -> list[Any]:
    colour = style.colours(encoders, style.ENCODER_COLOURS)
    keys = [
        style.key(style.name(encoder), color=colour[encoder], marker=_marker(encoders, encoder)) for encoder in encoders
    ]
    return keys + [style.key(scheme, marker="o", **_scheme_look(i)) for i, scheme in enumerate(schemes)]


def dice_vs_length(downstream: str, noise_ceiling: str, *, pdf: str, png: str, csv: str) -> None:
    """Draw Dice against length from tables/downstream.csv: a panel per target and network, a line and 95 % band per
    scheme and fine-tuning mode, random initialisation as grey lines. Curves that are noise (`mark_muted`) are pale."""
    data = read_table(downstream)[[*PLOTTED, "n_seeds", "dice_mean", *INTERVAL]]
    style.check_data(data, csv, INTERVAL)
    data = noise.mark_muted(data, noise_ceiling)
    targets, networks = sorted(data["dataset"].unique()), style.networks_of(data)
    trained = data[data["epochs"] > 0]
    schemes = style.schemes_of(trained)
    figure, axes = style.grid(len(targets), len(networks), sharex=True)
    for row, column, axis in style.panels(axes):
        part = data[(data["dataset"] == targets[row]) & (data["model"] == networks[column])]
        _dice_panel(axis, part, schemes)
        style.length_axis(axis, trained["epochs"].tolist())
    style.title_panels(axes, targets, networks, "Dice", LENGTH)
    colour = style.colours(schemes, style.SCHEME_COLOURS)
    handles = [style.key(scheme, color=colour[scheme], marker=_marker(schemes, scheme)) for scheme in schemes]
    frozen = sorted(data["freeze"].unique())
    handles += [style.key(f"{style.name(value)} encoder", linestyle=style.DASHES[int(value)]) for value in frozen]
    handles += (
        [style.key("random initialisation", color=style.SILVER, linewidth=1)] if (data["epochs"] == 0).any() else []
    )
    style.legend_below(figure, handles, noise.note(data))
    style.save_figure(figure, data, pdf=pdf, png=png, csv=csv, optional=INTERVAL)


def _dice_panel(axis: Axes, part: pd.DataFrame, schemes: list[str]) -> None:
    if part.empty:
        style.no_data(axis)
    colours = style.colours(schemes, style.SCHEME_COLOURS)
    groups = part[part["epochs"] > 0].groupby(["scheme", "freeze", "pretrain_seed", "muted"])
    for (scheme, freeze, _, muted), line in groups:
        colour = style.pale(colours[scheme]) if muted else colours[scheme]
        look: dict[str, Any] = {"color": colour, "zorder": 2 if muted else 2.5}
        x = line["epochs"].to_numpy()
        marks: dict[str, Any] = {
            "linestyle": style.DASHES[int(freeze)],
            "marker": _marker(schemes, scheme),
            "markersize": 2.8,
        }
        axis.plot(x, line["dice_mean"], **look, **marks)
        axis.fill_between(x, line["dice_ci_low"], line["dice_ci_high"], alpha=0.18, linewidth=0, **look)
    scratch = part.loc[part["epochs"] == 0, ["freeze", "dice_mean", *INTERVAL]].to_numpy()
    for freeze, dice, *_ in scratch:
        axis.axhline(dice, color=style.SILVER, linestyle=style.DASHES[int(freeze)], linewidth=1)
    axis.autoscale_view(scalex=False)  # axhline alone leaves a line on the very edge
    if len(scratch) and not part.empty:
        bottom, top = axis.get_ylim()
        for _, _, low, high in scratch:
            if np.isfinite(high - low):
                axis.axhspan(low, high, color=style.SILVER, alpha=0.15, linewidth=0)
        axis.set_ylim(max(bottom, 0), min(top, 1))  # the bands of two seeds would leave the curves flat


def dice_vs_accuracy(downstream: str, noise_ceiling: str, *, pdf: str, png: str, csv: str) -> None:
    """Draw Dice against pretraining accuracy from tables/downstream.csv: a panel per fine-tuning mode and target, a line through
    the lengths > 0 of each encoder and scheme, bars = 95 % interval. Curves that are noise (`mark_muted`) are pale."""
    data = read_table(downstream)[[*PLOTTED, "accuracy", "dice_mean", *INTERVAL]]
    data = data[data["epochs"] > 0].dropna(subset="accuracy")
    if data.empty:
        return style.nothing_to_draw("no accuracy of any pretrained checkpoint is known", pdf=pdf, png=png, csv=csv)
    style.check_data(data, csv, INTERVAL)
    data = noise.mark_muted(data, noise_ceiling)
    targets, freezings = sorted(data["dataset"].unique()), sorted(data["freeze"].unique())
    encoders, schemes = style.encoders_of(data), style.schemes_of(data)
    colours = style.colours(encoders, style.ENCODER_COLOURS)
    figure, axes = style.grid(len(freezings), len(targets), sharex=True)
    for row, column, axis in style.panels(axes):
        part = data[(data["freeze"] == freezings[row]) & (data["dataset"] == targets[column])]
        if part.empty:
            style.no_data(axis)
        for (_, encoder, scheme, _, muted), line in part.groupby(
            ["model", "encoder", "scheme", "pretrain_seed", "muted"]
        ):
            bars = np.nan_to_num(np.abs(line[INTERVAL].to_numpy().T - line["dice_mean"].to_numpy()))
            colour = style.pale(colours[encoder]) if muted else colours[encoder]
            look: dict[str, Any] = {"color": colour, "zorder": 2 if muted else 2.5, "linewidth": 0.8, "elinewidth": 0.7}
            look |= {"marker": _marker(encoders, encoder)} | _scheme_look(schemes.index(scheme))
            axis.errorbar(100 * line["accuracy"], line["dice_mean"], bars, **look)
    style.title_panels(axes, [f"{style.name(value)} encoder" for value in freezings], targets, "Dice", ACCURACY)
    style.legend_below(figure, _run_keys(encoders, schemes), noise.note(data))
    style.save_figure(figure, data, pdf=pdf, png=png, csv=csv, optional=INTERVAL)
