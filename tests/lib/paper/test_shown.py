"""What figures derive from the tables: muted curves, regrets of pairs of targets, units and words of claims."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from workflow.lib.paper import forest, heatmap, noise, selection, stability
from workflow.lib.selection.names import OTHERS
from workflow.lib.tables.headed import write_table

CURVE = {"dataset": "a", "model": "m", "encoder": "e", "freeze": True, "scheme": "s", "pretrain_seed": 0}


def files(folder: Path, name: str) -> dict[str, str]:
    return {kind: str(folder / f"{name}.{kind}") for kind in ("pdf", "png", "csv")}


def ceiling(folder: Path, rows: list[tuple[str, str, bool | None]]) -> str:
    """A noise_ceiling.csv with rows (scheme, lengths, distinguishable)."""
    table = pd.DataFrame([CURVE | {"scheme": s, "lengths": n, "distinguishable": told} for s, n, told in rows])
    write_table(table, folder / "noise.csv", "made up")
    return str(folder / "noise.csv")


@pytest.mark.parametrize("untested", [None, True])  # a column of texts, then one of truths
def test_only_curves_known_to_be_noise_are_muted(tmp_path: Path, untested: bool | None) -> None:
    rows = [("s", ">0", False), ("s", ">=50", True), ("t", ">0", True), ("t", ">=50", False), ("u", ">0", untested)]
    data = pd.DataFrame([CURVE, CURVE | {"scheme": "t"}, CURVE | {"scheme": "u"}, CURVE | {"pretrain_seed": 1}])
    marked = noise.mark_muted(data, ceiling(tmp_path, rows))
    assert marked["muted"].tolist() == [True, False, False, False]
    assert "seed noise" in noise.note(marked) and noise.note(marked.iloc[1:]) == ""


def test_heat_map_counts_muted_curves(tmp_path: Path) -> None:
    setting = {"predictor": "robustness", "pool": "within_run", "metric": "l2_loss", "margin": 0.5, "pooled": True}
    rows = [
        CURVE | setting | {"scheme": scheme, "lengths": lengths, "level": 1, "n": 9, "spearman": value}
        for scheme, lengths, value in [("s", ">0", 0.4), ("t", ">0", -0.8), ("s", ">=50", 1.0), ("t", ">=50", 1.0)]
    ]
    write_table(pd.DataFrame(rows), tmp_path / "c.csv", "made up")
    noisy = ceiling(tmp_path, [("s", ">0", True), ("t", ">0", False)])
    heatmap.correlation_heatmap(str(tmp_path / "c.csv"), noisy, **files(tmp_path, "heat"))
    shown = pd.read_csv(tmp_path / "heat.csv").iloc[0]
    assert shown[["spearman", "curves", "muted_curves"]].tolist() == pytest.approx([-0.2, 2, 1])


def choices() -> pd.DataFrame:
    """Regrets of three settings of two encoders with one and two levels, on two targets."""
    regret = {  # encoder, level: regrets on a, then on b, of three margins
        ("deep", 1): [(9, 9), (9, 8), (8, 9)],
        ("deep", 2): [(1, 2), (2, 4), (3, 9)],
        ("flat", 1): [(3, 2), (2, 6), (5, 1)],
    }
    rows = [
        {"selector": "robustness", "encoder": encoder, "setting": f"l2_loss|m={i}|pooled|level={level}"}
        | {"dataset": target, "regret": float(value)}
        for (encoder, level), values in regret.items()
        for i, pair in enumerate(values)
        for target, value in zip("ab", pair, strict=True)
    ]
    chosen = {
        "selector": OTHERS,
        "encoder": "deep",
        "dataset": "a",
        "setting": "l2_loss|m=0|pooled|level=2",
        "regret": 1.0,
    }
    return pd.DataFrame([*rows, chosen])


def test_pairs_of_regrets() -> None:
    pairs = stability.pairs_of_regrets(choices())
    together = pairs[pairs["encoder"] == stability.ALL]
    # only the deepest level is shared: means over both encoders are (2, 2), (2, 5), (4, 5)
    assert together["regret_x"].tolist() == [2, 2, 4] and together["regret_y"].tolist() == [2, 5, 5]
    assert together["spearman"].iloc[0] == pytest.approx(0.5)  # ranks 1.5, 1.5, 3 and 1, 2.5, 2.5
    flat = pairs[pairs["encoder"] == "flat"]
    assert flat["spearman"].iloc[0] == pytest.approx(-1.0)
    assert (pairs["target_x"] == "a").all() and (pairs["target_y"] == "b").all()
    marked = pairs[pairs["chosen_x"]]
    assert marked[["encoder", "setting"]].to_numpy().tolist() == [["deep", "l2_loss|m=0|pooled|level=2"]]
    assert not pairs["chosen_y"].any()


def test_one_target_has_no_pairs() -> None:
    assert stability.pairs_of_regrets(choices().query("dataset == 'a'")).empty


def claim(claim_id: str, **numbers: object) -> dict[str, object]:
    empty = {"estimate": np.nan, "ci_low": np.nan, "ci_high": np.nan, "p_value": np.nan, "note": ""}
    words = {"claim_id": claim_id, "source": "x", "claim": "what is said", "estimand": "", "scope": "seeds only: these"}
    verdicts = dict.fromkeys(("verdict", "verdict_0.0025", "verdict_0.01"), "inconclusive")
    return words | empty | verdicts | numbers


def test_forest_of_claims_it_does_not_know(tmp_path: Path) -> None:
    found = {"estimate": 0.02, "ci_low": 0.01, "ci_high": 0.03}
    rows = [
        claim("C99", **found, claim="a claim of one's own, said in so many words that no room is left"),
        claim("C12 trainable, my network", **found),
        claim("C4", **found),
        claim("C13", estimate=0.3),
        claim("C1", estimate=3.0, note="of 4 cells; 1 significant; and more"),
        claim("C8", estimate=-0.2, p_value=0.25, note="k = 6 runs; own curves better"),
        claim("C2", verdict="not testable with these data"),
    ]
    write_table(pd.DataFrame(rows), tmp_path / "claims.csv", "made up")
    forest.claims_forest(str(tmp_path / "claims.csv"), **files(tmp_path, "forest"))
    shown = pd.read_csv(tmp_path / "forest.csv").set_index("claim_id")["unit"]
    expected = {"C99": "dice", "C12 trainable, my network": "dice", "C4": "correlation", "C13": "correlation"}
    assert shown.to_dict() == expected | {"C1": "text", "C8": "text"}


def test_words_of_claims() -> None:
    assert forest.label("C11-200", "") == "length 200 − last: no loss?  C11"
    assert forest.label("C12 trainable, basic U-Net", "") == "last − random, trainable, basic U-Net  C12"
    assert forest.label("C99", "x" * 50) == "x" * 38 + "…  C99"
    assert (
        forest.claim_text(pd.Series(claim("C1", estimate=3.0, note="of 4 cells; 1 sure; more")))
        == "3 of 4 cells; 1 sure"
    )
    assert forest.claim_text(pd.Series(claim("C8", p_value=0.25, note="k = 6"))) == "k = 6; p = 0.250"
    numbers = claim("C2", estimate=-0.00123, ci_low=-0.002, ci_high=0.0005) | {"unit": "dice"}
    assert forest.numbers(pd.Series(numbers)) == "−0.0012 [−0.0020, 0.0005]"
    assert forest.numbers(pd.Series(claim("C13", estimate=0.3) | {"unit": "correlation"})) == "+0.30"


def test_words_of_choices() -> None:
    assert selection.chosen_in_short("ResNet50 Attention U-Net, advanced, 300") == ", ResNet50, advanced, 300"
    assert selection.chosen_in_short("Swin U-Net, simple, 5; basic U-Net, mine, 1") == ", Swin, simple, 5 (+1)"
    assert selection.chosen_in_short("expected value over 54") == ""
    assert selection.chosen_in_short("8 checkpoints") == ", 8 checkpoints"
    assert selection.chosen_in_short("") == ""


def test_tradeoff_without_scores_or_several_runs(tmp_path: Path) -> None:
    names = ["last", "random", "fixed 1", "fixed 8", "scratch"]
    table = pd.DataFrame({"selector": names, "setting": np.nan, "pool": "within_run", "k": 1})
    table["epochs_saved"], table["diff_to_last"] = [0, 3.5, 7, 0, 8], [0, -0.01, -0.02, 0, np.nan]
    table[["diff_low", "diff_high", "seeds_low", "seeds_high"]] = np.nan
    everything = table.assign(pool="all", diff_to_last=0.5)
    write_table(pd.concat([table, everything]), tmp_path / "s.csv", "made up")
    selection.selection_tradeoff(str(tmp_path / "s.csv"), **files(tmp_path, "trade"))
    shown = pd.read_csv(tmp_path / "trade.csv")
    assert shown["selector"].tolist() == names[:4] and shown["diff_to_last"].tolist() == [0, -0.01, -0.02, 0]


def test_stability_without_scores(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {"selector": ["last"], "setting": [np.nan], "pool": "within_run", "dataset": "a", "regret": 0.1}
    )
    write_table(table.assign(encoder="e"), tmp_path / "s.csv", "made up")
    stability.setting_stability(str(tmp_path / "s.csv"), **files(tmp_path, "stability"))
    assert "two targets" in pd.read_csv(tmp_path / "stability.csv")["note"].item()
