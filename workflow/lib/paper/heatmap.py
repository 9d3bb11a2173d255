"""Figure correlation_heatmap: how well every setting of the robustness score ranks the lengths."""

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from workflow.lib.paper import noise, style
from workflow.lib.tables.headed import read_table

KEY = ["dataset", "model", "encoder", "metric", "margin", "pooled", "level"]
ABSENT = style.ABSENT_GREY
NEGATIVE = -0.25  # from here on a dot tells red from blue where there is no colour


def correlation_heatmap(correlations: str, noise_ceiling: str, *, pdf: str, png: str, csv: str) -> None:
    """Draw the mean within-run Spearman correlation of the score (sign turned) with Dice, over schemes, fine-tuning modes and
    pretraining seeds, from tables/correlations.csv: a panel per metric and pooling, a row per target and network, a
    column per level and margin. A row is hatched where half or more of its curves are noise (`mark_muted`)."""
    table = read_table(correlations)
    table = table[(table["predictor"] == "robustness") & (table["pool"] == "within_run") & (table["lengths"] == ">0")]
    table = table[table["n"] > 1]  # a single length ranks nothing
    if table.empty:
        return style.nothing_to_draw("no curve has two lengths with a score", pdf=pdf, png=png, csv=csv)
    table = noise.mark_muted(table.astype({"pooled": bool}), noise_ceiling)
    aggregates = {"spearman": ("spearman", "mean"), "curves": ("spearman", "size"), "muted_curves": ("muted", "sum")}
    data = table.groupby(KEY, as_index=False).agg(**aggregates)
    style.check_data(data, csv)
    metrics = style.ordered(data["metric"].tolist(), ["cosine_distance", "l2_loss", "inv_pearson_corr"])
    poolings = sorted(data["pooled"].unique(), reverse=True)
    rows = [(target, network) for target in sorted(data["dataset"].unique()) for network in style.networks_of(data)]
    columns = sorted({(int(level), float(margin)) for level, margin in zip(data["level"], data["margin"], strict=True)})
    counts = data.groupby(["dataset", "model"])[["muted_curves", "curves"]].max()
    figure, axes = style.grid(len(metrics), len(poolings), sharex=True, sharey=True)
    height = max(2.8, 1.0 + len(metrics) * (0.35 + 0.145 * len(rows)))
    figure.set_size_inches(min(style.WIDTH, 2.6 + 2.4 * len(poolings)), height)
    for row, column, axis in style.panels(axes):
        panel = data[(data["metric"] == metrics[row]) & (data["pooled"] == poolings[column])]
        wide = panel.pivot(index=["dataset", "model"], columns=["level", "margin"], values="spearman")
        _panel(axis, wide.reindex(index=rows, columns=columns).to_numpy(float), rows, columns)
        _mark_rows(axis, rows, counts)
        pooled = "pooled" if poolings[column] else "not pooled"
        axis.set_title(f"{style.name(metrics[row])}, {pooled}", fontweight="bold")
    margins = sorted(data["margin"].unique())
    span = f"margin {margins[0]:g} to {margins[-1]:g}, left to right" if len(margins) > 1 else f"margin {margins[0]:g}"
    for axis in axes[-1]:
        axis.set_xlabel(f"Level ({span})")
    bar = figure.colorbar(ScalarMappable(Normalize(-1, 1), "RdBu"), ax=axes, aspect=45, shrink=0.9, pad=0.02)
    bar.set_ticks([-1, -0.5, 0, 0.5, 1])
    bar.set_label("Mean Spearman correlation\n(+, blue: lower score, higher Dice)")
    _legend(
        figure,
        counts,
        negative=(data["spearman"] <= NEGATIVE).any(),
        absent=len(data) < axes.size * len(rows) * len(columns),
    )
    style.save_figure(figure, data, pdf=pdf, png=png, csv=csv)


def _panel(axis: Axes, values: np.ndarray, rows: list[tuple[str, str]], columns: list[tuple[int, float]]) -> None:
    """Draw one panel; grey where the network has no such level. Dots mark values from `NEGATIVE` down."""
    axis.set_facecolor(ABSENT)
    axis.pcolormesh(np.ma.masked_invalid(values), cmap="RdBu", vmin=-1, vmax=1)
    axis.set_ylim(len(rows), 0)
    y, x = np.nonzero(np.nan_to_num(values) <= NEGATIVE)
    axis.plot(x + 0.5, y + 0.5, ".", color="white", markersize=2, markeredgewidth=0)
    axis.grid(False)
    levels = [level for level, _ in columns]
    centres = {level: 0.5 + np.mean([i for i, other in enumerate(levels) if other == level]) for level in levels}
    axis.set_xticks(list(centres.values()), [str(level) for level in centres])
    axis.tick_params(length=0)
    for i in range(1, len(columns)):
        if levels[i] != levels[i - 1]:
            axis.axvline(i, color="white", linewidth=2)
    for i in range(1, len(rows)):
        if rows[i][0] != rows[i - 1][0]:
            axis.axhline(i, color="white", linewidth=2)


def _mark_rows(axis: Axes, rows: list[tuple[str, str]], counts: pd.DataFrame) -> None:
    """Names of the rows, with a dagger and hatching where curves are noise."""
    labels = []
    for i, (target, network) in enumerate(rows):
        muted, curves = counts.loc[(target, network)] if (target, network) in counts.index else (0, 1)
        labels.append(f"{target}, {style.short(network)}" + (f" ({muted}/{curves}†)" if muted else ""))
        if 2 * muted >= curves:
            axis.axhspan(i, i + 1, facecolor="none", edgecolor="white", hatch="//////", linewidth=0)
    axis.set_yticks(np.arange(len(rows)) + 0.5, labels, fontsize=6.5, rotation=0)


def _legend(figure: Figure, counts: pd.DataFrame, negative: bool, absent: bool) -> None:
    """The legend: all marks but the colours of the map."""
    dot = {"marker": "o", "markersize": 4.5, "markeredgewidth": 1.6, "markerfacecolor": "white", "color": style.HIGH}
    handles: list[Artist] = (
        [style.key(f"{NEGATIVE} or less".replace("-", "−"), linestyle="", **dot)] if negative else []
    )
    handles += [Patch(label="the encoder has no such level", facecolor=ABSENT)] if absent else []
    if (2 * counts["muted_curves"] >= counts["curves"]).any():
        handles.append(
            Patch(label="half of the curves or more †", facecolor=style.LOW, edgecolor="white", hatch="//////")
        )
    note = f"(n/m†): n of the m curves of this row, of which {noise.NOISE}" if counts["muted_curves"].any() else ""
    if handles or note:
        style.legend_below(figure, handles, note)
