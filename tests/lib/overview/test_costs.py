"""Estimates: counted operations agree with the networks, measured times go before assumed ones and are scaled."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from workflow.lib.networks.build import build_classifier, build_segmenter
from workflow.lib.overview.calibrate import calibrate
from workflow.lib.overview.costs import Estimator, Study, seconds_taken, source_size, target_size, work
from workflow.lib.overview.jobs import Job, Rule

COSTS = Path(__file__).parents[3] / "workflow/registry/costs.tsv"


def gflop(run: Callable[..., Any], *inputs: Any) -> tuple[float, Any]:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        outputs = run(*inputs)
    return counter.get_total_flops() / 1e9, outputs


def operations(job: Job, study: Study) -> float:
    """`work` of a job of which it is known."""
    known = work(job, study)
    assert known is not None
    return known


@pytest.mark.slow
@pytest.mark.parametrize("name", ["unet", "resnet50", "swin"])
def test_the_table_of_costs_says_what_the_networks_do(study: Study, name: str) -> None:
    settings = study.config["encoders"][name]
    network = build_segmenter(settings, 4, seed=1).eval().to("meta")
    encoder, features = gflop(network.encoder, torch.empty(1, 3, 224, 224, device="meta"))
    decoder, _ = gflop(network.decoder, features)
    numbers = sum(
        tensor.numel() for tensor in build_classifier(settings, 1000, use="simple", seed=1).state_dict().values()
    )
    assert encoder == pytest.approx(study.costs[f"{name}.encoder"], rel=1e-3)
    assert decoder == pytest.approx(study.costs[f"{name}.decoder"], rel=1e-3)
    assert numbers / 1e6 == pytest.approx(study.costs[f"{name}.classifier"], rel=1e-3)


def test_work_of_a_tuned_and_a_frozen_network(study: Study, finetuning: Callable[..., Job]) -> None:
    encoder, decoder = 29.77e-3, 57.57e-3  # TFLOP per image
    images, looked_at = 150 * 48, 150 * 10 + 10
    evaluation = looked_at * (encoder + decoder)
    assert work(finetuning(), study) == pytest.approx(images * 3 * (encoder + decoder) + evaluation)
    assert work(finetuning(freeze="frozen"), study) == pytest.approx(images * (encoder + 3 * decoder) + evaluation)


def test_a_job_of_several_seeds_is_as_many_times_the_work(study: Study, finetuning: Callable[..., Job]) -> None:
    assert work(finetuning(seed="1-3+7"), study) == pytest.approx(4 * operations(finetuning(seed="1"), study))


def test_work_of_a_pretraining(study: Study) -> None:
    job = Job("pretrain_encoder", {"encoder": "unet", "scheme": "simple", "pretrain_seed": "1"}, ("x",), "", "")
    assert work(job, study) == pytest.approx(300 * (3 * 1000 + 100) * 29.77e-3)


def test_without_measurements_operations_say_how_long(
    study: Study, rules: dict[str, Rule], finetuning: Callable[..., Job]
) -> None:
    seconds, measured = Estimator([], study, rules).seconds(finetuning())
    assert seconds == pytest.approx(study.costs["start"] + operations(finetuning(), study) / study.costs["cuda"])
    assert not measured


@pytest.mark.slow
def test_a_calibrated_rate_goes_before_the_assumed_one(
    study: Study, rules: dict[str, Rule], finetuning: Callable[..., Job], tmp_path: Path
) -> None:
    calibrate(
        output=tmp_path / "rates.json", costs=COSTS, device="cpu", precision="float32", threads=1, seconds=0, size=32
    )
    rates = json.loads((tmp_path / "rates.json").read_text())["TFLOP per second"]
    assert set(rates) == {"cpu.unet", "cpu.resnet50", "cpu.swin"} and min(rates.values()) > 0
    faster = dataclasses.replace(study, costs={**study.costs, "cuda.unet": 50.0})
    seconds, measured = Estimator([], faster, rules).seconds(finetuning())
    assert seconds == pytest.approx(study.costs["start"] + operations(finetuning(), study) / 50) and not measured
    assert Estimator([], faster, rules).seconds(finetuning("swin")) == Estimator([], study, rules).seconds(
        finetuning("swin")
    )


def test_measured_times_of_the_kind_go_first_and_are_scaled(
    study: Study, rules: dict[str, Rule], finetuning: Callable[..., Job], finish: Callable[..., None]
) -> None:
    finish(finetuning(seed=1), 100.0)
    finish(finetuning(seed=2), 120.0)
    estimator = Estimator([finetuning(seed=1), finetuning(seed=2)], study, rules)
    expected: tuple[Any, bool] = (pytest.approx(110.0), True)
    assert estimator.seconds(finetuning(seed=3)) == expected
    frozen, measured = estimator.seconds(finetuning(freeze="frozen"))
    assert measured
    assert frozen == pytest.approx(
        110 * operations(finetuning(freeze="frozen"), study) / operations(finetuning(), study)
    )
    assert not estimator.seconds(finetuning("swin"))[1]


def test_a_training_in_several_slots_took_all_of_them(
    finetuning: Callable[..., Job], finish: Callable[..., None]
) -> None:
    finish(finetuning(), 50.0, trained=400.0)
    assert seconds_taken(finetuning()) == 400.0


def test_an_unknown_network_has_no_estimate_before_one_is_measured(
    study: Study, rules: dict[str, Rule], finetuning: Callable[..., Job], finish: Callable[..., None]
) -> None:
    study.config["encoders"]["other"] = {"architecture": "timm/other", "network": "Other"}
    assert Estimator([], study, rules).seconds(finetuning("other")) == (None, False)
    finish(finetuning("other", seed=2), 70.0)
    expected: tuple[Any, bool] = (pytest.approx(70.0), True)
    assert Estimator([finetuning("other", seed=2)], study, rules).seconds(finetuning("other")) == expected


def test_windows_of_idrid_are_counted(study: Study) -> None:
    counts = {"train_cases": 54, "test_cases": 27}
    target = target_size(study.config, "IDRiD", "nowhere/card.json", counts, False, study.costs)
    assert target and (target.training, target.test) == (54 * 7 * 17, 27 * 40)


def test_nothing_is_known_of_a_folder_before_it_was_read(study: Study) -> None:
    assert target_size(study.config, "IDRiD", "nowhere/card.json", None, False, study.costs) is None


def test_images_are_counted_in_the_list_whatever_their_layout(tmp_path: Path) -> None:
    rows = [("a.tar", "train")] * 3 + [("ILSVRC/Data/b.JPEG", "train"), ("v.tar", "val"), ("val/c/d.JPEG", "val")]
    table = pd.DataFrame([(*row, 1) for row in rows], columns=["file", "part", "label"])
    table.to_csv(tmp_path / "index.csv.gz", index=False)
    assert source_size(tmp_path / "index.csv.gz", None, generated=False) == (4, 2)


def test_scores_of_views_have_passes_of_their_own_and_all_others_four(study: Study) -> None:
    wildcards = {"target": "ACDC", "encoder": "unet", "pretraining": "random"}  # of five seeds
    job = Job("score_checkpoints", wildcards, ("x",), "", "")
    score: dict[str, Any] = study.config["score"]
    score |= {"draws": 3, "images": 10, "scores": ["robustness", "robustness_sound", "knn", "logme"]}
    assert work(job, study) == pytest.approx(5 * (2 * 3 * 2 + 4) * 10 * 29.77e-3)
