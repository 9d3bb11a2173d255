"""What a fine-tuning keeps of its predictions: labels of the test items by which its cases are shown. Light: no torch."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from workflow.lib.data.prepared import Prepared, shown_rows
from workflow.lib.job.run import UserError, atomic_path, reason

# Beside card.json, but no output of the rule: fine-tunings of an earlier version, which lack it, are not repeated.
PREDICTIONS = "predictions.npz"


def blank_labels(data: Prepared) -> dict[int, np.ndarray]:
    """{row: background (H, W) uint8} of the items by which the test cases are shown (`shown_rows`)."""
    cases = data.items.loc[data.items["part"] == "test", "case"].unique()
    rows = sorted(row for case in cases for row in shown_rows(data, case))
    return {row: np.zeros(data.masks.shape[1:], np.uint8) for row in rows}


def write_predictions(folder: Path, labels: Mapping[int, np.ndarray]) -> None:
    """Write the labels (H, W) uint8 of each row of the data's items, compressed."""
    with atomic_path(folder / PREDICTIONS) as temporary:
        np.savez_compressed(temporary, rows=np.array(list(labels)), labels=np.stack(list(labels.values())))


def read_predictions(folder: Path) -> dict[int, np.ndarray] | None:
    """What `write_predictions` wrote; None where nothing was kept. Raises `UserError` for a damaged file."""
    path = folder / PREDICTIONS
    if not path.exists():
        return None
    try:
        with np.load(path) as stored:
            return dict(zip(stored["rows"].tolist(), stored["labels"], strict=True))
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(
            "unreadable predictions of a fine-tuning",
            found=reason(error),
            expected="the labels that its network predicted for test images",
            where=path,
            next=f"rm '{path}', then run the same command again: they will be shown as not kept",
        ) from error
