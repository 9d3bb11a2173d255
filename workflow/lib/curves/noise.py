"""How much of what is seen between checkpoints is more than the noise of the fine-tuning seeds?"""

from pathlib import Path

import numpy as np
import pandas as pd

from workflow.lib.curves.correlation import LENGTHS
from workflow.lib.curves.effect import holm
from workflow.lib.tables.headed import write_table
from workflow.lib.tables.read import CELL, CURVE, read_downstream

NAN = float("nan")

HEAD = """Is the ranking of a cell's checkpoints by Dice distinguishable from the noise of the fine-tuning seeds?
One row per data set, network, fine-tuning mode, scheme and set of lengths (all above 0, or those of at least 50 epochs).
f_statistic, p_value: one-way analysis of variance of Dice between the lengths against the seeds within, in the form for
unequal spreads (Brown and Forsythe, degrees of freedom by Mehrotra): F = sum n_i (m_i - m)^2 / sum (1 - n_i / N) s_i^2,
for equal numbers of seeds the usual F. p_holm: Holm over the rows of the same lengths; distinguishable: p_holm < 0.05.
reliability: 1 - 1 / F, not below 0: the share of the variance between the observed means (over n_seeds seeds) that is
not seed noise; roughly the squared correlation of the observed means with the true ones.
Simulated without any effect, 5 seeds and 9 lengths, the released spreads taken as true: 4 % of the single tests give
p_value < 0.05, and in 8 % of studies of 36 cells any is distinguishable (with equal spreads: 3 % and 1 %). The usual F
test gives 9 % and 38 %, Welch's 8 % and 22 % (with equal spreads 8 % and 15 %): not used.
Seeds shared by all lengths shift them together; that shift counts as noise here, so that both numbers err downwards.
Not distinguishable does not mean equal. Only these checkpoints and test sets: other pretraining runs and other patients
are not covered, and lengths below the last are snapshots of one schedule, not annealed."""
COLUMNS = [
    *("dataset", "model", "freeze", "scheme", "lengths", "n_lengths", "n_seeds", "f_statistic", "p_value"),
    *("reliability", "p_holm", "distinguishable", "encoder", "pretrain_seed", "note"),
]

HEAD_VARIANCE = """How the variance of Dice (0..1) divides between networks, schemes, lengths (> 0) and seeds.
Per data set and fine-tuning mode, and over all of them (data set `all`, column freeze empty): there Dice is centred on the
mean of its data set and fine-tuning mode, and networks, schemes and lengths are taken within these.
sum_squares: nested analysis of variance, each level around the mean of the level above (network; scheme within network;
pretraining run within scheme, where there are several; length within run; seed within length); they add up to the
total. mean_square: sum_squares / df. share_raw: sum_squares over the total.
share: the same after the noise that the seeds alone bring into the means, df * (mean square of the seeds), was moved
from each level to the seeds (Kelley's epsilon squared; what gets negative is set to 0; shares add up to 1).
Shares describe the networks, schemes and lengths of this grid (the last: how far they were chosen to differ); they do
not estimate a population of networks, and they have no interval. Unless there are several pretraining runs, what
differs between schemes and lengths includes how repeated runs would differ. Other patients or test sets are not
covered, and lengths below the last are snapshots of one schedule, not annealed."""
VARIANCE_COLUMNS = ["dataset", "freeze", "source", "df", "sum_squares", "share", "mean_square", "share_raw", "note"]


def noise_ceiling(results: pd.DataFrame) -> pd.DataFrame:
    """One row (`COLUMNS`) per curve and set of lengths (`LENGTHS`): F test and reliability of the lengths' ranking.

    See `HEAD`. Lengths with a single seed are left out; where there is no test, numbers are empty and note says why.
    """
    rows = []
    for curve, part in results[results["epochs"] > 0].groupby(CURVE):
        for name, shortest in LENGTHS.items():
            inside = part[part["epochs"] >= shortest]
            samples = [values.to_numpy() for _, values in inside.groupby("epochs")["dice"]]
            labels = dict(zip(CURVE, curve, strict=True)) | {"lengths": name, "n_lengths": len(samples)}
            labels["n_seeds"] = inside["seed"].nunique()
            rows.append(labels | lengths_against_seeds(samples))
    table = pd.DataFrame(rows, columns=COLUMNS)
    for _, part in table.groupby("lengths"):
        table.loc[part.index, "p_holm"] = holm(part["p_value"])
    told = (table["p_holm"] < 0.05).astype("boolean")
    return table.assign(distinguishable=told.where(table["p_holm"].notna()))


def lengths_against_seeds(samples: list[np.ndarray]) -> dict[str, object]:
    """f_statistic, p_value, reliability = max(0, 1 - 1 / F) and note, from Dice per seed for each length.

    Brown and Forsythe's F test: of those for unequal spreads it is the one that keeps its level at 5 seeds.
    """
    from statsmodels.stats.oneway import anova_oneway

    several = [values for values in samples if len(values) > 1]
    row: dict[str, object] = {"f_statistic": NAN, "p_value": NAN, "reliability": NAN}
    if len(samples) < 2:
        return row | {"note": "fewer than two lengths"}
    if len(several) < 2:
        return row | {"note": "one seed only"}
    if all(np.ptp(values) == 0 for values in several):
        return row | {"note": "no spread between seeds"}
    test = anova_oneway(several, use_var="bf")
    single = len(samples) - len(several)
    row["note"] = f"lengths with one seed left out: {single}" if single else ""
    f = float(test.statistic)
    return row | {"f_statistic": f, "p_value": float(test.pvalue), "reliability": 1 - 1 / f if f > 1 else 0.0}


def variance(results: pd.DataFrame) -> pd.DataFrame:
    """Shares of the variance of Dice (lengths > 0) by source (`VARIANCE_COLUMNS`), per data set, fine-tuning mode and in all.

    With SS, df and MS of each source: share = max(0, SS - df * MS_seed) / sum; the seeds have df_total * MS_seed.
    Over all, SS, df and the noise moved are summed over the data sets and fine-tuning modes, which is the decomposition of Dice
    centred on their means.
    """
    trained = results[results["epochs"] > 0]
    runs = trained.groupby(CELL)["pretrain_seed"].nunique()
    levels = {"network": ["model"], "scheme": ["scheme"], "pretraining run": ["pretrain_seed"], "length": ["epochs"]}
    if not (runs > 1).any():
        del levels["pretraining run"]
    parts = [
        nested_squares(part, levels).assign(dataset=dataset, freeze=freeze)
        for (dataset, freeze), part in trained.groupby(["dataset", "freeze"])
    ]
    if not parts:
        return pd.DataFrame(columns=VARIANCE_COLUMNS)
    whole = pd.concat(parts).groupby(level=0, sort=False)[["df", "sum_squares", "noise"]].sum(min_count=len(parts))
    table = pd.concat([_shares(part) for part in [*parts, whole.assign(dataset="all", freeze=None)]])
    return table.rename_axis("source").reset_index()[VARIANCE_COLUMNS]


def nested_squares(part: pd.DataFrame, levels: dict[str, list[str]]) -> pd.DataFrame:
    """df, sum_squares and noise per source, index the names of `levels` (outermost first) and `seed`, from column dice.

    sum_squares: over all rows, (mean of the level - mean of the level above)^2, the innermost being the row itself.
    noise: what the seeds alone bring into it on average, df * MS_seed (for the seeds, what they get back: minus the sum
    of the others); missing where no length has two seeds.
    """
    above, groups, by = pd.Series(part["dice"].mean(), index=part.index), 1, []
    rows = {}
    for source, columns in levels.items():
        by += columns
        grouped = part.groupby(by)["dice"]
        here = grouped.transform("mean")
        rows[source] = {"df": grouped.ngroups - groups, "sum_squares": ((here - above) ** 2).sum()}
        above, groups = here, grouped.ngroups
    rows["seed"] = {"df": len(part) - groups, "sum_squares": ((part["dice"] - above) ** 2).sum()}
    table = pd.DataFrame(rows).T
    mean_square = table.loc["seed", "sum_squares"] / table.loc["seed", "df"] if len(part) > groups else NAN
    table["noise"] = table["df"] * mean_square
    table.loc["seed", "noise"] = -table["noise"].iloc[:-1].sum(skipna=False)
    return table


def _shares(table: pd.DataFrame) -> pd.DataFrame:
    """Add mean_square, share_raw, share and note; none where nothing varies, no `share` where there is one seed."""
    total = table["sum_squares"].sum()
    parts = (table["sum_squares"] - table["noise"]).clip(lower=0)
    note = "nothing varies" if total == 0 else "one seed only: noise unknown" if table["noise"].isna().any() else ""
    return table.assign(
        df=table["df"].astype(int),
        mean_square=table["sum_squares"] / table["df"].where(table["df"] > 0),
        share_raw=table["sum_squares"] / total if total else NAN,
        share=parts / parts.sum(skipna=False) if total else NAN,
        note=note,
    )


def write_noise_ceiling(downstream: str | Path, output: str | Path) -> None:
    """Write `noise_ceiling` of a run's results."""
    write_table(noise_ceiling(read_downstream(downstream)), output, HEAD)


def write_variance(downstream: str | Path, output: str | Path) -> None:
    """Write `variance` of a run's results."""
    write_table(variance(read_downstream(downstream)), output, HEAD_VARIANCE)
