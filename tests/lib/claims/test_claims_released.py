"""Every claim on the released data against plain loops over the two tables."""

from itertools import combinations, permutations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from workflow.lib.evidence.verdicts import CONTRADICTED, INCONCLUSIVE, SUPPORTED, UNTESTED
from workflow.lib.tables.headed import head_of, read_table
from workflow.lib.tables.read import SETTING, read_downstream, read_robustness
from workflow.lib.tables.settings import setting_name

pytestmark = pytest.mark.slow

IDS = ["C1", "C2", "C2f", "C2t", "C3", "C4", "C4R", "C4S", "C4b", "C5", "C6", "C7", "C8", "C9", "C10a", "C10b"]
IDS += [
    "C11-100",
    "C11-150",
    "C11-200",
    "C11-250",
    "C12 trainable, Swin",
    "C12 trainable, ResNet50",
    "C12 trainable, basic U-Net",
]
IDS += ["C12 frozen, all", "C13"]
CELL = ["dataset", "encoder", "freeze", "scheme"]  # of a run with one pretraining seed


@pytest.fixture(scope="module")
def released(published_tables: dict[str, Path]) -> pd.DataFrame:
    path = published_tables["claims"]
    assert "not\npre-registered" in head_of(path) and "ONE pretraining run per encoder" in head_of(path)
    return read_table(path).set_index("claim_id")


@pytest.fixture(scope="module")
def tidy(reference: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    return (
        read_downstream(reference / "published/downstream_scores.csv"),
        read_robustness(reference / "published/robustness_scores.csv"),
    )


def means(tidy: tuple[pd.DataFrame, pd.DataFrame]) -> pd.DataFrame:
    """Mean Dice: a row per cell, a column per length."""
    return tidy[0].groupby([*CELL, "epochs"])["dice"].mean().unstack()


def check(row: pd.Series, cells: pd.Series) -> None:
    """Estimate and interval of a row are those of the run means of `cells` (index CELL)."""
    runs = [part.mean() for _, part in cells.groupby(["encoder", "scheme"])]
    low, high = stats.t.interval(0.95, len(runs) - 1, np.mean(runs), stats.sem(runs))
    assert [row["estimate"], row["ci_low"], row["ci_high"]] == pytest.approx([np.mean(runs), low, high], abs=1e-9)


def curves(tidy: tuple[pd.DataFrame, pd.DataFrame]) -> pd.DataFrame:
    """`means` without length 0."""
    return means(tidy).drop(columns=0).dropna(how="all")


def test_released_table_lists_the_register(released: pd.DataFrame) -> None:
    assert released.index[: len(IDS)].tolist() == IDS and len(released) > len(IDS) + 8
    assert released.iloc[len(IDS) :]["verdict"].eq(UNTESTED).all() and released["note"].notna().all()
    columns = (
        "source claim estimand estimate ci_low ci_high p_value verdict verdict_0.0025 verdict_0.01 verdict_encoders"
    )
    assert released.columns.tolist() == [*columns.split(), "scope", "note"]
    for work in ("2307.11958", "2207.14508", "2410.18677"):
        assert released["source"].str.contains(work).any()
    assert released.loc["C3", "note"].endswith("post hoc")
    assert released.loc[["C4R", "C4S", "C4b", "C12 trainable, Swin"], "note"].str.contains("seeds only").all()


def honest(tidy: tuple[pd.DataFrame, pd.DataFrame]) -> pd.Series:
    """Leave-one-seed-out gains by plain loops."""
    gains = {}
    for cell, part in tidy[0][tidy[0]["epochs"] > 0].groupby(CELL):
        table = part.pivot(index="epochs", columns="seed", values="dice")
        found = []
        for seed in table:
            best = table.drop(columns=seed).mean(axis=1).idxmax()
            found.append(table.loc[best, seed] - table.loc[300, seed])
        gains[cell] = np.nanmean(found)
    return pd.Series(gains).rename_axis(CELL)


def test_released_gains(released: pd.DataFrame, tidy: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    table, gains = curves(tidy), honest(tidy)
    assert released.loc["C1", "estimate"] == (table.drop(columns=300).max(axis=1) > table[300]).sum() == 26
    frozen, trainable = (gains.xs(freeze, level="freeze") for freeze in (True, False))
    for name, cells in (("C2", gains), ("C2f", frozen), ("C2t", trainable), ("C3", frozen - trainable)):
        check(released.loc[name], cells)
    assert "; 5 significant" in released.loc["C1", "note"].replace("cells; ", "; ", 1)


def test_released_rank_correlations(released: pd.DataFrame, tidy: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    table, (results, scores) = curves(tidy), tidy
    accuracy = results.groupby(["encoder", "scheme", "epochs"])["accuracy"].first()
    by_accuracy, by_epochs, by_score = {}, {}, {}
    for cell, dice in table.iterrows():
        _, encoder, _, scheme = cell
        by_accuracy[cell] = stats.spearmanr(accuracy[encoder, scheme][dice.index], dice)[0]
        by_epochs[cell] = stats.spearmanr(dice.index, dice)[0]
    frame = scores[scores["epochs"] > 0].copy()
    frame["setting"] = [setting_name(*setting) for setting in frame[SETTING].itertuples(index=False)]
    for (target, encoder, scheme, setting), part in frame.groupby(["dataset", "encoder", "scheme", "setting"]):
        score = -part.set_index("epochs")["score"]
        for freeze in (True, False):
            dice = table.loc[(target, encoder, freeze, scheme)].to_numpy()
            constant = score.nunique() == 1
            ranks = stats.rankdata(score), stats.rankdata(dice)
            by_score[target, encoder, freeze, scheme, setting] = 0.0 if constant else np.corrcoef(*ranks)[0, 1]
    of_score = pd.Series(by_score).rename_axis([*CELL, "setting"])
    chosen = {}
    for cell in table.index:
        others = of_score.xs(cell[1], level="encoder").drop(cell[0], level="dataset").groupby("setting").mean()
        chosen[cell] = of_score[(*cell, others.round(12).idxmax())]
    accuracy_fits, epochs_fit, chosen_fit = (
        pd.Series(values).rename_axis(CELL) for values in (by_accuracy, by_epochs, chosen)
    )
    check(released.loc["C4"], accuracy_fits)
    check(released.loc["C6"], chosen_fit)
    check(released.loc["C7"], chosen_fit - epochs_fit)
    assert f"own curves {chosen_fit.mean():+.3f}" in released.loc["C8", "note"]
    for name, encoder in (("C4R", "resnet50"), ("C4S", "swin"), ("C4b", "unet")):
        row = released.loc[name]
        assert row["estimate"] == pytest.approx(accuracy_fits.xs(encoder, level="encoder").mean())
        assert 0.02 < row["ci_high"] - row["ci_low"] < 0.2
    last, known = table[300].unstack(["encoder", "scheme"]), accuracy.xs(300, level="epochs")
    fits = [stats.spearmanr(known[dice.index], dice)[0] for _, dice in last.iterrows()]
    assert released.loc["C5", "estimate"] == pytest.approx(np.mean(fits)) and len(fits) == 6
    ranks = last.rank(axis=1).to_numpy()
    means = [
        np.mean([np.corrcoef(stats.rankdata(order), row)[0, 1] for row in ranks])
        for order in permutations(known[last.columns])
    ]
    assert len(means) == 720 and released.loc["C5", "p_value"] == pytest.approx(np.mean(means >= means[0] - 1e-9))


def test_released_stops(released: pd.DataFrame, tidy: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    table, scores = curves(tidy), tidy[1][tidy[1]["epochs"] > 0]
    reached, epochs, regret = {}, {}, {}
    for (target, encoder, scheme, *setting), part in scores.groupby(["dataset", "encoder", "scheme", *SETTING]):
        lowest = part.loc[part["score"] == part["score"].min(), "epochs"]
        for freeze in (True, False):
            key = (target, encoder, freeze, scheme, setting_name(*setting))
            dice = table.loc[key[:4]]
            reached[key], epochs[key] = dice[lowest].mean(), lowest.mean()
            regret[key] = dice.max() - reached[key]
    lost = pd.Series(regret).rename_axis([*CELL, "setting"])
    taken = []
    for cell in table.index:
        others = lost.xs(cell[1], level="encoder").drop(cell[0], level="dataset").groupby("setting").mean()
        taken.append((*cell, others.round(12).idxmin()))
    dice = pd.Series([reached[key] for key in taken], index=table.index)
    mean = np.mean([epochs[key] for key in taken])
    low, high = 200, 250
    assert low < mean < high
    mixture = ((high - mean) * table[low] + (mean - low) * table[high]) / (high - low)
    check(released.loc["C9"], dice - table[300])
    check(released.loc["C10a"], dice - table[300])
    check(released.loc["C10b"], dice - mixture)
    for length in (100, 150, 200, 250):
        check(released.loc[f"C11-{length}"], table[length] - table[300])
    runs = (table[200] - table[300]).groupby(["encoder", "scheme"]).mean()
    t = (runs.mean() + 0.005) / stats.sem(runs)
    assert released.loc["C11-200", "p_value"] == pytest.approx(2 * stats.t.sf(abs(t), 5))
    depth = {"swin": 4, "unet": 5, "resnet50": 5}
    lost = lost.reset_index(name="regret")
    lost["setting"] = [
        f"{name.rsplit('=', 1)[0]}{depth[e] - int(name.rsplit('=', 1)[1])}"
        for name, e in zip(lost["setting"], lost["encoder"], strict=True)
    ]
    lost = lost[~lost["setting"].str.endswith("level4")]
    by_target = lost.groupby(["setting", "dataset"])["regret"].mean().unstack()
    pairs = [stats.spearmanr(by_target[a], by_target[b])[0] for a, b in combinations(by_target, 2)]
    assert len(by_target) == 120 and released.loc["C13", "estimate"] == pytest.approx(np.mean(pairs))
    assert all(f"{value:+.3f}" in released.loc["C13", "note"] for value in pairs)


def test_released_gain_over_random(released: pd.DataFrame, tidy: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    table = means(tidy)
    scratch = table[0].xs("simple", level="scheme")
    gain = table[300].unstack("scheme").sub(scratch, axis=0).stack().reorder_levels(CELL)
    check(released.loc["C12 frozen, all"], gain.xs(True, level="freeze"))
    for network, encoder in (("Swin", "swin"), ("ResNet50", "resnet50"), ("basic U-Net", "unet")):
        row = released.loc[f"C12 trainable, {network}"]
        cells = gain.xs(False, level="freeze").xs(encoder, level="encoder")
        assert row["estimate"] == pytest.approx(cells.mean())
        variance = 0.0
        trainable = tidy[0][(tidy[0]["encoder"] == encoder) & ~tidy[0]["freeze"]]
        for _, part in trainable.groupby("dataset"):
            for _, lengths in part[part["epochs"] > 0].groupby("scheme"):
                groups = [values["dice"] for _, values in lengths.groupby("epochs")]
                pooled = sum(((g - g.mean()) ** 2).sum() for g in groups) / sum(len(g) - 1 for g in groups)
                n = len(lengths.query("epochs == 300"))
                variance += pooled / n / 36
            random = part.query("epochs == 0")["dice"]
            variance += random.var() / len(random) / 9
        half = row["ci_high"] - row["estimate"]
        assert 1.97 < half / np.sqrt(variance) < 2.8  # a t quantile of Satterthwaite's degrees of freedom


def test_released_verdicts(released: pd.DataFrame) -> None:
    expected = {"C1": INCONCLUSIVE, "C4": INCONCLUSIVE, "C4b": SUPPORTED, "C4S": CONTRADICTED, "C5": SUPPORTED}
    expected |= {"C6": INCONCLUSIVE, "C7": CONTRADICTED, "C8": INCONCLUSIVE, "C9": CONTRADICTED, "C10a": INCONCLUSIVE}
    expected |= {"C11-200": SUPPORTED, "C11-250": SUPPORTED, "C12 frozen, all": SUPPORTED, "C13": INCONCLUSIVE}
    for name, word in expected.items():
        assert released.loc[name, "verdict"] == word, name
    assert released.loc["C2", ["verdict_0.0025", "verdict", "verdict_0.01"]].tolist() == [
        SUPPORTED,
        INCONCLUSIVE,
        CONTRADICTED,
    ]
