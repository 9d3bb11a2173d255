"""Dice of single patients: from the tables of cases of a fine-tuning, and from the run's table of all of them."""

from pathlib import Path

import numpy as np
import pandas as pd

from workflow.lib.job.csv import read_table
from workflow.lib.tables.read import (
    CURVE,
    DOWNSTREAM,
    DOWNSTREAM_KEY,
    name_downstream,
    read_raw,
    refuse_conflicts,
    refuse_impossible,
    settle,
    told_apart,
)

Patients = dict[str, np.ndarray]


def patients_of(items: str | Path) -> pd.Series:
    """The patient (group) of each case of a prepared target, from its items.csv."""
    text = {"case": str, "group": str}
    rows = read_table(items, dtype=text, keep_default_na=False)
    return rows.drop_duplicates("case").set_index("case")["group"]


def read_cases(path: str | Path) -> pd.DataFrame:
    """The table of cases of a fine-tuning job: columns seed, case, class, dice and others, a row per seed, case and class. Cases
    and classes are names, NA too."""
    return read_table(path, dtype={"case": str, "class": str}, keep_default_na=False, na_values=[""])


def patients_dice(rows: pd.DataFrame, patients: pd.Series) -> pd.Series:
    """Dice (0..1) of each patient in `rows` of tables of cases: means over classes, then over the patient's cases; patients
    without any value are left out. patients: of each case."""
    per_case = rows.groupby("case")["dice"].mean()
    return per_case.groupby(per_case.index.map(patients)).mean().dropna()


def read_patients(path: str | Path, results: pd.DataFrame) -> Patients:
    """Dice of each patient (checkpoints x seeds, patients), by data set; nan where there is none. Checkpoints in the order of
    `summarise(results)`, seeds in ascending order. Raises `UserError` as `read_downstream`."""
    raw = read_raw(path, [*DOWNSTREAM, "patient", "dice index"]).drop_duplicates()
    frame = name_downstream(raw).assign(patient=raw["patient"].astype(str))
    refuse_impossible(frame, path)
    refuse_conflicts(frame, [*DOWNSTREAM_KEY, "patient"], path)
    frame = told_apart(settle(frame))
    seeds = np.sort(results["seed"].unique())
    keys = (
        results[[*CURVE, "epochs"]]
        .drop_duplicates()
        .sort_values([*CURVE, "epochs"])
        .merge(pd.DataFrame({"seed": seeds}), how="cross")
    )
    order = pd.MultiIndex.from_frame(keys[DOWNSTREAM_KEY])
    found = {}
    for name, part in frame.groupby("dataset"):
        wide = part.pivot(index=DOWNSTREAM_KEY, columns="patient", values="dice").reindex(order)
        found[str(name)] = wide.to_numpy()
    return found
