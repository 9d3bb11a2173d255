"""Early stopping of pretraining: the rule, what is kept and recorded, kills, and the end of the schedule."""

import json
import math
import shutil
import signal
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from tests.lib.finetune.test_finetune import job as finetuning  # noqa: F401  (a fixture)
from tests.lib.pretrain.test_classification import job as pretraining  # noqa: F401
from tests.workflow_copy import ROOT, copy_project, ended, snakemake
from workflow.lib.job.run import UserError, read_json
from workflow.lib.pretrain import pretrain, stopping
from workflow.lib.pretrain.pretrain import pretrain_encoder
from workflow.lib.pretrain.stopping import cool_down, pretrain_until
from workflow.lib.pretrain.stopping_rule import Checks, checks_of, cooled_rate, decision
from workflow.lib.pretrain.views import Views
from workflow.lib.score.score import score_checkpoints
from workflow.lib.selection.stopping_rules import patience
from workflow.lib.training.distributed import run_on
from workflow.lib.training.state import Position, save_state

EPOCHS = 6
NAMES = {"target": "squares", "encoder": "unet", "scheme": "simple", "pretrain_seed": "5"}
SCORING: dict[str, Any] = {"images": 6, "draws": 2, "pixels": 120, "samples": 2, "components": 8, "seed": 0}
SETTING = {"level": "deepest", "sample": "balanced", "metric": "l2_loss", "margin": 0.25, "pooled": False}
RULE = {"score": "logme", "patience": 2, "tolerance": 0.0, "checks": [1, 2, 3, 4, 5, 6], **SETTING}
OUTPUTS = {"kept.safetensors", "kept.json", "kept.pt", "history.csv", "decision.json"}


@pytest.fixture
def job(pretraining: dict[str, Any], finetuning: dict[str, Any]) -> dict[str, Any]:  # noqa: F811
    recipe = pretraining["recipe"] | {"augmentation": "simple", "epochs": EPOCHS}
    changed = {"encoder": {"architecture": "unet", "width": 4}, "image_size": 16, "recipe": recipe}
    training = {key: value for key, value in pretraining.items() if key != "keep"} | changed
    choice = {"names": NAMES, "stopping": RULE, "scoring": SCORING, "data_folder": finetuning["data_folder"]}
    return training | choice


def training_of(job: dict[str, Any]) -> dict[str, Any]:
    return {key: job[key] for key in job.keys() - {"names", "stopping", "scoring", "data_folder"}}


def scores(monkeypatch: pytest.MonkeyPatch, *values: float) -> None:
    """Make up the scores: of the untrained encoder, and of the checks in a process that is never killed."""
    made_up = iter(values)

    def scorer(*_: object) -> Callable[[], dict[str, float]]:
        return lambda: {"score": next(made_up), "score low": -9.0, "score high": 9.0, "score seconds": 0.5}

    monkeypatch.setattr(stopping, "scorer", scorer)


def dies_at(epoch: int) -> type[Views]:
    """Training images whose last one can't be read in this epoch, as the process is killed."""

    def item(self: Views, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        if self.epoch == epoch and index == 11:
            raise KeyboardInterrupt
        return Views.__getitem__(self, index)

    return type("Dying", (Views,), {"__getitem__": item})


def untimed(record: Any) -> Any:
    """Without what differs between two runs of the same thing."""
    if isinstance(record, dict):
        return {key: untimed(value) for key, value in record.items() if "seconds" not in key and key != "state_sha256"}
    return [untimed(value) for value in record] if isinstance(record, list) else record


def record_of(folder: Path) -> dict[str, Any]:
    return untimed({key: value for key, value in read_json(folder / "decision.json").items() if key != "cool_down"})


def same(one: Path, other: Path) -> bool:
    first, second = load_file(one), load_file(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def history(
    values: Sequence[float] | np.ndarray, noise: Sequence[tuple[float, float]] = ((0.0, 0.0),), shared: float = 0.0
) -> list[dict[str, float]]:
    """Checks of two draws: `noise` of each check, in turn, and what all checks share."""
    rows = []
    for i, value in enumerate(values):
        draws = [value + own + common for own, common in zip(noise[i % len(noise)], (shared, -shared), strict=True)]
        rows.append({"score": value, "score low": value - 9, "score high": value + 9, **named(draws)})
    return [{"epoch": i, "score seconds": 0.1, "seconds": 2.0, **row} for i, row in enumerate(rows, start=1)]


def named(draws: Iterable[float]) -> dict[str, float]:
    return {f"score draw {i}": value for i, value in enumerate(draws, start=1)}


def best_epoch(checks: Checks) -> int:
    assert checks.best is not None
    return checks.best["epoch"]


def test_it_stops_after_so_many_checks_without_improvement() -> None:
    rule = RULE | {"checks": range(1, 9)}
    values = [1.0, 3.0, 2.0, 4.0, 4.0, 3.9, 9.0]
    stops = [checks_of(history(values[:n]), rule).stopped for n in range(1, 8)]
    assert stops == [False, False, False, False, False, True, False]  # never reaches the 9
    checks = checks_of(history(values[:6]), rule)
    assert best_epoch(checks) == 4
    assert [check["missed"] for check in checks.rows] == [0, 0, 1, 0, 1, 2]
    assert [check["best_so_far"] for check in checks.rows] == [1, 2, 2, 4, 4, 4]


def test_epochs_between_checks_do_not_count() -> None:
    rows = history([1.0, math.nan, math.nan, 0.5])
    for row in rows[1:3]:
        for name in [name for name in row if name.startswith("score")]:
            del row[name]
    checks = checks_of(rows, RULE | {"checks": [1, 4]})
    assert [check["epoch"] for check in checks.rows] == [1, 4] and not checks.stopped


@pytest.mark.parametrize(("tolerance", "kept"), [(0.0, 3), (0.15, 3), (0.3, 1)])
def test_an_improvement_within_the_tolerance_is_none(tolerance: float, kept: int) -> None:
    """From 1.0 to 1.1 to 1.2: each step is 0.1."""
    assert best_epoch(checks_of(history([1.0, 1.1, 1.2]), RULE | {"tolerance": tolerance})) == kept


@pytest.mark.parametrize(("noise", "kept"), [(0.001, 3), (0.05, 1)])
def test_the_interval_is_that_of_the_paired_difference(noise: float, kept: int) -> None:
    """Which pixels were drawn moves all checks alike, by 1.0: only what is left moves the difference of 0.1."""
    rule = RULE | {"tolerance": "interval"}
    rows = history([1.0, 1.1, 1.2], noise=[(0.0, 0.0), (noise, -noise), (-noise, noise)], shared=1.0)
    assert best_epoch(checks_of(rows, rule)) == kept


def test_equal_checks_are_rarely_an_improvement() -> None:
    rng, rule, found = np.random.default_rng(0), RULE | {"tolerance": "interval"}, 0
    for _ in range(1000):
        draws = rng.normal(size=3) + 0.1 * rng.normal(size=(2, 3))
        rows = [
            {"epoch": i, "score": d.mean(), "score low": 0, "score high": 0, "score seconds": 0, **named(d)}
            for i, d in enumerate(draws, 1)
        ]
        found += best_epoch(checks_of(rows, rule)) == 2
    assert found / 1000 < 0.05  # 2.5 % on this side


def test_where_lower_is_better_falling_scores_are_improvements() -> None:
    rule = RULE | {"score": "robustness_sound"}
    assert best_epoch(checks_of(history([3.0, 2.0, 1.0]), rule)) == 3
    assert checks_of(history([1.0, 2.0, 3.0]), rule).stopped


def test_a_check_without_a_value_is_no_improvement_and_none_is_kept_without_values() -> None:
    checks = checks_of(history([math.nan, 1.0, math.nan, math.nan]), RULE)
    assert best_epoch(checks) == 2 and checks.stopped
    assert checks_of(history([math.nan, math.nan]), RULE).best is None


def test_the_rule_is_the_one_that_is_replayed_on_finished_curves() -> None:
    rng = np.random.default_rng(1)
    for _ in range(200):
        values, gain = rng.normal(size=8).cumsum(), float(rng.uniform(0, 1))
        most = int(rng.integers(1, 4))
        rule = RULE | {"patience": most, "tolerance": gain, "checks": range(1, 9)}
        stop = next((n for n in range(1, 9) if checks_of(history(values[:n]), rule).stopped), 8)
        best, last = patience(values, np.full(8, gain), most)
        assert (best_epoch(checks_of(history(values[:stop]), rule)), stop) == (best + 1, last + 1)


def test_the_record_says_everything() -> None:
    rule = RULE | {"score": "robustness_sound", "tolerance": "interval"}
    record = decision(history([3.0, math.nan, 2.9], [(0.0, 0.0), (0.0, 0.0), (0.5, -0.5)]), rule, SCORING, schedule=10)
    said = record["rule"]
    assert said["setting"] == {"metric": "l2_loss", "margin": 0.25, "pooled": False, "level": "deepest"}
    assert said["computed_from"] == {"images": 6, "draws": 2, "seed": 0} and said["better"] == "lower"
    assert (record["kept_epoch"], record["last_epoch"], record["epochs_saved"]) == (1, 3, 7)
    assert (record["seconds_of_training"], record["seconds_saved"], record["seconds_of_scoring"]) == (6, 14, 0.3)
    assert record["stopped_early"] and "epochs 2, 3" in record["why"] and "paired" in record["why"]
    assert [check["value"] for check in record["checks"]] == [3.0, None, 2.9]
    json.dumps(record, allow_nan=False)


def test_it_stops_and_keeps_the_checkpoint_that_a_whole_pretraining_has_there(
    job: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretrain_encoder(folder=tmp_path / "whole", keep=[2, EPOCHS], **training_of(job))
    scores(monkeypatch, 0.0, 1.0, 2.0, 1.5, 2.0)
    folder = tmp_path / "seed5"
    pretrain_until(folder=folder, **job)
    assert {path.name for path in folder.iterdir()} == OUTPUTS and not (tmp_path / "seed5.resume").exists()
    assert same(folder / "kept.safetensors", tmp_path / "whole/epoch2.safetensors")
    record, card, whole = (
        read_json(tmp_path / name) for name in ("seed5/decision.json", "seed5/kept.json", "whole/epoch2.json")
    )
    assert (record["kept_epoch"], record["last_epoch"], record["epochs_saved"]) == (2, 4, 2)
    assert record["target"] == "squares" and len(record["checks"]) == 4
    assert "not a completed short one" in record["snapshot"] and card["snapshot"] == record["snapshot"]
    assert f"snakemake {folder}/cooled-1.safetensors" in record["cool_down"]
    assert card["stopping"] == RULE and card["target"]["name"] == "squares"
    new = {"stopping", "scoring", "target", "snapshot"}
    assert card.keys() - new == whole.keys()
    assert all(card[key] == whole[key] for key in ("epoch", "accuracy", "loss", "recipe", "encoder", "index"))
    assert pd.read_csv(folder / "history.csv")["epoch"].tolist() == [1, 2, 3, 4]


def test_without_a_stop_it_runs_to_the_end_of_the_schedule(
    job: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores(monkeypatch, 0, 1, 2, 3)
    pretrain_until(folder=tmp_path / "seed5", **job | {"stopping": RULE | {"checks": [2, 4, EPOCHS]}})
    record = read_json(tmp_path / "seed5/decision.json")
    assert (record["kept_epoch"], record["epochs_saved"], record["stopped_early"]) == (EPOCHS, 0, False)
    assert record["cool_down"] is None and "schedule ended" in record["why"]


@pytest.mark.slow
def test_a_killed_pretraining_decides_as_an_unbroken_one(job: dict[str, Any], tmp_path: Path) -> None:
    """With real scores: probes of features at pixels."""
    job["stopping"] = RULE | {"score": "probe", "tolerance": 0.02}
    whole = tmp_path / "whole"
    pretrain_until(folder=whole, **job)
    last = read_json(whole / "decision.json")["last_epoch"]
    for epoch in (1, 2, 3, 5):
        broken = tmp_path / f"broken{epoch}"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pretrain, "Views", dies_at(epoch))
            died = False
            try:
                pretrain_until(folder=broken, **job)
            except KeyboardInterrupt:
                died = True
        assert died == (epoch <= last) and broken.exists() != died
        pretrain_until(folder=broken, **job)
        assert record_of(broken) == record_of(whole)
        assert same(broken / "kept.safetensors", whole / "kept.safetensors")


@pytest.mark.parametrize(("repeated", "kept"), [((0.5, 0.5), 1), ((5.0, 0.0, 0.0), 2)])
def test_a_kill_between_a_check_and_its_state_leaves_no_trace_of_the_check(
    repeated: tuple[float, ...], kept: int, job: dict[str, Any], tmp_path: Path
) -> None:
    """Where a device does not compute bit-identically, the repeated epoch has other weights, and may not be the best any more."""
    whole = tmp_path / "whole"
    pretrain_encoder(folder=whole, keep=[1, 2], **training_of(job))

    def save_and_die(folder: Path, fingerprint: Any, position: Position, model: Any, optimizer: Any) -> None:
        model.head.bias.data += len(position.history) - 1
        save_state(folder, fingerprint, position, model, optimizer)
        if len(position.history) == 2:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        scores(patch, 0, 1, 5)
        patch.setattr(stopping, "save_state", save_and_die)
        with pytest.raises(KeyboardInterrupt):
            pretrain_until(folder=tmp_path / "seed5", **job)
    with pytest.MonkeyPatch.context() as patch:
        scores(patch, *repeated)  # from epoch 2 on; the untrained encoder was scored before
        pretrain_until(folder=tmp_path / "seed5", **job)
    assert read_json(tmp_path / "seed5/decision.json")["kept_epoch"] == kept
    assert same(tmp_path / "seed5/kept.safetensors", whole / f"epoch{kept}.safetensors")


def test_other_rules_do_not_go_on_with_a_killed_pretraining(
    job: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        scores(patch, 0, 1, 2)
        patch.setattr(pretrain, "Views", dies_at(3))
        with pytest.raises(KeyboardInterrupt):
            pretrain_until(folder=tmp_path / "seed5", **job)
    scores(monkeypatch, 5, 4, 3, 2)
    one = job | {"stopping": RULE | {"patience": 1}}
    with pytest.raises(
        UserError, match=r"(?s)unfinished training has other settings.*rm -r (.*seed5\.resume)"
    ) as error:
        pretrain_until(folder=tmp_path / "seed5", **one)
    assert list((tmp_path / "seed5.resume").glob("state-*.pt")), "nothing is lost unasked"
    assert str(tmp_path / "seed5.resume") in str(error.value)
    shutil.rmtree(tmp_path / "seed5.resume")
    pretrain_until(folder=tmp_path / "seed5", **one)
    assert read_json(tmp_path / "seed5/decision.json")["last_epoch"] == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("score", "level"), [("probe", 2), ("probe_all", 1), ("robustness_sound", "deepest"), ("leep", 1)]
)
def test_the_score_is_the_one_of_the_score_table(
    score: str, level: int | str, job: dict[str, Any], tmp_path: Path
) -> None:
    job["stopping"] = RULE | {"score": score, "level": level, "checks": [2]}
    folder = tmp_path / "seed5"
    pretrain_until(folder=folder, **job)
    of: dict[str, Any] = {"target": NAMES["target"], "checkpoints": [("unet", "simple", 5, 2)]}
    keep = {key: job[key] for key in ("data_folder", "encoder", "inputs", "device", "threads")}
    table, weights = tmp_path / "scores.csv", folder / "kept.safetensors"
    by_group = tmp_path / "scores.json"
    score_checkpoints(**keep, **SCORING, **of, scores=[score], weights=[weights], output=table, by_group=by_group)
    rows = pd.read_csv(table)
    if score == "robustness_sound":
        rows = rows[(rows["metric"] == "l2_loss") & (rows["margin"] == 0.25) & ~rows["pooled"].astype(bool)]
    else:
        rows = rows[rows["sample"] == "balanced"]
    wanted = {"probe": 2, "probe_all": None}.get(score, rows["level"].max())
    row = (rows[rows["level"] == wanted] if wanted else rows).iloc[0]
    check = read_json(folder / "decision.json")["checks"][0]
    for key in ("value", "ci_low", "ci_high"):
        assert check[key] == pytest.approx(row[key], rel=1e-12), key


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"stopping": RULE | {"score": "probe", "level": 9}}, ["level 9", "levels [1, 2, 3, 4, 5]"]),
        ({"stopping": RULE | {"tolerance": "interval"}, "scoring": SCORING | {"samples": 1}}, ["score.samples: 1"]),
    ],
)
def test_a_rule_that_cannot_be_applied_is_refused_before_training(
    change: dict[str, Any], words: list[str], job: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="cannot be stopped by") as error:
        pretrain_until(folder=tmp_path / "seed5", **job | change)
    assert all(word in str(error.value) for word in [*words, "next:"])
    assert not (tmp_path / "seed5.resume").exists()


def test_without_masks_another_score_is_asked_for(job: dict[str, Any], tmp_path: Path) -> None:
    card = job["data_folder"] / "card.json"
    card.write_text(card.read_text().replace('"square"', ""))
    with pytest.raises(UserError, match="this target has no masks") as error:
        pretrain_until(folder=tmp_path / "seed5", **job)
    assert "next:     choose another score" in str(error.value)
    pretrain_until(folder=tmp_path / "seed5", **job | {"stopping": RULE | {"score": "robustness_sound"}})


def test_a_damaged_best_state_is_not_kept(job: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Damaging(Views):
        def __init__(self, *values: Any, **named: Any) -> None:
            super().__init__(*values, **named)
            for path in (tmp_path / "seed5.resume/best").glob("*.pt"):
                path.write_bytes(path.read_bytes()[:-1])

    scores(monkeypatch, 0, 1, 0, 0)
    monkeypatch.setattr(pretrain, "Views", Damaging)
    with pytest.raises(UserError, match="damaged training state"):
        pretrain_until(folder=tmp_path / "seed5", **job)
    assert not (tmp_path / "seed5").exists()


@pytest.mark.slow
def test_two_processes_stop_together(job: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    job |= {"stopping": RULE | {"tolerance": 1e9, "patience": 1}, "source_card": str(job["source_card"])}
    arguments = job | {"index": str(job["index"]), "data_folder": str(job["data_folder"])}
    name = "workflow.lib.pretrain.stopping:pretrain_until"
    run_on(2, 1, name, tmp_path / "two.log", arguments | {"folder": str(tmp_path / "two")})
    record = read_json(tmp_path / "two/decision.json")
    assert (record["kept_epoch"], record["last_epoch"]) == (1, 2)


# The cool-down.


def test_the_learning_rate_of_a_cool_down_is_linear() -> None:
    rates = [cooled_rate(step, first=30, steps=10, start=1.0, end=0.0) for step in range(30, 40)]
    assert rates == pytest.approx([1 - 0.1 * i for i in range(10)])


@pytest.mark.slow
def test_a_cool_down_goes_on_with_weights_optimiser_and_images_of_the_long_schedule(
    job: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the learning rates of the long schedule it ends where that does."""
    pretrain_encoder(folder=tmp_path / "whole", keep=[EPOCHS], **training_of(job))
    folder = tmp_path / "seed5"
    scores(monkeypatch, 0, 1, 2, 1, 1)
    pretrain_until(folder=folder, **job)
    cool_down(folder=folder, epochs=2, **training_of(job))
    card, rows = read_json(folder / "cooled-2.json"), pd.read_csv(folder / "cooled-2.csv")
    assert (card["epoch"], card["cooled_from_epoch"], card["cool_down_epochs"]) == (4, 2, 2)
    assert rows["epoch"].tolist() == [1, 2, 3, 4]
    plan, _, _ = pretrain.pretraining(**training_of(job))
    start, end = plan.rate(4), 1e-6  # 2 steps an epoch; the history has the rate of an epoch's last step
    assert rows["learning_rate"].tolist()[2:] == pytest.approx([0.75 * start + 0.25 * end, 0.25 * start + 0.75 * end])
    monkeypatch.setattr(stopping, "cooled_rate", lambda step, **_: plan.rate(step))
    cool_down(folder=folder, epochs=EPOCHS - 2, **training_of(job))
    assert same(folder / "cooled-4.safetensors", tmp_path / "whole" / f"epoch{EPOCHS}.safetensors")
    assert not list(folder.glob("*.resume"))


def test_a_killed_cool_down_goes_on(job: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, training = tmp_path / "seed5", training_of(job)
    scores(monkeypatch, 0, 1, 0, 0)
    pretrain_until(folder=folder, **job)
    cool_down(folder=folder, epochs=3, **training)
    (folder / "cooled-3.safetensors").rename(tmp_path / "whole.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretrain, "Views", dies_at(3))
        with pytest.raises(KeyboardInterrupt):
            cool_down(folder=folder, epochs=3, **training)
    assert not (folder / "cooled-3.safetensors").exists()
    cool_down(folder=folder, epochs=3, **training)
    assert same(folder / "cooled-3.safetensors", tmp_path / "whole.safetensors")


def test_a_complete_schedule_needs_no_cool_down(
    job: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "seed5"
    scores(monkeypatch, 0, 1)
    pretrain_until(folder=folder, **job | {"stopping": RULE | {"checks": [EPOCHS]}})
    cool_down(folder=folder, epochs=2, **training_of(job))
    assert same(folder / "cooled-2.safetensors", folder / "kept.safetensors")
    assert read_json(folder / "cooled-2.json")["cool_down_epochs"] == 0


def test_a_cool_down_from_a_damaged_state_is_refused(
    job: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "seed5"
    scores(monkeypatch, 0, 1, 0, 0)
    pretrain_until(folder=folder, **job)
    (folder / "kept.pt").write_bytes((folder / "kept.pt").read_bytes()[:-1])
    with pytest.raises(UserError, match="damaged training state") as error:
        cool_down(folder=folder, epochs=1, **training_of(job))
    assert "kept.pt" in str(error.value)


STOPPED = "results/tiny/stopped/COVID-QU/unet/simple/seed1"
OVER = """
study: {lengths: [0, 6], targets: [COVID-QU]}
stopping: {score: probe, level: 3, every: 1, patience: 2, tolerance: 0.05, cool_down: 1}
"""


@pytest.mark.slow
def test_the_workflow_stops_a_killed_pretraining_as_an_unbroken_one(tmp_path: Path) -> None:
    """On generated data: killed once it has saved a best checkpoint, then run to the end, and the same without a kill."""
    records = {}
    for name in ("whole", "broken"):
        folder = copy_project(tmp_path / name)
        (folder / "over.yaml").write_text(OVER)
        options = [
            "--profile",
            "profiles/laptop",
            "--configfile",
            "configs/demo.yaml",
            ROOT / "tests/tiny.yaml",
            "over.yaml",
        ]
        if name == "broken":
            # The best checkpoint is saved first; without a state the job would rightly begin again.
            signs = [f"{STOPPED}.resume/best/state-*.pt", f"{STOPPED}.resume/state-*.pt"]
            ended(folder, signal.SIGKILL, signs, "stopped", *options)
            assert not (folder / STOPPED / "decision.json").exists()
            assert snakemake(folder, "--unlock", *options).returncode == 0
        run = snakemake(folder, "stopped", *options)
        assert run.returncode == 0, run.stdout[-4000:]
        records[name] = record_of(folder / STOPPED)
    assert records["broken"] == records["whole"]
    assert same(*(tmp_path / name / STOPPED / "kept.safetensors" for name in records))
    assert (folder / STOPPED / "cooled-1.safetensors").exists()
    assert "resuming after epoch" in (folder / "results/tiny/logs/stop/COVID-QU-unet-simple-1.log").read_text()
    assert "Nothing to be done" in snakemake(folder, "stopped", *options).stdout
    (folder / "over.yaml").write_text(OVER.replace("patience: 2", "patience: 1"))
    run = snakemake(folder, "stopped", "-n", *options)
    assert run.returncode and "other settings than the config" in run.stdout and "'patience': 1" in run.stdout
