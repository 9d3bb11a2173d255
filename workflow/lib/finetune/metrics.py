"""Segmentation metrics in the released column names: set-wide as in the study (paper) or per case (sound)."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.ndimage import binary_erosion, distance_transform_edt, find_objects

Array = np.ndarray

COUNTS = ["tp", "fp", "fn", "tn"]
HAUSDORFF, ROC, PRECISION = "modified hausdorff distance", "area under roc", "average precision score"


@dataclass(frozen=True)
class Case:
    """A volume, or an image as a volume of one slice (d = 1), with its prediction.

    truth: (d, h, w) uint8 labels 0..K; probability: (K+1, d, h, w) float32 in 0..1, background first; spacing: mm
    (pixels where unknown) along d, h and w; along d it is not used where d = 1.
    """

    name: str
    truth: Array
    probability: Array
    spacing: tuple[float, float, float]


@dataclass(frozen=True)
class Segmentation:
    """What is compared of a case: truth and labels (d, h, w) uint8, spacing as of `Case`."""

    truth: Array
    labels: Array
    spacing: tuple[float, float, float]


def as_assembled(case: Case) -> Segmentation:
    """A case as it is, at the network's size."""
    return Segmentation(case.truth, predicted(case.probability), case.spacing)


def predicted(probability: Array) -> Array:
    """Labels (..., h, w) uint8 of probabilities (K+1, ..., h, w): at least 0.5 for one class, else the largest."""
    labels = probability[1] >= 0.5 if len(probability) == 2 else probability.argmax(axis=0)
    return labels.astype(np.uint8)


def confusion(truth: Array, guess: Array) -> Array:
    """True positives, false positives, false negatives, true negatives of two boolean arrays."""
    tp, shown, found = (np.count_nonzero(array) for array in (truth & guess, truth, guess))
    return np.array([tp, found - tp, shown - tp, truth.size - shown - found + tp])


def dice(counts: Array, smooth: float) -> float:
    """(2 TP + smooth) / (2 TP + FP + FN + smooth); NaN where truth and guess are empty and `smooth` is 0."""
    tp, fp, fn, _ = counts
    return _ratio(2 * tp + smooth, 2 * tp + fp + fn + smooth)


def jaccard(counts: Array, smooth: float) -> float:
    """(TP + smooth) / (TP + FP + FN + smooth); NaN where truth and guess are empty and `smooth` is 0."""
    tp, fp, fn, _ = counts
    return _ratio(tp + smooth, tp + fp + fn + smooth)


def binary_metrics(counts: Array, smooth: float) -> dict[str, float]:
    """Metrics of one confusion matrix; NaN where a ratio has no denominator."""
    tp, fp, fn, tn = (float(value) for value in counts)
    sensitivity, specificity = _ratio(tp, tp + fn), _ratio(tn, tn + fp)
    return {
        "accuracy": _ratio(tp + tn, tp + fp + fn + tn),
        "balanced accuracy": (sensitivity + specificity) / 2,
        "sensitivity": sensitivity,
        "specificity": specificity,
        "precision": _ratio(tp, tp + fp),
        "dice index": dice(counts, smooth),
        "jaccard index": jaccard(counts, smooth),
        "mcc": _ratio(tp * tn - fp * fn, np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))),
    }


def rank_metrics(truth: Array, probability: Array) -> dict[str, float]:
    """Area under the ROC curve (ties count half) and average precision, the sum over thresholds of precision times
    gain in recall; both NaN unless `truth` (boolean, any shape) holds both labels."""
    positives, negatives = np.sort(probability[truth]), np.sort(probability[~truth])
    if not len(positives) or not len(negatives):
        return {ROC: float("nan"), PRECISION: float("nan")}
    below, not_above = (np.searchsorted(negatives, positives, side) for side in ("left", "right"))
    # Recall is gained at the probabilities of positives only, 1 / positives at each: AP is a mean of precisions.
    tp = len(positives) - np.searchsorted(positives, positives, "left")
    fp = len(negatives) - below
    return {
        ROC: float((below + not_above).mean() / (2 * len(negatives))),
        PRECISION: float((tp / (tp + fp)).mean()),
    }


def modified_hausdorff(truth: Array, guess: Array) -> float:
    """95th percentile of the distances in pixels from every foreground pixel of one mask (h, w) to the other, both
    directions pooled, as the study computes it; NaN where a mask is empty."""
    if not truth.any() or not guess.any():
        return float("nan")
    box = find_objects((truth | guess).astype(np.uint8))[0]  # holds all nearest pixels; the rest would only cost time
    truth, guess = truth[box], guess[box]
    to_truth, to_guess = distance_transform_edt(~truth), distance_transform_edt(~guess)
    return float(np.percentile(np.concatenate([to_truth[guess], to_guess[truth]]), 95))


def study_metrics(probabilities: list[Array], masks: list[Array], batch: int) -> dict[str, float]:
    """`batched_metrics` of tiles in the order of their evaluation, `batch` at a time; the last batch may be smaller.

    probabilities: (K+1, h, w) each, background first; masks: (h, w) labels 0..K each.
    """
    starts = range(0, len(masks), batch)
    return batched_metrics(
        (np.stack(probabilities[start : start + batch]), np.stack(masks[start : start + batch])) for start in starts
    )


def batched_metrics(batches: Iterable[tuple[Array, Array]]) -> dict[str, float]:
    """The columns of the study's release, without those that do not apply, from probabilities (n, K+1, h, w) and masks
    (n, h, w) of each batch.

    One class: Dice (smoothed by 1), accuracy and the like from one confusion matrix over all pixels of all batches.
    Several: Dice and Jaccard per class from such matrices, averaged over the classes 1..K that are shown or predicted
    anywhere; accuracy is a mean over batches. Rank metrics and Hausdorff are computed per batch and class (Hausdorff:
    mean over the tiles that show and predict the class), then averaged over classes, then over batches. What is
    undefined (a class absent from a batch) is left out of each mean.
    """
    counts, rows, accuracies = [], [], []
    for number, (probability, mask) in enumerate(batches):
        labels = predicted(np.moveaxis(probability, 1, 0))
        accuracies.append(float((labels == mask).mean()))
        pairs = [(mask == label, labels == label) for label in range(1, probability.shape[1])]
        counts.append([confusion(truth, guess) for truth, guess in pairs])
        for label, (truth, guess) in enumerate(pairs, start=1):
            distance = _mean(map(modified_hausdorff, truth, guess))
            rows.append({"batch": number, HAUSDORFF: distance, **rank_metrics(truth, probability[:, label])})
    totals = np.sum(counts, axis=0)
    per_batch = pd.DataFrame(rows).groupby("batch").mean()
    # Batches in which all distances are zero do not count in the study.
    per_batch[HAUSDORFF] = per_batch[HAUSDORFF].replace(0, np.nan)
    result = {name: float(value) for name, value in per_batch.mean().items()}
    if len(totals) == 1:
        return binary_metrics(totals[0], 1) | result
    present = [total for total in totals if total[:3].any()]
    return result | {
        "accuracy": _mean(accuracies),
        "mean dice index": _mean(dice(total, 1) for total in present),
        "mean jaccard index": _mean(jaccard(total, 1) for total in present),
    }


def confusion_table(
    names: list[str], probabilities: list[Array], masks: list[Array], classes: list[str]
) -> pd.DataFrame:
    """One row per case and class: tp, fp, fn, tn in pixels, dice, jaccard (NaN where the class is neither there nor
    predicted); tiles of one case are counted together. Light enough for every epoch.

    names: name of the case of each tile; probabilities: (K+1, h, w) each, background first; masks: (h, w) each.
    """
    counts: dict[tuple[str, str], Array] = {}
    for case, probability, mask in zip(names, probabilities, masks, strict=True):
        labels = predicted(probability)
        for label, name in enumerate(classes, start=1):
            counts[case, name] = counts.get((case, name), 0) + confusion(mask == label, labels == label)
    rows = [
        {"case": case, "class": name, **_named(c), "dice": dice(c, 0), "jaccard": jaccard(c, 0)}
        for (case, name), c in counts.items()
    ]
    return pd.DataFrame(rows)


def case_table(cases: Iterable[tuple[Case, Segmentation]], classes: list[str]) -> pd.DataFrame:
    """One row per case and class: case, class, tp, fp, fn, tn (voxels), dice, jaccard, hausdorff95, area under roc,
    average precision score; the last two from the case's probabilities, all else from its segmentation.

    dice and jaccard are 0 where the truth is empty and something was predicted, as with MONAI's ignore_empty=False: with
    ignore_empty=True such cases are left out, and a network that finds disease in healthy cases pays nothing for it. They
    are NaN, to be left out of means, where both are empty: MONAI's 1 there would reward every class that hardly occurs.
    The rank metrics are those of all voxels of the case, one class against the rest, NaN where the truth lacks the class.
    All are equal to MONAI's (tested), whose import takes longer than many a job.
    """
    return pd.DataFrame([row for case, found in cases for row in _case_rows(case, found, classes)])


def _case_rows(case: Case, found: Segmentation, classes: list[str]) -> Iterable[dict[str, float | str]]:
    for label, name in enumerate(classes, start=1):
        truth, guess = found.truth == label, found.labels == label
        counts = confusion(truth, guess)
        yield {
            "case": case.name,
            "class": name,
            **_named(counts),
            "dice": dice(counts, 0),
            "jaccard": jaccard(counts, 0),
            "hausdorff95": hausdorff95(truth, guess, found.spacing),
            **rank_metrics(case.truth == label, case.probability[label]),
        }


def hausdorff95(truth: Array, guess: Array, spacing: tuple[float, ...]) -> float:
    """The larger of the two directed 95th percentiles of distances between border voxels of boolean volumes (d, h, w), in the
    unit of `spacing`; NaN where truth or prediction is empty.

    A voxel is of the border where a neighbour across a face, or the outside of the image, is not of the mask. One slice
    (d = 1) is measured in its plane: as a volume it would be nothing but border. Nikolov et al., arXiv 1809.04430, as in MONAI.
    """
    if not truth.any() or not guess.any():
        return float("nan")
    if len(truth) == 1:
        truth, guess, spacing = truth[0], guess[0], spacing[1:]
    box = find_objects((truth | guess).astype(np.uint8))[0]  # holds both borders; the rest would only cost time
    truth, guess = truth[box], guess[box]
    borders = [mask & ~binary_erosion(mask) for mask in (truth, guess)]
    away = [distance_transform_edt(~border, sampling=spacing) for border in borders]
    return float(max(np.percentile(away[0][borders[1]], 95), np.percentile(away[1][borders[0]], 95)))


def case_metrics(table: pd.DataFrame) -> dict[str, float]:
    """Columns of the run table from `case_table`: the mean over classes within each case, then over cases; NaN is left
    out.

    Several classes: no accuracy, which needs the background's counts too, nor the other columns of one class.
    """
    several = table["class"].nunique() > 1
    names = {
        "dice": "mean dice index" if several else "dice index",
        "jaccard": "mean jaccard index" if several else "jaccard index",
        "hausdorff95": "hausdorff distance 95",
    }
    values = table.rename(columns=names)[["case", *names.values(), ROC, PRECISION]]
    if not several:
        ratios = pd.DataFrame([binary_metrics(counts, 0) for counts in table[COUNTS].to_numpy()], index=table.index)
        values = values.join(ratios.drop(columns=["dice index", "jaccard index"]))
    return {name: float(value) for name, value in values.groupby("case").mean().mean().items()}


def _named(counts: Array) -> dict[str, int]:
    return dict(zip(COUNTS, map(int, counts), strict=True))


def _mean(values: Iterable[float]) -> float:
    """The mean without NaN; NaN of nothing."""
    return float(pd.Series(list(values), dtype=float).mean())


def _ratio(above: float, below: float) -> float:
    return float(above / below) if below else float("nan")
