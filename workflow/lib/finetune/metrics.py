"""Segmentation metrics in the released column names, from probabilities and masks, set-wide (paper) or per case (sound)."""

import warnings

import numpy as np
import pandas as pd
from scipy.ndimage import distance_transform_edt

Array = np.ndarray


def confusion(truth: Array, guess: Array) -> Array:
    """True positives, false positives, false negatives, true negatives of two boolean arrays."""
    return np.array([(truth & guess).sum(), (~truth & guess).sum(), (truth & ~guess).sum(), (~truth & ~guess).sum()])


def dice(counts: Array, smooth: float) -> float:
    """(2 TP + smooth) / (2 TP + FP + FN + smooth); NaN where truth and guess are empty and `smooth` is 0."""
    tp, fp, fn, _ = counts
    return _ratio(2 * tp + smooth, 2 * tp + fp + fn + smooth)


def jaccard(counts: Array, smooth: float) -> float:
    """(TP + smooth) / (TP + FP + FN + smooth)."""
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


def area_under_roc(truth: Array, probability: Array) -> float:
    """Area under the ROC curve by ranks (ties count half); NaN with one label only."""
    positives, count = int(truth.sum()), truth.size
    if positives in (0, count):
        return float("nan")
    # Mean ranks of tied values; scipy.stats would do the same and take a second to import in every job.
    _, which, ties = np.unique(probability, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(ties) - (ties - 1) / 2)[which.ravel()]
    return float((ranks[truth.ravel()].sum() - positives * (positives + 1) / 2) / (positives * (count - positives)))


def average_precision(truth: Array, probability: Array) -> float:
    """Sum over thresholds of precision times gain in recall; NaN without positives."""
    truth, probability = truth.ravel(), probability.ravel()
    if not truth.any():
        return float("nan")
    order = np.argsort(-probability, kind="stable")
    hits = np.cumsum(truth[order])
    last = np.append(np.diff(probability[order]) != 0, True)  # one threshold per distinct probability
    precision, recall = hits[last] / (np.flatnonzero(last) + 1), hits[last] / hits[-1]
    return float((precision * np.diff(recall, prepend=0)).sum())


def modified_hausdorff(truth: Array, guess: Array) -> float:
    """95th percentile of the distances in pixels from every foreground pixel of one mask to the other, both directions
    pooled, as the study computes it; NaN where a mask is empty."""
    if not truth.any() or not guess.any():
        return float("nan")
    to_truth, to_guess = distance_transform_edt(~truth), distance_transform_edt(~guess)
    return float(np.percentile(np.concatenate([to_truth[guess], to_guess[truth]]), 95))


def case_table(cases: list[str], probabilities: list[Array], masks: list[Array], classes: list[str]) -> pd.DataFrame:
    """One row per case and class: tp, fp, fn, tn, dice, jaccard (NaN where the class is neither there nor predicted).

    cases: name of the case of each tile; probabilities: (K+1, h, w) each, background first; masks: (h, w) each.
    """
    counts: dict[tuple[str, str], Array] = {}
    for case, probability, mask in zip(cases, probabilities, masks, strict=True):
        labels = predicted(probability)
        for label, name in enumerate(classes, start=1):
            counts[case, name] = counts.get((case, name), 0) + confusion(mask == label, labels == label)
    rows = [
        {
            "case": case,
            "class": name,
            **dict(zip(("tp", "fp", "fn", "tn"), map(int, c), strict=True)),
            "dice": dice(c, 0),
            "jaccard": jaccard(c, 0),
        }
        for (case, name), c in counts.items()
    ]
    return pd.DataFrame(rows)


def predicted(probability: Array) -> Array:
    """Labels (h, w) of probabilities (K+1, h, w): at least 0.5 for one class, else the largest."""
    return (probability[1] >= 0.5).astype(int) if len(probability) == 2 else probability.argmax(axis=0)


def summary(
    cases: pd.DataFrame, probabilities: list[Array], masks: list[Array], protocol: str, batch: int
) -> dict[str, float]:
    """The released columns of one fine-tuning, without those that do not apply.

    `paper`: Dice, Jaccard and the like from confusion matrices over the whole set, rank metrics and distances per batch of
    `batch` tiles, then averaged. `sound`: Dice and Jaccard per case, then averaged (a class that a case neither shows nor
    is predicted to show is left out); the other columns as under `paper`.
    """
    totals = {
        name: rows[["tp", "fp", "fn", "tn"]].sum().to_numpy() for name, rows in cases.groupby("class", sort=False)
    }
    several = len(totals) > 1
    result = {} if several else binary_metrics(next(iter(totals.values())), 1)
    if several:
        hits = [(predicted(p) == m).mean() for p, m in zip(probabilities, masks, strict=True)]
        present = [counts for counts in totals.values() if counts[:3].any()]
        result = {
            "accuracy": _mean(np.mean(hits[start : start + batch]) for start in range(0, len(hits), batch)),
            "mean dice index": _mean(dice(counts, 1) for counts in present),
            "mean jaccard index": _mean(jaccard(counts, 1) for counts in present),
        }
    if protocol == "sound":
        per_case = cases.groupby("case")[["dice", "jaccard"]].mean().mean()
        names = (
            {"dice": "mean dice index", "jaccard": "mean jaccard index"}
            if several
            else {"dice": "dice index", "jaccard": "jaccard index"}
        )
        result |= {column: float(per_case[name]) for name, column in names.items()}
    return result | _batch_metrics(probabilities, masks, batch)


def _batch_metrics(probabilities: list[Array], masks: list[Array], batch: int) -> dict[str, float]:
    found: dict[str, list[float]] = {
        "area under roc": [],
        "average precision score": [],
        "modified hausdorff distance": [],
    }
    labels = range(1, len(probabilities[0]))
    for start in range(0, len(masks), batch):
        p, m = np.stack(probabilities[start : start + batch]), np.stack(masks[start : start + batch])
        found["area under roc"].append(_mean(area_under_roc(m == label, p[:, label]) for label in labels))
        found["average precision score"].append(_mean(average_precision(m == label, p[:, label]) for label in labels))
        pairs = ((mask > 0, predicted(probability) > 0) for mask, probability in zip(m, p, strict=True))
        # Batches in which all distances are zero do not count in the study.
        distance = _mean(modified_hausdorff(truth, guess) for truth, guess in pairs)
        found["modified hausdorff distance"].append(distance or float("nan"))
    return {name: _mean(values) for name, values in found.items()}


def _mean(values) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # nothing but NaN: the mean is NaN, an empty cell of the table
        return float(np.nanmean(list(values)))


def _ratio(above: float, below: float) -> float:
    return float(above / below) if below else float("nan")
