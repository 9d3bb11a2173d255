"""Which claims do the results support? Every claim of the register with its estimate, interval, test and verdict."""

import math
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from workflow.lib.claims.ranks import NO_CHOICE, accuracy_guides, at_last, if_there, score_ranks
from workflow.lib.claims.register import LENGTHS, NETWORKS, OTHER_MARGINS, Claim, head, read_register
from workflow.lib.curves.correlation import pearson
from workflow.lib.curves.summary import share_scratch, summarise
from workflow.lib.evidence.intervals import half_width, two_sided
from workflow.lib.evidence.verdicts import (
    FEWEST_RUNS,
    MARGIN,
    UNTESTED,
    Found,
    noted,
    over_runs,
    untestable,
    verdict,
    verdict_over_encoders,
)
from workflow.lib.selection.elsewhere import shared_settings
from workflow.lib.selection.names import OTHERS, SCORE
from workflow.lib.selection.selection import neighbours
from workflow.lib.tables.headed import read_table, write_table
from workflow.lib.tables.read import CURVE, RUN, read_downstream
from workflow.lib.tables.scores import read_scores

COLUMNS = ["claim_id", "source", "claim", "estimand", "estimate", "ci_low", "ci_high", "p_value", "verdict"]
COLUMNS += [*(f"verdict_{margin}" for margin in OTHER_MARGINS), "verdict_encoders", "scope", "note"]


def some_length(effect: pd.DataFrame) -> Found:
    """C1, from `length_effect`: one-sided Dunnett tests per cell, Holm over the cells."""
    better, cells = int((effect["gain_over_final"] > 0).sum()), len(effect)
    tested = effect[effect["p_holm"].notna()]
    runs = len(tested[RUN].drop_duplicates())
    if runs < FEWEST_RUNS:
        return untestable(f"k = {runs} pretraining runs with two seeds: {FEWEST_RUNS} are needed", better)
    bounds = tested["gain_upper"].fillna(np.inf)
    significant, welch = ((tested[column] <= 0.05).sum() for column in ("p_holm", "p_unequal_holm"))
    note = (
        f"of {cells} cells; {significant} significant (Dunnett, Holm), {welch} by Welch tests; a gain of {MARGIN} is excluded "
        f"in {(bounds < MARGIN).sum()}, upper bounds of the largest gain {bounds.min():.4f} to {bounds.max():.4f}; seeds only; "
        "real level: with seeds that vary as unequally as the released ones, any false significant cell has a chance of 18 "
        "to 32 %, not 5 %; Welch tests 2 to 4 %"
    )
    p = float(np.sort(tested["p_holm"])[math.ceil(len(tested) / 2) - 1])
    return Found(better, p=p, note=note, parts=tuple(bounds))


def gains(effect: pd.DataFrame) -> dict[str, Found]:
    """C1 to C3, from `length_effect`: what the best length gains over the last."""
    frozen, tuned = (effect[effect["freeze"] == freeze] for freeze in (True, False))
    keys = [column for column in CURVE if column != "freeze"]
    both = frozen.merge(tuned, on=keys, suffixes=("", "_tuned"))
    both["difference"] = both["honest_gain"] - both["honest_gain_tuned"]
    found = {"C1": some_length(effect)}
    if effect["honest_gain"].isna().all():
        return found | dict.fromkeys(
            ("C2", "C2f", "C2t", "C3"), untestable("no second seed on which to choose the length")
        )
    found |= {name: over_runs(part, "honest_gain") for name, part in (("C2", effect), ("C2f", frozen), ("C2t", tuned))}
    return found | {"C3": noted(over_runs(both, "difference"), "post hoc")}


def stops(chosen: pd.DataFrame) -> dict[str, Found]:
    """C9 to C11 and C13, from `selection`: Dice where the score, or a fixed length, stops."""
    chosen = chosen[chosen["pool"] == "within_run"]
    score = chosen[chosen["selector"] == OTHERS]
    fixed = chosen[chosen["selector"].str.startswith("fixed ") & (chosen["epochs_saved"] > 0)]
    if score.empty:
        found = dict.fromkeys(("C9", "C10a", "C10b"), untestable(NO_CHOICE))
    else:
        saved = f"{score.groupby(RUN)['epochs_saved'].mean().mean():.0f} epochs saved on average"
        found = {"C9": noted(over_runs(score, "diff_to_last"), saved), "C10b": against_mixture(chosen)}
        found["C10a"] = noted(over_runs(score, "diff_to_last", null=-MARGIN), saved)
    for length in LENGTHS:
        at = fixed[fixed["chosen_epochs"] == length]
        why = untestable(f"no run goes on beyond a checkpoint at {length} epochs")
        found[f"C11-{length}"] = why if at.empty else over_runs(at, "diff_to_last", null=-MARGIN)
    return found | {"C13": stable_settings(chosen[chosen["selector"] == SCORE])}


def against_mixture(chosen: pd.DataFrame) -> Found:
    """C10b: Dice of the score's choice minus that of stopping at either of two fixed lengths, mixed for equal epochs."""
    score = chosen[chosen["selector"] == OTHERS]
    mean = score.groupby(RUN)["chosen_epochs"].mean().mean()
    fixed = chosen[chosen["selector"].str.startswith("fixed ")]
    dice = fixed.merge(score[CURVE], on=CURVE).pivot(index=CURVE, columns="chosen_epochs", values="dice").dropna(axis=1)
    around = neighbours(dice.columns.to_numpy(float), mean)
    if around is None:
        return untestable(f"no fixed lengths common to all runs around the score's {mean:.0f} epochs")
    low, high, weight = around
    mixture = (weight * dice[low] + (1 - weight) * dice[high]).rename("mixture").reset_index()
    both = score.merge(mixture, on=CURVE)
    both["difference"] = both["dice"] - both["mixture"]
    mixed = f"{weight:.0%} stop at {low:.0f}" + (f", {1 - weight:.0%} at {high:.0f}" if weight < 1 else "")
    return noted(over_runs(both, "difference"), f"{mean:.1f} epochs: {mixed}")


def stable_settings(rows: pd.DataFrame) -> Found:
    """C13, from the choices by single settings."""
    pairs = _pairs(shared_settings(rows))
    if not pairs:
        return untestable("no two data sets with three or more settings of the score")
    mean, runs = float(np.mean(list(pairs.values()))), len(rows[RUN].drop_duplicates())
    if runs < FEWEST_RUNS:
        return untestable(f"k = {runs} pretraining runs with scores: {FEWEST_RUNS} are needed", mean)
    within = [_pairs(part) for _, part in rows.groupby("encoder")]
    alone = {pair: np.mean([one[pair] for one in within if pair in one]) for pair in pairs}
    note = ", ".join(
        f"{a} and {b} {value:+.3f} (within an encoder {alone[a, b]:+.3f})" for (a, b), value in pairs.items()
    )
    return Found(mean, note=f"{note}; no interval: settings are not independent", parts=tuple(pairs.values()))


def _pairs(rows: pd.DataFrame) -> dict[tuple[str, str], float]:
    """Spearman of the mean regret per setting between each two data sets that share three or more settings."""
    regret = rows.pivot_table(index="setting", columns="dataset", values="regret")
    both = {pair: regret[list(pair)].dropna().rank() for pair in combinations(regret, 2)}
    return {
        pair: float(pearson(ranks.iloc[:, 0].to_numpy()[None], ranks.iloc[:, 1].to_numpy())[0])
        for pair, ranks in both.items()
        if len(ranks) > 2
    }


def against_random(results: pd.DataFrame) -> dict[str, Found]:
    """C12: the last length against random initialisation."""
    table = summarise(results)
    found = {}
    for network, encoder in NETWORKS.items():
        part = table[(table["encoder"] == encoder) & ~table["freeze"]]
        found[f"C12 trainable, {network}"] = if_there(network, table, gain_over_seeds(part))
    shared = share_scratch(table[table["freeze"]])
    random = shared.loc[shared["epochs"] == 0, [*CURVE, "dice_mean"]]
    both = at_last(shared).merge(random, on=CURVE, suffixes=("", "_random"))
    both["gain"] = both["dice_mean"] - both["dice_mean_random"]
    return found | {"C12 frozen, all": over_runs(both, "gain")}


def gain_over_seeds(table: pd.DataFrame) -> Found:
    """Mean over data sets of Dice(last; mean over curves) - Dice(random), from `summarise` of one network and fine-tuning mode;
    t interval with the cells' pooled SD and Satterthwaite's degrees of freedom."""
    last = at_last(table)
    scratch = table[(table["epochs"] == 0) & table["dataset"].isin(last["dataset"])]
    last = last[last["dataset"].isin(scratch["dataset"])]
    if last.empty:
        return untestable("no data set with both random initialisation and a trained checkpoint")
    rows = pd.concat([last.assign(sign=1.0), scratch.assign(sign=-1.0)])
    weight = rows["sign"] / rows.groupby(["dataset", "sign"])["sign"].transform("size") / rows["dataset"].nunique()
    mean, variance = float(weight @ rows["dice_mean"]), weight**2 * rows["pooled_sd"] ** 2 / rows["n_seeds"]
    if rows["pooled_sd"].isna().any():
        return untestable("a checkpoint with a single seed, and no other of its cell with more", mean)
    if not (rows["pooled_sd"] > 0).all():
        return untestable("no spread between seeds", mean)
    error, df = math.sqrt(variance.sum()), variance.sum() ** 2 / (variance**2 / rows["df"]).sum()
    half = half_width(df, error)
    alone = (weight * rows["dice_mean"]).groupby(rows["dataset"]).sum() * rows["dataset"].nunique()
    note = "seeds only; " + ", ".join(f"{name} {value:+.4f}" for name, value in alone.items())
    return Found(mean, float(mean - half), float(mean + half), two_sided(mean, error, df), note)


def evidence(
    results: pd.DataFrame, scores: pd.DataFrame, effect: pd.DataFrame, ranked: pd.DataFrame, chosen: pd.DataFrame
) -> dict[str, Found]:
    """What the data say about the claims of the register, by id; those that need more lengths than there are left out. Arguments
    as of `claims`."""
    trained = results["epochs"] > 0
    if not trained.any():
        return {}
    table = summarise(results[trained])
    ranked = ranked[(ranked["pool"] == "within_run") & (ranked["lengths"] == ">0") & (ranked["n"] > 2)]
    found = accuracy_guides(table, ranked) | score_ranks(table, scores, ranked) | against_random(results)
    lengths = results[trained].groupby(CURVE)["epochs"].nunique()
    curves = lengths[lengths > 1].reset_index()[CURVE]
    return found if curves.empty else found | gains(effect.merge(curves)) | stops(chosen)


def claims(
    register: Sequence[Claim],
    results: pd.DataFrame,
    scores: pd.DataFrame,
    effect: pd.DataFrame,
    ranked: pd.DataFrame,
    chosen: pd.DataFrame,
    released: bool = False,
) -> pd.DataFrame:
    """The claims of the register with estimates, intervals and verdicts (`COLUMNS`). effect, ranked and chosen: `length_effect`,
    `correlations` and `selection` of these results and scores.

    Listed are those of which the run's tables hold a number; of the study's release (`released`) all, as declared.
    """
    found = evidence(results, scores, effect, ranked, chosen)
    rows = []
    for claim in register:
        why = "too few pretraining lengths" if claim.rule else f"what it would take: {claim.needed}"
        here = found.get(claim.claim_id, untestable(why))
        if not released and not here.testable and math.isnan(here.estimate):
            continue
        row = [claim.claim_id, claim.source, claim.claim, claim.estimand, here.estimate, here.low, here.high, here.p]
        row += [verdict(claim.rule, here, margin) if claim.rule else UNTESTED for margin in (MARGIN, *OTHER_MARGINS)]
        row.append(verdict_over_encoders(claim.rule, here, MARGIN) if claim.rule else "")
        rows.append([*row, claim.scope, here.note])
    return pd.DataFrame(rows, columns=COLUMNS)


def write_claims(
    downstream: str | Path,
    robustness: str | Path,
    length_effect: str | Path,
    correlations: str | Path,
    selection: str | Path,
    output: str | Path,
    registry: str | Path,
    released: bool = False,
) -> None:
    """Write `claims` of a run, from its results and scores and from three of its tables. registry: claims.tsv."""
    results, scores = read_downstream(downstream), read_scores(robustness)
    effect, ranked, chosen = map(read_table, (length_effect, correlations, selection))
    table = claims(read_register(registry), results, scores, effect, ranked, chosen, released)
    write_table(table, output, head(results, released))
