"""Stopping rules see only the past, their parameters come from other data sets, and the goal is judged as stated."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.lib.tables.synthetic_run import write_run
from workflow.lib.curves.summary import summarise
from workflow.lib.evidence.intervals import t_interval
from workflow.lib.selection.choice import choose_highest
from workflow.lib.selection.names import ALL, FIXED, FRACTION, NEVER
from workflow.lib.selection.replay import POOL, replay, replay_summary, replay_table, write_replay
from workflow.lib.selection.selection import by_other_data_sets, selection
from workflow.lib.selection.stopping_rules import first_turn, patience, plateau, rules, walk
from workflow.lib.tables.headed import head_of, read_table
from workflow.lib.tables.read import CURVE, RUN, read_downstream
from workflow.lib.tables.scores import read_scores

LENGTHS = (1, 2, 4, 8)


def curves(
    peaks: dict[str, int], score_peaks: dict[str, int] | None = None, targets: str = "ab"
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Results and scores of a run per encoder, on every target: Dice falls by 0.02 per checkpoint away from the encoder's peak,
    the score likewise around its own; two seeds."""
    random, results, scores = np.random.default_rng(0), [], []
    for target in targets:
        for encoder, peak in peaks.items():
            run = {"dataset": target, "encoder": encoder, "scheme": "s", "pretrain_seed": 0}
            best = (score_peaks or peaks)[encoder]
            for i, length in enumerate(LENGTHS):
                key = run | {"model": encoder, "freeze": False, "epochs": length, "accuracy": length / 10}
                dice = 0.8 - 0.02 * abs(i - peak) + random.normal(0, 0.0002)
                results += [key | {"seed": seed, "dice": dice + 0.001 * seed} for seed in (0, 1)]
                value = -float(abs(i - best))
                scores.append(run | {"epochs": length, "score": "q", "setting": "x", "value": value})
    return pd.DataFrame(results), pd.DataFrame(scores).assign(low=np.nan, high=np.nan)


def test_patience_stops_after_so_many_checkpoints_without_improvement() -> None:
    score = np.array([1.0, 3.0, 2.0, 4.0, 4.0, 3.0])
    none = np.zeros(6)
    assert patience(score, none, 1) == (1, 2)
    assert patience(score, none, 2) == (3, 5)  # 2 is forgotten when 4 comes; an equal score is no improvement
    assert patience(score, np.full(6, 1.5), 2) == (1, 3)  # 4 does not exceed 3 by more than the tolerance
    assert patience(np.arange(4.0), none[:4], 1) == (3, 3)


def test_first_turn_goes_on_over_equal_scores_and_plateau_looks_at_relative_gain() -> None:
    assert first_turn(np.array([1.0, 2.0, 2.0, 1.0, 5.0])) == (2, 3)
    assert first_turn(np.array([1.0, 1.0])) == (1, 1)
    assert plateau(np.array([0.1, 0.2, 0.21, 0.4]), 0.1) == (2, 2)
    assert plateau(np.array([0.1, 0.2, 0.4]), 0.1) == (2, 2)


@pytest.mark.parametrize("most", [1, 2])
def test_a_rule_does_not_look_ahead(most: int) -> None:
    random = np.random.default_rng(0)
    for score in random.integers(0, 4, (50, 8)).astype(float):
        for rule in (lambda x: patience(x, np.full(8, 0.5), most), first_turn):
            kept, stop = rule(score)
            other = np.append(score[: stop + 1], random.uniform(-9, 9, 7 - stop))
            assert stop == 7 or rule(other) == (kept, stop)


def test_parameters_come_from_the_other_data_sets() -> None:
    results, scores = curves({"e": 1, "f": 2, "g": 3}, targets="abc")
    table = replay_table(replay(results, scores))
    turned = results.assign(dice=results["dice"].where(results["dataset"] != "a", 1 - results["dice"]))
    other = replay_table(replay(turned, scores))
    keys = ["rule", "budget", "parameters", "epochs_trained", "kept_epochs"]
    alone, other = (part.loc[part["dataset"] == "a", keys].reset_index(drop=True) for part in (table, other))
    pd.testing.assert_frame_equal(alone, other)
    fraction = table[(table["rule"] == FRACTION) & (table["budget"] == "whole")].set_index("encoder")
    assert set(fraction.loc["e", "kept_epochs"]) == {2} and set(fraction.loc["g", "kept_epochs"]) == {8}


def test_budgets() -> None:
    results, scores = curves({"e": 1, "f": 2, "g": 3})
    table = replay_table(replay(results, scores))
    assert (table.loc[table["budget"] == "half", "epochs_trained"] <= 4).all()
    stopped = table[table["rule"] == "first turn for the worse, q"].set_index(["budget", "encoder"])
    assert set(stopped.loc[("whole", "e"), "epochs_trained"]) == {4}  # seen to be worse at 4,
    assert set(stopped.loc[("whole", "e"), "kept_epochs"]) == {2}  # 2 is kept
    assert set(stopped.loc[("whole", "g"), "epochs_saved"]) == {0}
    thrifty = table[(table["budget"] == "thrifty") & (table["rule"] == FRACTION)].set_index("encoder")
    assert set(thrifty.loc["f", "kept_epochs"]) == {2}  # as good as 8, the last; 4 is better, and longer
    assert (table["epochs_saved"] == 8 - table["epochs_trained"]).all()


def test_fixed_lengths_are_those_of_the_selection(tmp_path: Path) -> None:
    paths = write_run(tmp_path)
    results = read_downstream(paths[0])
    summary = replay_summary(replay(results, read_scores(paths[1])))
    chosen = selection(results, read_scores(paths[1])).frame
    for length in (1, 2):
        rows = chosen[(chosen["pool"] == POOL) & (chosen["selector"] == f"{FIXED}{length}")]
        here = summary[(summary["rule"] == f"{FIXED}{length}") & (summary["dataset"] == ALL)].iloc[0]
        runs = rows.groupby(RUN)["diff_to_last"].mean().to_numpy()
        assert here["diff_to_last"] == pytest.approx(runs.mean()) and here["epochs_saved"] == 8 - length
        assert here[["diff_low", "diff_high"]].tolist() == pytest.approx(t_interval(runs))
        assert here["to_fixed"] == pytest.approx(0) and here["goal"] == ""
    last = summary[summary["rule"] == NEVER]
    assert (last["diff_to_last"] == 0).all() and (last["epochs_saved"] == 0).all()


def verdicts(results: pd.DataFrame, scores: pd.DataFrame, budget: str = "half") -> pd.Series:
    summary = replay_summary(replay(results, scores))
    summary = summary[(summary["dataset"] == ALL) & (summary["budget"] == budget)]
    return summary.set_index("rule")["goal"]


def test_a_rule_that_finds_each_runs_own_peak_reaches_the_goal() -> None:
    """Peaks at 1, 2 and 1 of 8 epochs: no fixed length serves all, and the last is far worse."""
    results, scores = curves({"e": 0, "f": 1, "g": 0, "h": 1})
    found = verdicts(results, scores)
    assert found["first turn for the worse, q"] == "supported"
    assert found["accuracy plateau"] == "inconclusive"  # it is a fixed length here


@pytest.mark.slow
def test_a_rule_that_trains_more_than_half_misses_the_goal() -> None:
    """It keeps the peak at 4 of 8 epochs, better than any fixed length of equal epochs, but must see 8 to know it."""
    results, scores = curves({"e": 2, "f": 2, "g": 2})
    assert verdicts(results, scores, "whole")["first turn for the worse, q"] == "contradicted"
    assert verdicts(results, scores, "half")["first turn for the worse, q"] == "inconclusive"


@pytest.mark.slow
def test_a_rule_that_stops_far_from_the_peak_is_contradicted() -> None:
    results, scores = curves({"e": 3, "f": 3, "g": 3, "h": 3}, {"e": 0, "f": 1, "g": 0, "h": 1})
    assert verdicts(results, scores)["first turn for the worse, q"] == "contradicted"
    few = results["encoder"].isin(["e", "f"])
    assert verdicts(results[few], scores)["first turn for the worse, q"] == "not testable with these data"


def test_tables_say_what_they_are(tmp_path: Path) -> None:
    downstream, robustness = write_run(tmp_path, targets=("x",))
    write_replay(downstream, robustness, None, None, tmp_path / "r.csv", tmp_path / "s.csv")
    table = read_table(tmp_path / "r.csv")
    assert set(table["rule"]) == {NEVER, "fixed 1", "fixed 2", "fixed 8"}  # one data set: no parameters can be chosen
    for name in ("r.csv", "s.csv"):
        assert "is not a completed short one" in head_of(tmp_path / name)
    assert not table.duplicated(["rule", "budget", *CURVE]).any()


@pytest.mark.slow
def test_published_rules_against_plain_loops(reference: Path) -> None:
    """Patience 1 of the robustness score, the best kept, in the setting that is best on the other data sets."""
    folder = reference / "published"
    results, scores = read_downstream(folder / "downstream_scores.csv"), read_scores(folder / "robustness_scores.csv")
    mean = results[results["epochs"] > 0].groupby([*CURVE, "epochs"])["dice"].mean()
    lengths = [1, 5, 20, 50, 100, 150, 200, 250, 300]
    wide = scores.set_index(["encoder", "setting", "dataset", "scheme", "epochs"])["value"].sort_index()
    found = []
    for encoder in ("resnet50", "swin", "unet"):
        model = results.loc[results["encoder"] == encoder, "model"].iloc[0]
        rows = []
        for setting in sorted(set(scores.loc[scores["encoder"] == encoder, "setting"])):
            for target in ("ACDC", "COVID-QU", "IDRiD"):
                for scheme in ("advanced", "simple"):
                    values = wide[encoder, setting, target, scheme].tolist()
                    stop = next((i for i in range(1, 9) if values[i] <= max(values[:i])), 8)
                    for freeze in (False, True):
                        dice = mean[target, model, encoder, freeze, scheme, 0].tolist()
                        kept = int(np.argmax(values[: stop + 1]))
                        gain = dice[kept] - dice[-1]
                        rows.append((setting, target, scheme, gain, lengths[stop], max(dice) - dice[kept]))
        table = pd.DataFrame(rows, columns=["setting", "target", "scheme", "gain", "trained", "regret"])
        for target, here in table.groupby("target"):
            costs = table[table["target"] != target].groupby("setting")["regret"].mean().round(12)
            found.append(here[here["setting"] == costs.idxmin()].assign(encoder=encoder))
    expected = pd.concat(found).groupby(["encoder", "scheme"])[["gain", "trained"]].mean().mean()
    means, start = summarise(results), "patience 1, tolerance 0, keep the best"
    named = {key: rule for key, rule in rules(means, scores).items() if key[1].startswith(start)}
    keeps, stopped = walk(means, named, 1.0)
    choices = choose_highest(results, means, keeps, list(named), POOL)
    choices.frame["trained"] = choose_highest(results, means, stopped, list(named), POOL).frame["chosen_epochs"]
    picked = by_other_data_sets(choices, ["encoder"], "patience, robustness", "p").frame
    ours = picked.groupby(RUN)[["diff_to_last", "trained"]].mean().mean()
    assert ours.tolist() == pytest.approx(expected.tolist(), abs=1e-12)


@pytest.mark.slow
def test_published_run_no_rule_reaches_the_goal(reference: Path) -> None:
    folder = reference / "published"
    results, scores = read_downstream(folder / "downstream_scores.csv"), read_scores(folder / "robustness_scores.csv")
    summary = replay_summary(replay(results, scores))
    assert not summary[["goal", "goal_kept"]].eq("supported").any(axis=None)
    row = summary.set_index(["rule", "budget", "dataset"]).loc[("patience, robustness", "half", ALL)]
    expected = [-0.0064, -0.0135, 0.0008, 0.0006, -0.0017, 0.0029]
    found = row[["diff_to_last", "diff_low", "diff_high", "to_fixed", "to_fixed_low", "to_fixed_high"]].tolist()
    assert [round(value, 4) for value in found] == expected
