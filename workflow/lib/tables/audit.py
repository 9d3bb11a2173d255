"""Audit of a run's two tables: what is odd in them, and how it is treated; a table, and a text for people."""

import re
from itertools import combinations
from pathlib import Path

import pandas as pd

from workflow.lib.job.run import atomic_path
from workflow.lib.tables import audit_checks, read
from workflow.lib.tables.audit_text import COLUMNS, NOUNS, REFUSED, Audited, Finding, finding, said, summary
from workflow.lib.tables.headed import write_table
from workflow.lib.tables.read import RUN, SETTING

HEAD = """Findings in the two input files of this run, one row each. An audit, no estimate: it has no intervals.
count: rows of the file; but cells (missing cell), checkpoints (uneven lengths, conflicting accuracy), score curves (constant,
tied). Score curves run over the lengths > 0; tied ones include the constant ones.
missing cell: of the product of the labels found, every checkpoint x data set x (fine-tuning mode and seed, or
setting of the score).
identical blocks: the values of a checkpoint over all seeds or settings equal another's bit for bit; the first not counted.
inconsistent label: rows with a spelling that is not the name it is read as. A possible value may still be wrong."""


def write_audit(downstream: str | Path, robustness: str | Path, output: str | Path, text: str | Path) -> None:
    """Write the findings in both files (`COLUMNS`) and a summary for people. `UserError` only for unreadable files."""
    results, scores = audit_downstream(Path(downstream)), audit_robustness(Path(robustness))
    labels = audit_labels(results, scores)
    write_table(pd.DataFrame(results.findings + scores.findings + labels, columns=COLUMNS), output, HEAD)
    with atomic_path(text) as temporary:
        temporary.write_text(summary(results, scores, labels))


def audit_downstream(path: Path) -> Audited:
    """Findings in the fine-tuning results alone."""
    file, raw = path.name, read.read_raw(path, [*read.DOWNSTREAM, "dice index"])
    frame = read.name_downstream(raw)
    found, placed, sound = audit_checks.check_rows(file, raw, frame, read.DOWNSTREAM_KEY)
    grid, product = audit_checks.declared_grid(placed, ["model", "encoder"], ["dataset", "freeze", "seed"])
    by = ["dataset", "seed", "model", "scheme", "freeze"] + (["pretrain_seed"] if _several_seeds(placed) else [])
    missing, coverage = audit_checks.missing_cells(file, grid, placed, by)
    found += missing + audit_checks.uneven_lengths(file, placed) + audit_checks.conflicting_accuracies(file, sound)
    block = ["dataset", "model", "freeze", *audit_checks.CHECKPOINT]
    found += audit_checks.identical_blocks(file, sound, block, ["seed"], "dice")
    spelled = raw.rename(columns=read.DOWNSTREAM).assign(encoder=raw["encoder"] if "encoder" in raw else raw["model"])
    return Audited(file, frame, spelled, _used(found, len(sound)), f"{product} = {coverage}", found)


def audit_robustness(path: Path) -> Audited:
    """Findings in the robustness scores alone."""
    file, raw = path.name, read.read_raw(path, list(read.ROBUSTNESS))
    frame = read.name_robustness(raw)
    found, placed, sound = audit_checks.check_rows(file, raw, frame, read.ROBUSTNESS_KEY)
    grid, product = audit_checks.declared_grid(placed, ["encoder"], ["dataset", "metric", "margin", "pooled"])
    missing, coverage = audit_checks.missing_cells(
        file, grid, placed, ["dataset", *(RUN if _several_seeds(placed) else RUN[:2])]
    )
    found += missing + audit_checks.uneven_lengths(file, placed) + audit_checks.flat_curves(file, sound)
    found += audit_checks.identical_blocks(file, sound, ["dataset", *audit_checks.CHECKPOINT], SETTING, "score")
    used = _used(found, len(sound) - int(read.repeats_trained(sound).sum()))
    return Audited(file, frame, raw.rename(columns=read.ROBUSTNESS), used, f"{product} = {coverage}", found)


def audit_labels(*files: Audited) -> list[Finding]:
    """Labels spelled differently, within or between the files, and labels that only one of them has."""
    found = []
    for column in ("dataset", "encoder", "scheme", "epochs"):
        columns = [{"file": f.name, "spelled": f.spelled[column], "read": f.frame[column]} for f in files]
        table = pd.concat([pd.DataFrame(part) for part in columns], ignore_index=True).dropna()
        noun = NOUNS.get(column, column)
        found += [] if column == "epochs" else _spellings(table, noun)
        owners = table.groupby("read")["file"].unique()
        for name, holders in owners[owners.map(len) < len(files)].items():
            if column == "epochs" and name == 0:
                continue  # random weights need no score
            where = [said(column, name) if column == "epochs" else f"{noun} {name}"]
            count, treatment = (table["read"] == name).sum(), "left out where both files are needed"
            found += finding(holders[0], "label in one file only", count, where, treatment)
    return found


def _spellings(table: pd.DataFrame, noun: str) -> list[Finding]:
    """Several spellings of one thing: read as one name, or names that look alike. `table`: file, spelled, read."""
    owners = {str(name): set(files) for name, files in table.groupby("read")["file"]}
    things = [[name] for name in owners if table.loc[table["read"] == name, "spelled"].nunique() > 1]
    things += [[a, b] for a, b in combinations(owners, 2) if _look_alike(a, b, told_apart=bool(owners[a] & owners[b]))]
    found = []
    for names in things:
        part = table[table["read"].isin(names)]
        where = f"{noun} {' / '.join(part['spelled'].astype(str).unique())}"
        treatment = f"read as {names[0]}" if len(names) == 1 else "read as two: give them one name if they are the same"
        count = (part["spelled"] != names[0]).sum()
        found += finding(", ".join(part["file"].unique()), "inconsistent label", count, [where], treatment)
    return found


def _look_alike(a: str, b: str, *, told_apart: bool) -> bool:
    """Equal but for case and punctuation; or one is how the other begins, and no file holds both (`told_apart`)."""
    short, long = sorted((re.sub(r"[\W_]", "", name.lower()) for name in (a, b)), key=len)
    return short == long or (bool(short) and long.startswith(short) and not told_apart)


def _several_seeds(frame: pd.DataFrame) -> bool:
    return frame.loc[frame["epochs"] > 0, "pretrain_seed"].nunique() > 1


def _used(found: list[Finding], rows: int) -> int:
    return 0 if any(one["treatment"] == REFUSED for one in found) else rows
