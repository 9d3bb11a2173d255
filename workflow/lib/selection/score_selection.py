"""Every score as a selector of checkpoints, evaluated alike: all its free choices made on other data sets, beside baselines."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from workflow.lib.curves.correlation import POOLS
from workflow.lib.curves.summary import summarise
from workflow.lib.evidence.patients import PATIENTS
from workflow.lib.selection.choice import Choices, choose_highest, join
from workflow.lib.selection.goal import GOAL, contest
from workflow.lib.selection.measures import CEILINGS, MEASURES, rank_table
from workflow.lib.selection.names import ACCURACY, ALL, ELSEWHERE, FIXED, LAST, LONGEST, ORACLE, RANDOM, SHORTEST
from workflow.lib.selection.replay import SNAPSHOTS, with_shares
from workflow.lib.selection.selectors import PENALTY, Selectors, frozen
from workflow.lib.selection.stopping_rules import CAPS
from workflow.lib.tables.headed import write_table
from workflow.lib.tables.patients import Patients, read_patients
from workflow.lib.tables.read import CURVE, RUN, read_downstream
from workflow.lib.tables.scores import read_scores

UNSCORED = r"(; )?score known for \d+ of \d+ checkpoints"
AGAINST = {"accuracy": ACCURACY, "elsewhere": ELSEWHERE, "random": RANDOM}
COLUMNS = ["selector", "budget", "pool", *CURVE, "setting", "chosen_epochs", "epochs_trained", "epochs_saved", "dice"]
COLUMNS += ["diff_to_last", "regret", *MEASURES, *CEILINGS, "chosen", "note"]
SUMMARY = [
    "selector",
    "budget",
    "pool",
    "dataset",
    "k",
    "diff_to_last",
    "diff_low",
    "diff_high",
    "patients_low",
    "patients_high",
]
SUMMARY += [f"to_{name}{end}" for name in ("fixed", "fixed_kept", *AGAINST) for end in ("", "_low", "_high")]
SUMMARY += ["goal", "goal_kept", "worst", "lowest_dropped", "highest_dropped", "regret", *MEASURES, *CEILINGS]
SUMMARY += ["chosen_epochs", "epochs_trained", "epochs_saved", "note"]
HEAD = f"""\
What each selector chooses in every cell and how well it ranks the candidates; Dice: mean over fine-tuning seeds, 0..1.
pool within_run: a length > 0 of one pretraining run; all: one of all checkpoints (network x scheme x length > 0) of a data
set and fine-tuning mode. budget half: only lengths up to half of the last are candidates; whole: all.
Selectors: each score of the run's tables (oriented, the best value is taken, ties averaged), its setting of lowest mean
regret on the OTHER data sets (within_run: with the same encoder; all: levels counted from the deepest);
{ELSEWHERE}: the checkpoint whose mean Dice on the other data sets, fine-tuned the same way, is highest;
{SHORTEST} (within_run): needs no score, as the one before;
mean rank: over all scores and ImageNet accuracy; ridge: a regression on these and the root of the epochs, standardised in each
cell, fitted to Dice of the other data sets (penalty {PENALTY} per checkpoint, declared); imagenet_accuracy (highest); random
(expected); last; scratch (random initialisation); fixed L; oracle (the target's own Dice, cross-fitted over seeds: no selector).
In pool all, last, scratch and fixed L are expected over the runs. The data set of a row is untouched by all that was chosen;
the pretraining runs are shared by all data sets.
chosen_epochs: of the chosen checkpoint; epochs_saved: last minus chosen_epochs. epochs_trained: what must be trained before
the choice can be made (all candidates of the run; fixed lengths and the best elsewhere only themselves); empty in pool all.
regret: best mean Dice of all candidates of the whole budget minus dice (biased upward: picked on the same seeds). kendall:
weighted Kendall with Dice over the candidates; top1, top3: whether the best candidate is the first, or among the first three
(ties share). *_ceiling, regret_floor: what a selector that knows the true means would reach, evaluated with so few seeds.
{SNAPSHOTS}"""
HEAD_SUMMARY = f"""\
Means of score_selection.csv (selectors and columns: see there); dataset all, and each alone. pool within_run: over the data
sets, networks and fine-tuning modes of each pretraining run, then over the k runs, 95 % t intervals over runs (the schemes
of one encoder are not independent). pool all: over data sets x fine-tuning modes, intervals over fine-tuning seeds alone,
the choices held fixed: one set of checkpoints, a few targets, no sample of either. diff_to_last: against the longest length
(pool all: the mean of the runs' longest). to_*: mean paired differences of Dice, in the same cells and budget: to ImageNet
accuracy, to the best on the other data sets (elsewhere), to random.
lowest_dropped, highest_dropped: of diff_to_last when all is redone without one encoder, or without one scheme.
worst: lowest diff_to_last of a single cell.
{GOAL}
The goal is asked of choices within a run only.
{PATIENTS}
Not covered by any interval: other pretraining runs of a recipe, further test sets.
{SNAPSHOTS}"""


def contests(results: pd.DataFrame) -> Iterator[tuple[str, str, np.ndarray]]:
    """Pool, budget and candidates (truths, in the order of `summarise`); among all checkpoints there is no budget."""
    means = summarise(results)
    last = means.groupby(CURVE)["epochs"].transform("max")
    for budget, cap in CAPS.items():
        candidates = (means["epochs"] > 0) & (means["epochs"] <= cap * last)
        for pool in POOLS if budget == "whole" else ["within_run"]:
            if candidates.any():
                yield pool, budget, candidates.to_numpy()


def choose_by_scores(results: pd.DataFrame, scores: pd.DataFrame, ranks: bool = True) -> Choices:
    """Every selector in every cell; see `HEAD`. With `ranks`, how each ranks the candidates too."""
    means, parts = summarise(results), []
    for pool, budget, candidates in contests(results):
        selectors = frozen(results, scores, pool, candidates)
        chosen = choose_highest(results, means, selectors.values, [(name, "") for name in selectors.names], pool)
        chosen = chosen.take(_wanted(chosen.frame, selectors, budget), budget=budget)
        frame = _labelled(chosen.frame, selectors, means[candidates])
        if ranks:
            table = rank_table(means, selectors.names, selectors.values, candidates, pool)
            table["selector"] = table["selector"].replace(LONGEST, LAST)
            frame = frame.merge(table, on=[*POOLS[pool], "selector"], how="left", validate="many_to_one")
        parts.append(with_shares(Choices(frame, chosen.gain, means)))
    return join(parts)


def _wanted(frame: pd.DataFrame, selectors: Selectors, budget: str) -> np.ndarray:
    """Rows to keep: each selector once (of the rules that are a column too, the column, which knows the budget), and with the
    whole budget the rules without a score."""
    names = frame["selector"]
    own = names.isin(selectors.names) & ~frame.duplicated([*CURVE, "selector"], keep="last")
    simple = names.isin([LAST, ORACLE, "scratch"]) | names.str.startswith(FIXED)
    return np.flatnonzero((own & (names != LONGEST)) | (simple & (budget == "whole")))


def _labelled(frame: pd.DataFrame, selectors: Selectors, candidates: pd.DataFrame) -> pd.DataFrame:
    """With the settings that were chosen, and epochs_trained."""
    keys = zip(frame["selector"], frame["dataset"], frame["encoder"], strict=True)
    frame = frame.assign(setting=[selectors.settings.get(key, "") for key in keys])
    longest = candidates.groupby(CURVE)["epochs"].max().rename("longest").reset_index()
    trained = frame.merge(longest, on=CURVE, how="left")["longest"].astype(float)
    trained = trained.mask(frame["selector"].isin([ELSEWHERE, SHORTEST, "scratch"]), frame["chosen_epochs"])
    trained = trained.mask((frame["selector"] == ORACLE) | (frame["pool"] == "all"))
    # Longer lengths are no candidates, not unscored ones.
    note = frame["note"].where(
        trained.isna() | (frame["budget"] == "whole"), frame["note"].str.replace(UNSCORED, "", regex=True)
    )
    return frame.assign(epochs_trained=trained, note=note)


def score_selection(chosen: Choices) -> pd.DataFrame:
    """`COLUMNS`, a row per selector, budget, pool and cell."""
    return chosen.frame.reindex(columns=COLUMNS)


def score_selection_summary(chosen: Choices, dropped: pd.DataFrame, patients: Patients | None = None) -> pd.DataFrame:
    """`SUMMARY`, a row per selector, budget, pool and data set. `dropped`: as of `stability`; `patients`: as of
    `read_patients`, where they are known."""
    rows = Choices(chosen.frame.assign(setting=chosen.frame["budget"]), chosen.gain, chosen.means)
    names, whole = rows.frame["selector"], rows.frame["budget"] == "whole"
    parts = []
    for budget in CAPS:
        part = rows.take(np.flatnonzero(rows.frame["budget"] == budget))
        base = {name: part.take(np.flatnonzero(part.frame["selector"] == one)) for name, one in AGAINST.items()}
        fixed = rows.take(np.flatnonzero(whole & names.str.startswith(FIXED) & (rows.frame["pool"] != "all")))
        if len(part.frame):
            parts.append(contest(part, fixed, base, [*MEASURES, *CEILINGS], patients=patients))
    table = pd.concat(parts, ignore_index=True).rename(columns={"setting": "budget"})
    line = table["selector"].isin([LAST, ORACLE, RANDOM, "scratch"]) | table["selector"].str.startswith(FIXED)
    table[["goal", "goal_kept"]] = table[["goal", "goal_kept"]].mask(line, "")
    return table.merge(dropped, on=["selector", "budget", "pool", "dataset"], how="left")[SUMMARY]


def stability(results: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """lowest_dropped and highest_dropped of mean diff_to_last per selector, budget, pool and data set, when all is redone
    without one encoder or one scheme; none where that leaves nothing."""
    keys, parts = ["selector", "budget", "pool", "dataset"], []
    for column in ("encoder", "scheme"):
        values = results.loc[results["epochs"] > 0, column].unique()
        for value in values if len(values) > 1 else []:
            rest = results[(results[column] != value) | ((results["epochs"] == 0) & (column == "scheme"))]
            frame = choose_by_scores(rest, scores[scores[column] != value], ranks=False).frame
            for target in (frame, frame.assign(dataset=ALL)):
                runs = target.groupby([*keys, *RUN], dropna=False)["diff_to_last"].mean()
                parts.append(runs.groupby(keys).mean())
    if not parts:
        return pd.DataFrame(columns=[*keys, "lowest_dropped", "highest_dropped"])
    found = pd.concat(parts).groupby(keys).agg(["min", "max"])
    return found.set_axis(["lowest_dropped", "highest_dropped"], axis=1).reset_index()


def write_score_selection(
    downstream: str | Path,
    robustness: str | Path,
    transferability: str | Path | None,
    patients: str | Path | None,
    output: str | Path,
    means: str | Path,
) -> None:
    """Write `score_selection` of a run to `output` and `score_selection_summary` to `means`."""
    results, scores = read_downstream(downstream), read_scores(robustness, transferability)
    chosen, known = choose_by_scores(results, scores), read_patients(patients, results) if patients else None
    table = score_selection_summary(chosen, stability(results, scores), known)
    write_table(score_selection(chosen), output, HEAD)
    write_table(table, means, HEAD_SUMMARY)
