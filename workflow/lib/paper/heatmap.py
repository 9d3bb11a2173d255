"""Figure correlation_heatmap: how well every setting of the robustness score ranks the lengths."""

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from workflow.lib.paper import style

KEY = ["dataset", "model", "encoder", "metric", "margin", "pooled", "level"]


def correlation_heatmap(correlations: str, *, pdf: str, png: str, csv: str) -> None:
    """Draw the mean within-run Spearman correlation of the score (sign turned) with Dice, over schemes, freezings and
    pretraining seeds, from stats/correlations.csv: a panel per metric and pooling, a row per target and network, a
    column per level and margin."""
    table = pd.read_csv(correlations)
    table = table[(table["predictor"] == "robustness") & (table["pool"] == "within_run")]
    table = table.astype({"pooled": bool})
    data = table.groupby(KEY, as_index=False).agg(spearman=("spearman", "mean"), curves=("spearman", "size"))
    style.check_data(data, csv)
    metrics = style.ordered(data["metric"].tolist(), ["cosine_distance", "l2_loss", "inv_pearson_corr"])
    poolings = sorted(data["pooled"].unique(), reverse=True)
    rows = [(target, network) for target in sorted(data["dataset"].unique()) for network in style.networks_of(data)]
    columns = sorted({(int(level), float(margin)) for level, margin in zip(data["level"], data["margin"], strict=True)})
    figure, axes = style.grid(len(metrics), len(poolings), sharex=True, sharey=True)
    height = max(2.8, 0.8 + len(metrics) * (0.35 + 0.145 * len(rows)))
    figure.set_size_inches(min(style.WIDTH, 2.6 + 2.4 * len(poolings)), height)
    for row, column, axis in style.panels(axes):
        panel = data[(data["metric"] == metrics[row]) & (data["pooled"] == poolings[column])]
        wide = panel.pivot(index=["dataset", "model"], columns=["level", "margin"], values="spearman")
        _panel(axis, wide.reindex(index=rows, columns=columns).to_numpy(float), rows, columns)
        pooled = "pooled" if poolings[column] else "not pooled"
        axis.set_title(f"{style.name(metrics[row])}, {pooled}", fontweight="bold")
    margins = sorted(data["margin"].unique())
    span = f"margin {margins[0]:g} to {margins[-1]:g}, left to right" if len(margins) > 1 else f"margin {margins[0]:g}"
    figure.supxlabel(f"Level of the encoder (within each: {span})", fontsize=style.SETTINGS["axes.labelsize"])
    bar = figure.colorbar(ScalarMappable(Normalize(-1, 1), "RdBu"), ax=axes, aspect=45, shrink=0.9, pad=0.02)
    bar.set_ticks([-1, -0.5, 0, 0.5, 1])
    bar.set_label("Mean Spearman correlation\n(blue: lower score, higher Dice)")
    style.save_figure(figure, data, pdf=pdf, png=png, csv=csv)


def _panel(axis: Axes, values: np.ndarray, rows: list[tuple], columns: list[tuple]) -> None:
    """Draw one panel; grey where the network has no such level."""
    axis.set_facecolor("#D9D9D9")
    options = {"cmap": "RdBu", "vmin": -1, "vmax": 1, "cbar": False, "xticklabels": False, "yticklabels": False}
    seaborn.heatmap(values, ax=axis, mask=np.isnan(values), **options)
    axis.grid(False)
    levels = [level for level, _ in columns]
    centres = {level: 0.5 + np.mean([i for i, other in enumerate(levels) if other == level]) for level in levels}
    axis.set_xticks(list(centres.values()), [str(level) for level in centres])
    axis.set_yticks(
        np.arange(len(rows)) + 0.5, [f"{target}, {_short(network)}" for target, network in rows], fontsize=6.5
    )
    axis.tick_params(length=0)
    for i in range(1, len(columns)):
        if levels[i] != levels[i - 1]:
            axis.axvline(i, color="white", linewidth=2)
    for i in range(1, len(rows)):
        if rows[i][0] != rows[i - 1][0]:
            axis.axhline(i, color="white", linewidth=2)


def _short(network: str) -> str:
    return network.removesuffix(" U-Net").removesuffix(" Attention") if network != "basic U-Net" else "U-Net"
