"""Contact sheets of a target: its images as networks see them, and the segmentations of several starts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.patches import Patch, Rectangle

from workflow.lib.data.lost import lost_lesions
from workflow.lib.data.prepared import Prepared, load_prepared, shown_rows
from workflow.lib.finetune.kept import read_predictions
from workflow.lib.gallery.choose import Start, dice_of_cases, shown_cases, shown_starts
from workflow.lib.gallery.pictures import View, errors_over, masks_over, of_interest, outline, picture, truth, whole
from workflow.lib.job.run import UserError, read_json
from workflow.lib.paper import style

COLUMNS, ROWS = 6, 2  # of a sheet of images
FEW = 4  # classes whose Dice has room below a panel
WHOLE = "whole picture"
NOT_KEPT = "not kept by\nthis fine-tuning"


def draw_images(*, data: str | Path, names: bool, pdf: str, png: str, csv: str) -> None:
    """A sheet of training images as networks see them, their masks outlined; `csv`: what each panel shows.

    Twelve pictures, evenly spaced, of a patient each where there are as many; of six volumes two slices each (`shown_rows`), of
    six pictures that are cut into windows each picture and its window with most labelled pixels. data: a folder of
    `load_prepared`; names: whether cases are named.
    """
    prepared = load_prepared(data)
    classes = prepared.card["classes"]
    shown = _panels_of_images(prepared)
    lines = -(-len(shown) // COLUMNS)
    figure, axes = style.sheet(lines, -(-len(shown) // lines), shape=prepared.masks.shape[1:])
    rows = []
    for number, (axis, (what, view)) in enumerate(zip(axes.flat, shown, strict=False), start=1):
        case, labels = prepared.items["case"].iat[view.row], truth(prepared, view)
        axis.imshow(picture(prepared, view))
        outline(axis, labels, len(classes))
        if prepared.card["windows"] and what == WHOLE:
            window = of_interest(prepared, view.row)
            corner, side = (window.columns.start, window.rows.start), prepared.card["windows"]["window"]
            axis.add_patch(Rectangle(corner, side, side, fill=False, edgecolor="white", linewidth=0.7))
        axis.set_title("\n".join([*([_shortened(case)] if names else []), what]) if what or names else "", fontsize=6)
        shares = {f"percent {name}": round(100 * float((labels == k).mean()), 3) for k, name in enumerate(classes, 1)}
        rows.append({"panel": number, **({"case": case} if names else {}), "shows": what or "picture", **shares})
    for axis in axes.flat[len(shown) :]:
        axis.set_axis_off()
    keys = _class_keys(classes) or [style.key("without masks", color="none")]
    style.legend_below(figure, keys, _about_images(prepared))
    style.save_figure(figure, pd.DataFrame(rows), pdf=pdf, png=png, csv=csv)


def _panels_of_images(data: Prepared) -> list[tuple[str, View]]:
    """What each panel of a sheet of images shows, in words, and where."""
    training = data.items[data.items["part"] == "train"].drop_duplicates("case")
    several = bool(data.card["windows"]) or data.items["case"].duplicated().any()
    number = COLUMNS * ROWS // (2 if several else 1)
    patients = training.drop_duplicates("group")
    if len(patients) >= number:
        training = patients
    places = np.linspace(0, len(training) - 1, min(number, len(training))).astype(int)
    chosen = training["case"].iloc[places]
    panels = []
    for case in chosen:
        for what, row in _named_rows(data, case):
            if data.card["windows"]:
                panels += [(WHOLE, whole(data, row)), ("a window of it", of_interest(data, row))]
            else:
                panels.append((what, whole(data, row)))
    return panels


def _named_rows(data: Prepared, case: str) -> list[tuple[str, int]]:
    """The items by which a case is shown (`shown_rows`), in words where it is a volume."""
    rows = shown_rows(data, case)
    volumes = data.items["case"].duplicated().any()
    return list(zip(["middle slice", "slice with most labels"] if volumes else [""], rows, strict=False))


def _about_images(data: Prepared) -> str:
    """The lines below a sheet of images: how they were brought to size, and what that loses."""
    card, items = data.card, data.items
    training = items[items["part"] == "train"]
    size, window = card["image_size"], card.get("window")
    known = card.get("groups") != "unknown"
    patients = f"of {training['group'].nunique()} patients" if known else "(patients not known)"
    said = [f"{card['target']}: {training['case'].nunique()} training cases {patients}, {size} pixels"]
    if window:
        said.append(f"black to white: intensities {window[0]:g} to {window[1]:g}")
    elif training["range"].nunique() == 1:
        said.append(f"black to white: 0 to {training['range'].iat[0]:g}")
    else:
        low, high = training["range"].min(), training["range"].max()
        said.append(f"black to white: 0 to a value of each case, {low:.4g} to {high:.4g}")
    lost = [f"Lesions lost in the resize: {of_class}." for of_class in lost_lesions(card["lost_lesions"])]
    twins = [f"{card['copies']} cases have an image that another patient or split has too."] if card["copies"] else []
    return "\n".join(["; ".join(said) + ".", *lost, *twins])


def draw_segmentations(
    *, data: str | Path, answer: str | Path, cards: Sequence[str | Path], names: bool, pdf: str, png: str, csv: str
) -> None:
    """A sheet of segmentations of test cases from the best start, the default and random weights, first seed; `csv`: their
    Dice by class.

    Cases: the best, the median and the worst by the best start's Dice. data: a folder of `load_prepared`; answer: answer.json;
    cards: see `shown_starts`; names: whether cases are named. Where a fine-tuning kept no predictions, its panels say so.
    """
    prepared = load_prepared(data)
    target, classes = prepared.card["target"], prepared.card["classes"]
    starts = shown_starts(read_json(answer)["targets"][target]["start"], cards)
    dice = [dice_of_cases(start.folder) for start in starts]
    cases = shown_cases(dice[0])
    if not cases:
        style.nothing_to_draw("no test case shows a class", pdf=pdf, png=png, csv=csv)
        return
    kept = [_kept(start.folder, prepared) for start in starts]
    views = [(case, what, of_interest(prepared, row)) for case in cases for what, row in _named_rows(prepared, case)]
    shapes = [truth(prepared, view).shape for _, _, view in views]
    figure, axes = style.sheet(len(views), 2 + 2 * len(starts), shape=max(shapes, key=lambda s: s[0] / s[1]), left=0.45)
    for row, (case, what, view) in zip(axes, views, strict=True):
        words = [f"{cases[case]} case", *([_shortened(case)] if names else []), *([what] if what else [])]
        row[0].set_ylabel("\n".join(words), fontsize=6.5)
        image, true = picture(prepared, view), truth(prepared, view)
        row[0].imshow(image)
        row[1].imshow(masks_over(image, true, len(classes)))
        for start, (table, labels) in enumerate(zip(dice, kept, strict=True)):
            guess = labels[view.row][view.rows, view.columns] if labels else None
            _draw_prediction(row[2 + 2 * start : 4 + 2 * start], image, true, guess, len(classes))
            row[2 + 2 * start].set_xlabel(_dice_words(table.loc[case]), fontsize=6)
    for axis, title in zip(
        axes[0], ["image", "truth", *(word for s in starts for word in (s.title, "its errors"))], strict=True
    ):
        axis.set_title(title, fontsize=6.5)
    style.legend_below(
        figure, [*_class_keys(classes), *_error_keys(len(classes))], _about_dice(target, classes, prepared)
    )
    style.save_figure(figure, _dice_table(starts, dice, cases, names), pdf=pdf, png=png, csv=csv, optional=["dice"])


def _kept(folder: Path, data: Prepared) -> dict[int, np.ndarray] | None:
    """The predictions of a fine-tuning (`read_predictions`). Raises `UserError` where they are of other data."""
    labels = read_predictions(folder)
    if labels and next(iter(labels.values())).shape != data.masks.shape[1:]:
        raise UserError(
            "kept predictions are of other data",
            found=f"{next(iter(labels.values())).shape} pixels",
            expected=f"{data.masks.shape[1:]} pixels, as the prepared target has",
            where=folder,
            next=f"rm {folder}/predictions.npz, then run the same command again: they will be shown as not kept",
        )
    return labels


def _draw_prediction(
    axes: Sequence[Axes], image: np.ndarray, true: np.ndarray, labels: np.ndarray | None, classes: int
) -> None:
    """A prediction and its errors; labels None: none was kept."""
    if labels is None:
        for axis in axes:
            axis.imshow(np.ones_like(image))
            axis.text(0.5, 0.5, NOT_KEPT, transform=axis.transAxes, ha="center", va="center", fontsize=5.5)
        return
    axes[0].imshow(masks_over(image, labels, classes))
    axes[1].imshow(errors_over(image, labels, true))


def _dice_words(dice: pd.Series) -> str:
    """Dice of a case below a panel: of few classes each, else the mean."""
    if len(dice) > FEW:
        return f"Dice {dice.mean():.2f} (mean)"
    return "Dice " + "  ".join("–" if np.isnan(value) else f"{value:.2f}" for value in dice)


def _about_dice(target: str, classes: Sequence[str], data: Prepared) -> str:
    size = "at the size of the original masks" if data.card["protocol"]["aspect"] == "kept" else "at the size shown"
    order = f", of {', '.join(classes)}" if 1 < len(classes) <= FEW else ""
    window = " Of every picture, the window with most labelled pixels is shown." if data.card["windows"] else ""
    return f"{target}: Dice of the case{order} ({size}); –: neither there nor predicted.{window}"


def _dice_table(
    starts: Sequence[Start], dice: Sequence[pd.DataFrame], cases: dict[str, str], names: bool
) -> pd.DataFrame:
    rows: list[dict[str, Any]] = [
        {
            "case": place,
            **({"name": case} if names else {}),
            "start": start.title.replace("\n", " "),
            "class": column,
            "dice": value,
        }
        for case, place in cases.items()
        for start, table in zip(starts, dice, strict=True)
        for column, value in table.loc[case].items()
    ]
    return pd.DataFrame(rows)


def _class_keys(classes: Sequence[str]) -> list[Artist]:
    return [Patch(color=style.class_colour(label), label=name) for label, name in enumerate(classes, 1)]


def _error_keys(classes: int) -> list[Artist]:
    kinds = [kind for kind in style.ERROR_COLOURS if classes > 1 or kind != "another class"]
    return [
        Patch(
            facecolor=style.ERROR_COLOURS[kind],
            edgecolor=style.INK,
            linewidth=0.5,
            label=kind if kind == "correct" else f"errors: {kind}",
        )
        for kind in kinds
    ]


def _shortened(case: str) -> str:
    return case if len(case) <= 24 else f"{case[:11]}…{case[-11:]}"
