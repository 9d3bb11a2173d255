"""Figures of `snakemake transfer`: what tasks and transfers gain, learning curves, and convergence."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from workflow.lib.evidence.verdicts import MARGIN
from workflow.lib.paper import style
from workflow.lib.study.checkpoints import BOTH, DECODER, ENCODER, NONE
from workflow.lib.tables.headed import read_table
from workflow.lib.tables.transfer import ALL, read_transfer
from workflow.lib.transfer.effects import ALL_TASKS, EVERYWHERE, at_budget

TASKS = [
    "classification",
    "segmentation",
    "reconstruction",
    "contrastive",
    "contrastive_reconstruction",
    "masked",
    "given",
]
COLOURS = dict(zip(TASKS, style.TASK_COLOURS, strict=True)) | {NONE: style.GREY}
LOOK = {ENCODER: ("o", "full"), BOTH: ("s", "full"), DECODER: ("^", "none")}
LABEL = {ENCODER: "", BOTH: " + decoder", DECODER: ": decoder"}
WORDS = {ENCODER: "encoder", BOTH: "encoder and decoder", DECODER: "decoder alone", NONE: "random weights"}
ENDS = ["low", "high"]
NOTE = "95 % t interval over pretraining runs, fine-tuning seeds and draws of patients"


def transfer_gain(transfer_effects: str, *, pdf: str, png: str, csv: str) -> None:
    """Draw tables/transfer_effects.csv: Dice gained over random weights by every scheme and transfer, on all training patients
    at equal images; a column per target, a row per encoder and way, filled for a trainable encoder."""
    table = read_table(transfer_effects, keep_default_na=True)
    chosen = (table["against"] == NONE) & (table["measure"] == "dice") & (table["budget"] == "images")
    most = ALL if (table["patients"] == ALL).any() else table["patients"].max()
    data = table[chosen & (table["patients"] == most) & (table["task"] != ALL_TASKS)]
    data = data[["dataset", "encoder", "freeze", "scheme", "task", "transfer", "estimate", *ENDS]]
    if data.empty:
        return style.nothing_to_draw("nothing is compared with random weights", pdf=pdf, png=png, csv=csv)
    targets = [
        *sorted(set(data["dataset"]) - {EVERYWHERE}),
        *([EVERYWHERE] if EVERYWHERE in set(data["dataset"]) else []),
    ]
    rows = list(data.groupby(["encoder", "freeze"]).groups)
    starts = _starts(data)
    figure, axes = style.grid(len(rows), len(targets), sharey="row", sharex=True)
    figure.set_size_inches(min(style.WIDTH, 1.6 + 1.7 * len(targets)), 0.9 + len(rows) * (0.45 + 0.2 * len(starts)))
    for row, column, axis in style.panels(axes):
        encoder, freeze = rows[row]
        part = data[(data["dataset"] == targets[column]) & (data["encoder"] == encoder) & (data["freeze"] == freeze)]
        axis.axvspan(-MARGIN, MARGIN, color=style.BAND, alpha=0.6, linewidth=0)
        axis.axvline(0, color=style.GREY, linewidth=0.7)
        for one in part.itertuples():
            place = starts.index((one.scheme, one.transfer))
            marker, fill = LOOK[one.transfer]
            axis.plot([one.low, one.high], [place, place], color=COLOURS[one.task], linewidth=1.2)
            axis.plot(one.estimate, place, marker, color=COLOURS[one.task], fillstyle=fill, markersize=4.5)
        axis.set_yticks(range(len(starts)), [scheme.replace("_", " ") + LABEL[transfer] for scheme, transfer in starts])
        axis.set_ylim(len(starts) - 0.4, -0.6)
        axis.grid(axis="y", visible=False)
        if column == 0:
            axis.set_ylabel(f"{style.name(encoder)}\n{style.name(bool(freeze))}")
        if row == 0:
            axis.set_title(targets[column], fontweight="bold")
        if row == len(rows) - 1:
            axis.set_xlabel("Dice gained")
    keys = [
        style.key(WORDS[t], marker=LOOK[t][0], fillstyle=LOOK[t][1], linestyle="")
        for t in LOOK
        if t in set(data["transfer"])
    ]
    style.legend_below(
        figure, keys, f"Against random weights, equal numbers of pretraining images. {NOTE}. Grey band: ±{MARGIN}"
    )
    style.save_figure(figure, data, pdf=pdf, png=png, csv=csv, optional=ENDS)


def dice_vs_patients(learning_curves: str, *, pdf: str, png: str, csv: str) -> None:
    """Draw tables/learning_curves.csv: Dice against training patients, a panel per target, encoder and way; for each task the
    transfer of the encoder, dashed of the decoder too; open markers where patients show not all classes."""
    table = read_table(learning_curves, keep_default_na=True)
    data = table[table["transfer"] != DECODER]
    curve = ["patients", "draws", "draws_lacking", "dice", *ENDS, "fitted"]
    data = data[["dataset", "encoder", "freeze", "scheme", "task", "transfer", *curve]]
    targets, rows = sorted(set(data["dataset"])), list(data.groupby(["encoder", "freeze"]).groups)
    figure, axes = style.grid(len(rows), len(targets))
    for row, column, axis in style.panels(axes):
        encoder, freeze = rows[row]
        part = data[(data["dataset"] == targets[column]) & (data["encoder"] == encoder) & (data["freeze"] == freeze)]
        if part.empty:
            style.no_data(axis)
            continue
        curves = list(part.groupby(["task", "scheme", "transfer"]))
        apart = (part["patients"].max() / part["patients"].min()) ** 0.15
        for number, ((task, _, transfer), curve) in enumerate(curves):
            shift = apart ** (number / len(curves) - 0.5)  # so that intervals do not hide each other
            look: dict[str, Any] = {"color": COLOURS[task], "linestyle": style.DASHES[1 if transfer == BOTH else 0]}
            axis.plot(curve["patients"] * shift, curve["fitted"], **look)
            marker, lacks = LOOK.get(transfer, ("D", "full"))[0], curve["draws_lacking"] > 0
            for some, fill in ((~lacks, "full"), (lacks, "none")):
                places = curve.loc[some, "patients"] * shift
                axis.plot(places, curve.loc[some, "dice"], marker, color=COLOURS[task], fillstyle=fill)
            axis.vlines(
                curve["patients"] * shift, curve["low"], curve["high"], color=COLOURS[task], linewidth=0.8, alpha=0.6
            )
        low, high = axis.get_ylim()
        axis.set_ylim(max(low, 0), min(high, 1))
        axis.set_xscale("log")
        sizes = sorted(set(part["patients"]))
        axis.set_xticks(sizes, [f"{size:.0f}" for size in sizes])
        axis.set_xticks([], minor=True)
    style.title_panels(
        axes, [f"{style.name(e)}, {style.name(bool(f))}" for e, f in rows], targets, "Dice", "training patients"
    )
    about = f"Lines: monotone fit. Bars: {NOTE}. Dashed: encoder and decoder transferred"
    about += ". Open: the patients of some draws show not all classes" if (data["draws_lacking"] > 0).any() else ""
    style.legend_below(figure, _task_keys(data), about)
    style.save_figure(figure, data, pdf=pdf, png=png, csv=csv, optional=ENDS)


def convergence(transfer_scores: str, *, pdf: str, png: str, csv: str) -> None:
    """Draw the mean validation Dice after each epoch of fine-tuning on all training patients, from transfer_scores.csv."""
    frame = at_budget(read_transfer(transfer_scores), "images")
    frame = frame[(frame["patients"] == ALL) & (frame["transfer"] != DECODER)]
    keys = ["dataset", "encoder", "freeze", "scheme", "task", "transfer"]
    long = frame[[*keys, "validation"]].explode("validation", ignore_index=True).dropna(subset="validation")
    if long.empty:
        return style.nothing_to_draw("no fine-tuning on all training patients", pdf=pdf, png=png, csv=csv)
    counts = frame["validation"].map(len)
    long["epoch"] = np.concatenate([np.arange(1, count + 1) for count in counts])
    data = long.astype({"validation": float}).groupby([*keys, "epoch"], as_index=False)["validation"].mean()
    targets, rows = sorted(set(data["dataset"])), list(data.groupby(["encoder", "freeze"]).groups)
    figure, axes = style.grid(len(rows), len(targets))
    for row, column, axis in style.panels(axes):
        encoder, freeze = rows[row]
        part = data[(data["dataset"] == targets[column]) & (data["encoder"] == encoder) & (data["freeze"] == freeze)]
        for (task, _, transfer), curve in part.groupby(["task", "scheme", "transfer"]):
            dashes = style.DASHES[1 if transfer == BOTH else 0]
            axis.plot(curve["epoch"], curve["validation"], color=COLOURS[task], linestyle=dashes, marker=".")
    ways = [f"{style.name(e)}, {style.name(bool(f))}" for e, f in rows]
    style.title_panels(axes, ways, targets, "validation Dice", "epochs of fine-tuning")
    style.legend_below(
        figure, _task_keys(data), "Means over all runs and seeds. Dashed: encoder and decoder transferred"
    )
    style.save_figure(figure, data, pdf=pdf, png=png, csv=csv)


def _starts(data: pd.DataFrame) -> list[tuple[str, str]]:
    """Scheme and transfer of every start, in the order of the tasks."""
    known = data[["scheme", "task", "transfer"]].drop_duplicates()
    order = sorted(
        known.itertuples(), key=lambda row: (TASKS.index(row.task), row.scheme, list(LOOK).index(row.transfer))
    )
    return [(row.scheme, row.transfer) for row in order]


def _task_keys(data: pd.DataFrame) -> Sequence[Any]:
    here = [task for task in [NONE, *TASKS] if task in set(data["task"])]
    return [style.key(WORDS.get(task, task.replace("_", " ")), color=COLOURS[task]) for task in here]
