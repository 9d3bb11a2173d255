"""`snakemake rank`: what it plans, and a ranking from end to end on generated data."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.test_dag import jobs
from tests.workflow_copy import ROOT, copy_project, snakemake
from workflow.lib.job.run import UserError
from workflow.lib.rank.candidates import rank_candidates
from workflow.lib.study.config import check_config

TINY = ["--profile", "profiles/laptop", "--configfile", "configs/demo.yaml", ROOT / "tests/tiny.yaml"]


def config(**values: object) -> dict[str, Any]:
    """A checked config with two encoders that bring weights, without length 0."""
    encoders = {
        name: {"architecture": "timm/resnet18", "network": name, "weights": "timm", "epochs": 90} for name in "ab"
    }
    study = {"encoders": ["a", "b"], "schemes": ["s"], "lengths": [5], "targets": ["t"], "freeze": [False]}
    study |= {"pretrain_seeds": [1], "finetune_seeds": [7, 8]}
    plain: dict[str, Any] = {
        "run": "r",
        "study": study,
        "encoders": encoders,
        "pretraining": {"source": "i", "keep": [5]},
    }
    plain |= {
        "sources": {"i": {"layout": "imagenet"}},
        "schemes": {"s": {"epochs": 5, "batch": 4, "learning_rate": 0.1}},
    }
    plain |= {"targets": {"t": {"layout": "acdc"}}, **values}
    return check_config(plain, ROOT / "workflow/schemas/config.schema.yaml")


def test_random_weights_of_every_network_are_candidates_even_where_the_grid_has_none() -> None:
    trained = [f"{e}/pretrained/seed0/epoch90" for e in "ab"]
    paths = [candidate.path for candidate in rank_candidates(config())]
    assert paths == ["a/random/seed7/epoch0", *trained]  # a and b are the same network
    other = config()
    other["encoders"]["b"]["architecture"] = "timm/resnet34"
    paths = [candidate.path for candidate in rank_candidates(other)]
    assert paths == ["a/random/seed7/epoch0", "b/random/seed7/epoch0", *trained]


def test_unknown_default_and_scores_that_are_not_computed_are_refused() -> None:
    with pytest.raises(UserError, match="unknown default; did you mean b/pretrained/seed0/epoch90"):
        rank_candidates(config(rank={"default": "b/pretrained/seed0/epoch9"}))
    with pytest.raises(UserError, match=r"found: +resnet50-tv\n(.*\n)*.*rank: {default: null}"):
        rank_candidates(config(rank={"default": "resnet50-tv"}))
    assert rank_candidates(config(rank={"default": None}))
    with pytest.raises(UserError, match="score to rank by is not computed"):
        rank_candidates(config(protocol="sound", score={"scores": ["robustness_sound"]}))


@pytest.mark.slow
def test_the_config_for_anyones_images_plans_a_ranking(tmp_path: Path) -> None:
    folder = copy_project(tmp_path / "p")
    for name in ("images", "masks"):
        (tmp_path / "mine" / name).mkdir(parents=True)
        (tmp_path / "mine" / name / "p1_1.png").touch()
    run = snakemake(folder, "-n", "rank", "--configfile", "configs/rank.yaml", MEDSEG_IMAGES=str(tmp_path / "mine"))
    planned = jobs(run.stdout)
    assert planned["adopt_weights"] == 3 and planned["random_weights"] == 2  # two ResNet50, one ConvNeXt
    assert planned["score_checkpoints"] == 5 and planned["rank_target"] == 1 and "pretrain_encoder" not in planned
    run = snakemake(folder, "-n", "stopped", "--configfile", "configs/rank.yaml", MEDSEG_IMAGES=str(tmp_path / "mine"))
    assert run.returncode == 1 and "no encoder of this config is pretrained here" in run.stdout


@pytest.mark.slow
def test_rank_plans_no_fine_tuning(tmp_path: Path) -> None:
    folder = copy_project(tmp_path / "p")
    planned = jobs(snakemake(folder, "-n", "rank", *TINY).stdout)
    assert planned["rank_target"] == planned["export_choice"] == 2
    assert planned["score_checkpoints"] == 4  # random weights and one pretraining, on two targets
    assert "finetune_network" not in planned and "confirm_ranking" not in planned


@pytest.mark.slow
def test_ranking_and_its_confirmation(tmp_path: Path) -> None:
    folder = copy_project(tmp_path / "p")
    (folder / "more.yaml").write_text(
        "study: {targets: [ACDC]}\nrank: {confirm: 1, folds: 3, default: unet/simple/seed1/epoch1}\n"
    )
    run = snakemake(folder, "rank", *TINY, "more.yaml")
    assert run.returncode == 0, run.stdout[-4000:]
    place = folder / "results/tiny/rank/ACDC"
    facts = json.loads((place / "ranking.json").read_text())
    table = pd.read_csv(place / "ranking.csv")
    assert facts["by"] == "probe_all" and facts["default"]["epochs"] == 1 and len(table) == 3
    assert facts["choice"]["label"] in (place / "answer.txt").read_text()
    assert (place / "encoder/note.json").exists()
    cases = list(place.glob("confirm/fold*/trainable/*/*/*/*/cases.csv"))
    assert len(cases) == 3 * 2  # folds x the first and the default
    assert facts["default"]["label"] in (place / "confirm.txt").read_text()
    again = snakemake(folder, "-n", "rank", *TINY, "more.yaml")
    assert "Nothing to be done" in again.stdout
    (folder / "fewer.yaml").write_text("study: {lengths: [0, 1]}\n")
    fewer = jobs(snakemake(folder, "-n", "rank", *TINY, "more.yaml", "fewer.yaml").stdout)
    assert fewer["rank_target"] == 1 and not {"score_checkpoints", "finetune_fold"} & fewer.keys()
    # The config that it hands out fine-tunes one candidate.
    planned = jobs(
        snakemake(folder, "-n", "finetune", *TINY, "more.yaml", "results/tiny/rank/ACDC/finetune.yaml").stdout
    )
    assert planned["finetune_network"] >= 1 and "pretrain_encoder" not in planned
