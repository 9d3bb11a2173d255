"""Figures of `snakemake pool`: which source helps which target, and what scores lose as a choice among them."""

import numpy as np
import pandas as pd

from workflow.lib.paper import style
from workflow.lib.pool.judge import LARGEST, RANDOM
from workflow.lib.tables.headed import read_table
from workflow.lib.transfer.effects import EVERYWHERE

SHOWN = 14  # scores in the figure, besides the baselines


def pool_matrix(pool_members: str, *, pdf: str, png: str, csv: str) -> None:
    """Draw Dice of every source (row) on every target (column), means over pretraining seeds, a panel per encoder; the diagonal
    is left out."""
    data = read_table(pool_members).groupby(["encoder", "source", "dataset"], as_index=False)["dice"].mean()
    if data.empty:
        return style.nothing_to_draw("no network was trained to segment other data", pdf=pdf, png=png, csv=csv)
    encoders = style.encoders_of(data)
    sources, targets = sorted(set(data["source"])), sorted(set(data["dataset"]))
    figure, axes = style.grid(1, len(encoders))
    for axis, encoder in zip(axes[0], encoders, strict=True):
        part = data[data["encoder"] == encoder].pivot(index="source", columns="dataset", values="dice")
        part = part.reindex(index=sources, columns=targets)
        relative = part - part.mean()
        limit = max(float(np.nanmax(np.abs(relative.to_numpy()))), 1e-6)
        axis.imshow(relative, cmap="PuOr", vmin=-limit, vmax=limit, aspect="auto", alpha=0.75)
        for (row, column), value in np.ndenumerate(part.to_numpy()):
            axis.text(column, row, "" if np.isnan(value) else f"{value:.3f}", ha="center", va="center", fontsize=7)
        axis.set_xticks(range(len(targets)), targets)
        axis.set_yticks(range(len(sources)), sources)
        axis.grid(False)
        axis.set_title(style.name(encoder), fontweight="bold")
        axis.set_xlabel("fine-tuned on")
        axis.set_ylabel("trained on")
    style.legend_below(figure, [style.key("Dice; colour: against the mean of the column", linestyle="")])
    style.save_figure(figure, data, pdf=pdf, png=png, csv=csv)


def pool_regret(pool: str, *, pdf: str, png: str, csv: str) -> None:
    """Draw what each score's choice among the networks of other sources loses in Dice, every target and the mean."""
    table = read_table(pool)
    data = table[["dataset", "encoder", "features", "score", "level", "regret", "low", "high"]].copy()
    data["label"] = [_label(row) for row in data.itertuples()]
    where = EVERYWHERE if EVERYWHERE in set(data["dataset"]) else data["dataset"].iloc[0] if len(data) else ""
    mean = data[data["dataset"] == where].groupby("label")["regret"].mean()
    if mean.empty:
        return style.nothing_to_draw("a pool needs two networks or more", pdf=pdf, png=png, csv=csv)
    baselines = [name for name in (RANDOM, LARGEST) if name in mean.index]
    rows = [*mean.drop(baselines).sort_values().index[:SHOWN], *baselines]
    data = data[data["label"].isin(rows)]
    figure, axes = style.grid(1, 1)
    figure.set_size_inches(5.6, 1.3 + 0.19 * len(rows))
    axis, targets = axes[0, 0], sorted(set(data["dataset"]) - {EVERYWHERE})
    for target, mark in zip(targets, style.MARKERS * len(targets), strict=False):
        part = data[data["dataset"] == target].groupby("label")["regret"].mean()
        axis.plot(
            part.to_numpy(), [rows.index(name) for name in part.index], mark, color=style.GREY, alpha=0.8, linestyle=""
        )
    axis.plot(mean[rows].to_numpy(), range(len(rows)), "D", color=style.VERMILLION, markersize=4.5, linestyle="")
    axis.set_yticks(range(len(rows)), rows)
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.grid(axis="y", visible=False)
    axis.set_xlabel("Dice lost against the best network of the pool")
    keys = [style.key("mean", color=style.VERMILLION, marker="D", linestyle="")]
    keys += [
        style.key(t, color=style.GREY, marker=m, linestyle="") for t, m in zip(targets, style.MARKERS * 9, strict=False)
    ]
    style.legend_below(
        figure,
        keys,
        f"The {SHOWN} lowest means and the baselines; all: tables/pool.csv, which says how little few networks say",
    )
    style.save_figure(figure, data, pdf=pdf, png=png, csv=csv, optional=["level", "low", "high"])


def _label(row: object) -> str:
    score, features, level = (getattr(row, name) for name in ("score", "features", "level"))
    words = "" if pd.isna(features) or not features else f", {features}"
    return f"{score}{words}" + ("" if pd.isna(level) else f" {level:.0f}")
