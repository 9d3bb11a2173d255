"""What tasks and transfers gain, from tables with known effects."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from workflow.lib.paper.figures import draw_figure
from workflow.lib.paper.tables import set_table
from workflow.lib.transfer.effects import ALL_TASKS, EVERYWHERE, at_budget, effects, with_measures, write_effects
from workflow.lib.transfer.patients import equivalent, learning_curves, write_learning_curves

GAIN = {
    ("none", "none"): 0.0,
    ("classification", "encoder"): 0.02,
    ("segmentation", "encoder"): 0.06,
    ("segmentation", "both"): 0.061,
}
SECONDS = {"classification": 10, "segmentation": 30}


def table(noise: float = 0.001, slope: float = 0.1) -> pd.DataFrame:
    """Dice 0.5 + slope * log2(patients / 4), plus what the start gains; the last kept length gains twice as much as the first."""
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    places = itertools.product(("A", "B"), (0, 4, 8), (1, 2), GAIN)
    for dataset, patients, seed, (task, transfer) in places:
        used = patients or 16
        for draw, run, epochs in itertools.product(
            (1, 2, 3) if patients else (0,), (0,) if task == "none" else (1, 2, 3), (0,) if task == "none" else (1, 3)
        ):
            gain = GAIN[task, transfer] * (1 if epochs == 3 else 0.5)
            dice = 0.5 + slope * np.log2(used / 4) + gain + rng.normal(0, noise)
            rows.append(
                {
                    "dataset": dataset,
                    "encoder": "unet",
                    "model": "U-Net",
                    "scheme": task if task != "none" else "random",
                }
                | {
                    "task": task,
                    "source": "",
                    "pretrain_seed": run,
                    "epochs": epochs,
                    "freeze": False,
                    "transfer": transfer,
                }
                | {"seconds": SECONDS.get(task, 0) * epochs, "images_seen": 100 * epochs, "patients": patients}
                | {"patients_used": used, "draw": draw, "seed": seed, "dice": dice, "steps_per_epoch": 5}
                | {"classes_lacking": "myocardium" if (patients, draw) == (4, 2) else ""}
                | {"validation": (dice - 0.2, dice - (0.001 if transfer == "both" else 0.1), dice)}
            )
    return pd.DataFrame(rows)


def row(found: pd.DataFrame, **names: Any) -> pd.Series:
    chosen = found
    for column, value in (
        {"dataset": EVERYWHERE, "patients": 0, "measure": "dice", "budget": "images"} | names
    ).items():
        chosen = chosen[chosen[column] == value]
    assert len(chosen) == 1
    return chosen.iloc[0]


def test_gains_are_found_and_judged() -> None:
    found = effects(table())
    gained = row(found, task="segmentation", transfer="encoder", against="none")
    assert gained["estimate"] == pytest.approx(0.06, abs=0.002) and gained["low"] < 0.06 < gained["high"]
    assert gained["verdict"] == "better" and (gained["runs"], gained["seeds"]) == (3, 2)
    decoder = row(found, task="segmentation", transfer="both", against="encoder")
    assert decoder["verdict"] == "no better" and abs(decoder["estimate"]) < 0.004
    task = row(found, task="segmentation", transfer="encoder", against="classification")
    assert task["estimate"] == pytest.approx(0.04, abs=0.002)
    assert row(found, dataset="A", patients=4, task="classification", against="none")["draws"] == 3


def test_noise_makes_it_inconclusive_and_two_runs_give_no_verdict() -> None:
    found = effects(table(noise=0.2))
    assert row(found, task="segmentation", transfer="both", against="encoder")["verdict"] == "inconclusive"
    few = table()
    found = effects(few[few["pretrain_seed"] < 3])
    assert row(found, task="segmentation", transfer="encoder", against="none")["verdict"] == ""


def test_equal_time_takes_a_shorter_pretraining_of_the_slow_task() -> None:
    chosen = at_budget(table(), "time")
    assert chosen.groupby("task")["epochs"].max().to_dict() == {"none": 0, "classification": 3, "segmentation": 1}
    assert set(at_budget(table(), "images").query("task != 'none'")["epochs"]) == {3}
    found = effects(table())
    gained = row(found, task="segmentation", transfer="encoder", against="none", budget="time")
    assert gained["estimate"] == pytest.approx(0.03, abs=0.002) and gained["seconds"] == 30


def test_a_scheme_that_saw_more_in_every_length_is_not_compared() -> None:
    """For example what a short pretraining on few images continues from."""
    longer = table()
    longer.loc[longer["task"] == "segmentation", "images_seen"] += 300
    assert set(at_budget(longer, "images")["task"]) == {"none", "classification"}
    assert set(at_budget(longer, "time")["task"]) == {"none", "classification", "segmentation"}


def test_of_weights_from_elsewhere_the_longest_length_counts() -> None:
    released = table().assign(images_seen=np.nan, seconds=np.nan)
    for budget in ("images", "time"):
        assert set(at_budget(released, budget).query("task != 'none'")["epochs"]) == {3}


def test_convergence_is_measured_against_a_common_threshold() -> None:
    frame = with_measures(table())
    part = frame[(frame["patients"] == 0) & (frame["epochs"] != 1)]
    reached = part.groupby("transfer")["epochs_to_threshold"].mean()
    # 95 % of 0.7 is 0.665: scratch has 0.6 after two epochs, with the decoder it is there.
    assert reached["none"] == 3 and reached["both"] == 2
    faster = row(effects(table()), task="segmentation", transfer="both", against="encoder", measure="area")
    assert faster["estimate"] == pytest.approx(0.1 / 3, abs=0.003) and faster["low"] > 0
    never = table()
    never["validation"] = [
        (0.0, 0.0) if transfer == "both" else curve
        for transfer, curve in zip(never["transfer"], never["validation"], strict=True)
    ]
    assert with_measures(never).query("transfer == 'both'")["epochs_to_threshold"].unique().tolist() == [3]


def test_patients_that_a_pretraining_is_worth() -> None:
    curves = learning_curves(table())
    here = curves[(curves["dataset"] == "A") & (curves["task"] == "segmentation") & (curves["transfer"] == "encoder")]
    four = here[here["patients"] == 4].iloc[0]
    assert four["worth"] == pytest.approx(4 * 2**0.6, rel=0.05)  # 0.06 on a curve that rises by 0.1 a doubling
    assert four["worth_low"] <= four["worth"] <= four["worth_high"] and four["bound"] == ""
    last = here[here["patients"] == 16].iloc[0]
    assert (last["worth"], last["bound"]) == (16, "at least")
    assert here.set_index("patients")["draws_lacking"].to_dict() == {4: 1, 8: 0, 16: 0}


def test_curves_are_read_backwards() -> None:
    sizes, dice = [4, 8, 16], [0.2, 0.4, 0.4]
    assert equivalent(0.3, sizes, dice) == pytest.approx(np.sqrt(32))
    assert equivalent(0.4, sizes, dice) == pytest.approx(8)
    assert (equivalent(0.1, sizes, dice), equivalent(0.9, sizes, dice)) == (4, 16)
    assert np.isnan(equivalent(float("nan"), sizes, dice))


def test_tables_are_set_in_latex_and_figures_drawn(tmp_path: Path) -> None:
    frame = table()
    written = frame.assign(validation=frame["validation"].map(lambda curve: " ".join(map(str, curve))))
    written.to_csv(tmp_path / "transfer_scores.csv", index=False)
    csv = {name: tmp_path / f"{name}.csv" for name in ("transfer_effects", "learning_curves")}
    write_effects(tmp_path / "transfer_scores.csv", csv["transfer_effects"])
    write_learning_curves(tmp_path / "transfer_scores.csv", csv["learning_curves"])
    for name, path in csv.items():
        set_table(name, path, tmp_path / f"{name}.tex")
        assert (tmp_path / f"{name}.tex").read_text().count("segmentation") > 4
    sources = {"transfer_gain": csv["transfer_effects"], "dice_vs_patients": csv["learning_curves"]}
    for name, source in (sources | {"convergence": tmp_path / "transfer_scores.csv"}).items():
        kinds = {kind: str(tmp_path / f"{name}.{kind}") for kind in ("pdf", "png", "csv")}
        draw_figure(name, [str(source)], **kinds)
        shown = pd.read_csv(kinds["csv"])
        assert {"segmentation", "classification"} <= set(shown["task"])
    gains = pd.read_csv(tmp_path / "transfer_gain.csv").set_index(["dataset", "scheme", "transfer"])["estimate"]
    assert gains[EVERYWHERE, "segmentation", "encoder"] == pytest.approx(0.06, abs=0.002), "on all patients"
    few = pd.read_csv(tmp_path / "dice_vs_patients.csv").groupby("patients")["draws_lacking"].max()
    assert few.to_dict() == {4: 1, 8: 0, 16: 0}


def test_a_slower_run_stays_with_the_others_of_its_scheme() -> None:
    frame = table()
    slow = (frame["task"] == "classification") & (frame["pretrain_seed"] == 2)
    frame.loc[slow, "seconds"] *= 1.2  # another scheme takes three times as long: it is left out at its longest length
    at_time = at_budget(frame, "time")
    assert set(at_time.loc[at_time["task"] == "classification", "pretrain_seed"]) == {1, 2, 3}
    assert set(at_time.loc[at_time["task"] == "classification", "epochs"]) == {3}


def test_frozen_encoders_are_compared_with_trainable_ones_and_tasks_are_joined() -> None:
    trainable = table()
    found = effects(pd.concat([trainable, trainable.assign(freeze=True, dice=trainable["dice"] - 0.1)]))
    names = {"against": "trainable", "dataset": EVERYWHERE, "patients": 0, "budget": "images", "measure": "dice"}
    frozen = row(found, **names, scheme="segmentation", transfer="both")
    assert bool(frozen["freeze"]) and frozen["estimate"] == pytest.approx(-0.1, abs=1e-9)
    assert row(found, **names, scheme="random")["estimate"] == pytest.approx(-0.1, abs=1e-9)
    names |= {"against": "none", "transfer": "encoder", "freeze": False}
    alone = [row(found, **names, scheme=task)["estimate"] for task in ("classification", "segmentation")]
    joined = row(found, **names, scheme=ALL_TASKS)
    assert joined["estimate"] == pytest.approx(np.mean(alone), abs=1e-9) and joined["verdict"] == "better"
