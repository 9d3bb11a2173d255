"""One look for all figures: sizes, fonts, colours, axes of length, and the only way to save a figure."""

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from workflow.lib.job.run import UserError, atomic_path
from workflow.lib.paper.names import name as name  # also for the figures

WIDTH = 7.2  # inches: two columns of a journal page
# Every colour of every figure. Okabe and Ito (2008), distinguishable with any colour vision, and greys.
BLUE, VERMILLION, GREEN, SKY = "#0072B2", "#D55E00", "#009E73", "#56B4E9"
ORANGE, PINK, YELLOW, BLACK = "#E69F00", "#CC79A7", "#F0E442", "#000000"
INK, DIM, GREY, SILVER = (
    "#444444",
    "#777777",
    "#888888",
    "#999999",
)  # texts and keys; single points; lines at 0; references
MARGINS, BAND, ABSENT_GREY, GRID = "#BBBBBB", "#DDDDDD", "#D9D9D9", "#E6E6E6"
# Tol's muted scheme (2021), with any colour vision too.
INDIGO, ROSE, FOREST, OLIVE = "#332288", "#CC6677", "#117733", "#999933"
WINE, TEAL, PURPLE = "#882255", "#44AA99", "#AA4499"
ENCODER_COLOURS = {"unet": BLUE, "resnet50": VERMILLION, "swin": GREEN}
SCHEME_COLOURS = {"simple": INDIGO, "advanced": ROSE}
MORE_COLOURS = [OLIVE, SKY, WINE, BLACK, ORANGE, TEAL, PURPLE]
TASK_COLOURS = [INDIGO, ROSE, FOREST, OLIVE, WINE, SKY, BLACK]
CLASS_COLOURS = [ORANGE, SKY, GREEN, YELLOW, PINK, BLUE, VERMILLION]  # of masks, by label
ERROR_COLOURS = {"correct": "#FFFFFF", "missed": VERMILLION, "extra": BLUE, "another class": YELLOW}  # of a prediction
HIGH, LOW = "#D6604D", "#92C5DE"  # of a diverging map
DASHES = ["-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (4, 1.2, 1, 1.2))]
MARKERS = ["o", "s", "^", "D", "v", "P"]
FILLS = ["full", "none", "left", "bottom"]  # of markers, the rest of them white
SETTINGS: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with Matplotlib: the same on every machine
    "font.size": 7.5,
    "axes.titlesize": 8,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.3,
    "lines.markersize": 3.2,
    "pdf.fonttype": 42,  # text stays text
    "savefig.dpi": 200,
}


def short(network: str) -> str:
    """A network's name where room is scarce."""
    return network.removesuffix(" U-Net").removesuffix(" Attention") if network != "basic U-Net" else "U-Net"


def colours(values: Sequence[Any], fixed: dict[str, str]) -> dict[Any, str]:
    """A colour per value: its fixed one, or the next of the spare ones."""
    spare = [value for value in values if value not in fixed]
    return {value: fixed.get(value, MORE_COLOURS[spare.index(value) % 7] if value in spare else "") for value in values}


def pale(colour: Any) -> str:
    """The colour mixed with white, for what is muted."""
    red, green, blue = (0.45 * part + 0.55 for part in to_rgb(colour))
    return to_hex((red, green, blue))


def ordered(values: Sequence[Any], first: Sequence[Any]) -> list[Any]:
    """Distinct values: those of `first` in that order, then the others sorted."""
    distinct = set(values)
    return [value for value in first if value in distinct] + sorted(distinct - set(first))


def encoders_of(frame: pd.DataFrame) -> list[str]:
    return ordered(frame["encoder"].tolist(), list(ENCODER_COLOURS))


def networks_of(frame: pd.DataFrame) -> list[str]:
    """Networks, in the order of their encoders."""
    encoder = frame.drop_duplicates("model").set_index("model")["encoder"]
    return sorted(encoder.index, key=lambda model: (encoders_of(frame).index(encoder[model]), model))


def schemes_of(frame: pd.DataFrame) -> list[str]:
    return ordered(frame["scheme"].tolist(), list(SCHEME_COLOURS))


def grid(rows: int, columns: int, **options: Any) -> tuple[Figure, np.ndarray]:
    """A figure with rows x columns panels (object array of axes), its size fitted to their number."""
    matplotlib.rcParams.update(SETTINGS)  # type: ignore[arg-type]
    width = min(WIDTH, 1.3 + 2.3 * columns)
    figure = Figure(figsize=(width, 1.0 + 1.65 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def sheet(rows: int, columns: int, *, shape: tuple[int, ...], left: float = 0.05) -> tuple[Figure, np.ndarray]:
    """A page-wide figure of rows x columns pictures (object array of axes without ticks) of about this (height, width), with room
    for titles, a line below each, and `legend_below`; left: inches for words beside the rows."""
    matplotlib.rcParams.update(SETTINGS)  # type: ignore[arg-type]
    wide, gap, top, below = (WIDTH - left) / columns, 0.2, 0.36, 0.62  # inches
    high = min(wide * shape[0] / shape[1], 2 * wide)
    height = top + rows * (high + gap) + below
    figure = Figure(figsize=(WIDTH, height))  # no layout engine: with many pictures that takes seconds
    FigureCanvasAgg(figure)
    edges = {"left": left / WIDTH, "right": 0.995, "top": 1 - top / height, "bottom": (below + gap) / height}
    axes = figure.subplots(rows, columns, squeeze=False, gridspec_kw={**edges, "wspace": 0.04, "hspace": gap / high})
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
        axis.grid(False)
        axis.spines[:].set_visible(False)
    return figure, axes


def class_colour(label: int) -> str:
    """The colour of a mask's label 1, 2, ...; after the last one they begin again."""
    return CLASS_COLOURS[(label - 1) % len(CLASS_COLOURS)]


def panels(axes: np.ndarray) -> Iterator[tuple[int, int, Axes]]:
    """Row, column and axes of every panel."""
    for (row, column), axis in np.ndenumerate(axes):
        yield row, column, axis


def title_panels(axes: np.ndarray, rows: Sequence[Any], columns: Sequence[Any], y_label: str, x_label: str) -> None:
    """Column names on top, row names with the y label at the left, the x label at the bottom of each column."""
    for axis, column in zip(axes[0], columns, strict=True):
        axis.set_title(name(column), fontweight="bold")
    for axis, row in zip(axes[:, 0], rows, strict=True):
        axis.set_ylabel(f"{name(row)}\n{y_label}")
    for axis in axes[-1]:
        axis.set_xlabel(x_label)


def length_axis(axis: Axes, lengths: Sequence[int]) -> None:
    """A square-root axis of pretraining lengths; every length has a tick, those with room a label."""
    lengths = sorted({int(length) for length in lengths})
    roots = np.sqrt(lengths)
    span = max(roots[-1] - roots[0], 1.0)
    labelled = [lengths[-1]]
    for length in lengths[-2::-1]:
        if np.sqrt(labelled[-1]) - np.sqrt(length) >= 0.12 * span:
            labelled.append(length)
    axis.set_xscale("function", functions=(lambda x: np.sqrt(np.maximum(x, 0)), np.square))
    axis.set_xticks(labelled, [str(length) for length in labelled])
    axis.set_xticks([length for length in lengths if length not in labelled], minor=True)
    low, high = max(roots[0] - 0.04 * span, 0), roots[-1] + 0.04 * span
    axis.set_xlim(low**2, high**2)


def key(label: str, **style: Any) -> Line2D:
    """A legend entry."""
    return Line2D([], [], label=label, **({"color": INK} | style))


def legend_below(figure: Figure, handles: Sequence[Artist], note: str = "") -> None:
    """One legend for all panels, below them, in as many columns as fit; above it a note, wrapped to fit."""
    letter = 0.058  # inches, on average
    widths = [0.55 + letter * len(str(handle.get_label())) for handle in handles]  # inches: line, gap and text
    rows = range(1, len(handles) + 1)
    fit = [n for n in rows if sum(max(widths[i : i + n]) for i in range(0, len(widths), n)) <= figure.get_figwidth()]
    options: dict[str, Any] = {"ncols": -(-len(handles) // min(fit, default=len(handles))), "handlelength": 2.2}
    wrapped = "\n".join(textwrap.fill(line, int(figure.get_figwidth() / letter)) for line in note.splitlines())
    options |= {"title": wrapped, "title_fontsize": SETTINGS["legend.fontsize"]} if note else {}
    # A sheet, which has no layout engine, has room for it.
    options["loc"] = "outside lower center" if figure.get_layout_engine() else "lower center"
    figure.legend(handles=handles, **options)


def no_data(axis: Axes, words: str = "not in this run") -> None:
    """Mark a panel for which the run has no results."""
    axis.text(0.5, 0.5, words, transform=axis.transAxes, ha="center", va="center", color=GREY)
    axis.tick_params(which="both", bottom=False, left=False, labelbottom=False, labelleft=False)
    axis.grid(False)


def nothing_to_draw(reason: str, *, pdf: str, png: str, csv: str) -> None:
    """A figure that says why this run has none, so that the run's other figures and its report can be made."""
    figure, axes = grid(1, 1)
    figure.set_size_inches(4.6, 1.2)
    no_data(axes[0, 0], f"not in this run:\n{reason}")
    axes[0, 0].set_axis_off()
    save_figure(figure, pd.DataFrame({"note": [reason]}), pdf=pdf, png=png, csv=csv)


def check_data(data: pd.DataFrame, path: str | Path, optional: Sequence[str] = ()) -> None:
    """Raise `UserError` unless the plotted data has rows and finite numbers (columns in `optional` may be empty)."""
    numbers = data.select_dtypes("number").drop(columns=list(optional), errors="ignore")
    bad = numbers.columns[~np.isfinite(numbers.to_numpy(float)).all(axis=0)].tolist() if len(data) else []
    if data.empty or bad:
        raise UserError(
            "nothing to draw" if data.empty else f"numbers are missing or infinite in: {', '.join(bad)}",
            found=f"{len(data)} rows",
            expected="at least one row, all numbers finite",
            where=path,
            next="look at tables/data_quality.csv of this run: lengths, levels or targets may be missing from its tables",
        )


def save_figure(
    figure: Figure, data: pd.DataFrame, *, pdf: str, png: str, csv: str, optional: Sequence[str] = ()
) -> None:
    """Write a figure as PDF and PNG and the data it shows as CSV: all three or none, the same bytes for the same data.

    Raises `UserError` when the data is empty or not finite (`check_data`).
    """
    check_data(data, csv, optional)
    with atomic_path(pdf) as pdf_file, atomic_path(png) as png_file, atomic_path(csv) as csv_file:
        figure.savefig(pdf_file, metadata={"CreationDate": None, "ModDate": None, "Creator": None, "Producer": None})
        figure.set_layout_engine("none")  # it stays as it is
        figure.savefig(png_file, metadata={"Software": None})
        data.to_csv(csv_file, index=False)
