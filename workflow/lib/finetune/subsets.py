"""Parts of the training patients: nested, drawn by patient."""

import logging
from pathlib import Path

import numpy as np

from workflow.lib.data.prepared import Prepared
from workflow.lib.job.run import UserError, derive_seed

log = logging.getLogger("medseg")


def training_patients(data: Prepared, patients: int, draw: int, where: Path) -> set[str]:
    """The training patients (groups) that are fine-tuned on: `patients` of them, or all (0).

    Each `draw` is an order of all, of which the first so many are taken: smaller sets are parts of larger ones. The first one
    is drawn among those that show most of the classes, so that no set is without foreground. Raises `UserError` where there
    are fewer patients, or none shows a class.
    """
    rows = np.flatnonzero(data.items["part"] == "train")
    groups = data.items["group"].to_numpy()[rows]
    everybody = np.unique(groups.astype(str))
    if not patients:
        return set(everybody.tolist())
    if patients > len(everybody):
        raise UserError(
            f"{data.card['target']} has fewer training patients than are asked for",
            found=f"{len(everybody)} training patients",
            expected=f"{patients}, or more",
            where=f"{where / 'items.csv'}, config: study.train_patients",
            next=f"choose numbers up to {len(everybody)}, and `all`",
        )
    shown: dict[str, set[int]] = {name: set() for name in everybody.tolist()}
    for row, group in zip(rows, groups, strict=True):
        shown[str(group)] |= set(np.unique(data.masks[row]).tolist()) - {0}
    most = max(map(len, shown.values()))
    if not most:
        raise UserError(
            f"no training patient of {data.card['target']} shows a class",
            found="masks of background alone",
            expected=f"foreground of {', '.join(data.card['classes'])}",
            where=where / "masks.npy",
            next="check the masks of this target and its crop",
        )
    rng = np.random.default_rng(derive_seed("patients", data.card["target"], draw))
    first = str(rng.choice([name for name in everybody if len(shown[str(name)]) == most]))
    order = [first, *(str(name) for name in rng.permutation(everybody) if name != first)]
    return set(order[:patients])


def classes_lacking(data: Prepared, patients: set[str]) -> list[str]:
    """The classes that no training image of these patients shows, with a warning: they are not learnt. A part of the training
    patients may lack a class, those of a fold too."""
    left = dict(enumerate(data.card["classes"], start=1))
    chosen = data.items[(data.items["part"] == "train") & data.items["group"].isin(patients)]
    for row in chosen.index:
        if not left:
            break
        for label in np.unique(data.masks[row]).tolist():
            left.pop(label, None)
    lacking = list(left.values())
    if lacking:
        log.warning(
            "%s: no image of the %d training patients used shows %s: it is not learnt, and its Dice says nothing of the start",
            *(data.card["target"], len(patients), ", ".join(lacking)),
        )
    return lacking
