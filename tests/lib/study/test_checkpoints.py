"""The grid: its checkpoints, fine-tunings and their jobs."""

from pathlib import Path
from typing import Any

import yaml

from workflow.lib.study.checkpoints import (
    all_checkpoints,
    all_finetunings,
    checkpoints_of,
    is_trained_here,
    released_runs,
    seeds_in,
    trained_checkpoints,
    written,
)
from workflow.lib.study.config import check_config

ROOT = Path(__file__).parents[3]
SCHEMA = ROOT / "workflow/schemas/config.schema.yaml"


def test_size_of_the_study() -> None:
    config = check_config(yaml.safe_load((ROOT / "config.yaml").read_text()), SCHEMA)
    jobs = all_finetunings(config, "nowhere")
    assert len(jobs) == 342 and sum(len(job.seeds) for job in jobs) == 1710
    assert len(all_checkpoints(config)) == 3 * 2 * 9 + 3 * 5


def test_random_weights_have_the_seed_of_their_finetuning(tmp_path: Path) -> None:
    study = {
        "encoders": ["unet"],
        "schemes": ["simple"],
        "lengths": [0, 1],
        "targets": ["ACDC"],
        "freeze": [True],
        "pretrain_seeds": [9],
        "finetune_seeds": [1, 2],
        "transfer": ["encoder"],
        "train_patients": ["all"],
        "subset_draws": 1,
    }
    config = {"study": study, "encoders": {"unet": {}}, "pretraining": {"weights": "train"}, "pool": {"given": {}}}
    paths = [finetuning.path for finetuning in all_finetunings(config, tmp_path)]
    assert paths == ["ACDC/frozen/unet/random/epoch0-seeds1-2", "ACDC/frozen/unet/simple/seed9/epoch1-seeds1-2"]
    assert [c.path for c in checkpoints_of(config, "unet", "random")] == [f"unet/random/seed{n}/epoch0" for n in (1, 2)]


def test_seeds_in_names() -> None:
    for seeds, text in (
        ((5,), "5"),
        ((1, 2, 3), "1-3"),
        ((1, 3, 4, 9), "1+3-4+9"),
        ((123124, 123125), "123124-123125"),
    ):
        assert written(seeds) == written(reversed(seeds)) == text
        assert seeds_in(text) == seeds


def test_finished_seeds_stay_as_they_are_and_later_ones_get_a_job_of_their_own(tmp_path: Path) -> None:
    study = {"encoders": ["unet"], "schemes": ["s"], "lengths": [1], "targets": ["T"], "freeze": [False]}
    study |= {"pretrain_seeds": [9], "finetune_seeds": [1, 2, 4]}
    study |= {"transfer": ["encoder"], "train_patients": ["all"], "subset_draws": 1}
    config = {"study": study, "encoders": {"unet": {}}, "pretraining": {"weights": "train"}, "pool": {"given": {}}}
    names = ("T/trainable/unet/s/seed9/epoch1-seeds1-3", "T/trainable/unet/s/seed9/epoch1-seeds4")
    assert [job.seeds for job in all_finetunings(config, tmp_path)] == [(1, 2, 4)]
    for name in (names[0], f"{names[1]}.resume", "T/trainable/unet/s/seed9/epoch10-seeds1-4"):
        (tmp_path / name).mkdir(parents=True)
    assert [job.seeds for job in all_finetunings(config, tmp_path)] == [(1, 2, 4)], "nothing is finished yet"
    (tmp_path / names[0] / "card.json").touch()
    (tmp_path / "T/trainable/unet/s/seed9/epoch10-seeds1-4/card.json").touch()  # of another length
    assert [job.path for job in all_finetunings(config, tmp_path)] == list(names)
    study["finetune_seeds"] = [2]
    assert [job.path for job in all_finetunings(config, tmp_path)] == [names[0]], (
        "a job may hold more than is asked for"
    )


def test_ways_of_the_grid() -> None:
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    config["schemes"]["seg"] = {"task": "segmentation", "epochs": 300, "batch": 4, "learning_rate": 0.1}
    config["study"] |= {"encoders": ["unet"], "schemes": ["simple", "seg"], "lengths": [300], "targets": ["ACDC"]}
    config["study"] |= {"transfer": ["encoder", "both", "none"], "train_patients": ["all", 5], "subset_draws": 2}
    jobs = all_finetunings(check_config(config, SCHEMA), "nowhere")
    ways = {job.pretraining: [j.way for j in jobs if j.pretraining == job.pretraining] for job in jobs}
    sizes = ["", "-5patients-draw1", "-5patients-draw2"]
    alone = [f"{freeze}{size}" for freeze in ("trainable", "frozen") for size in sizes]
    assert ways["random"] == ways["simple/seed987812"] == alone, "random weights though 0 is no length"
    assert sorted(ways["seg/seed987812"]) == sorted(
        f"{freeze}{both}{size}" for freeze in ("trainable", "frozen") for both in ("", "-both") for size in sizes
    )


def test_all_kept_checkpoints_of_a_pretraining_are_scored() -> None:
    study = {
        "encoders": ["unet", "mine"],
        "schemes": ["s"],
        "lengths": [0, 1],
        "pretrain_seeds": [9],
        "finetune_seeds": [1],
    }
    config: dict[str, Any] = {"study": study, "encoders": {"unet": {}, "mine": {"weights": "timm", "epochs": 90}}}
    config["pretraining"] = {"weights": "train", "keep": [1, 5]}
    assert [c.epochs for c in checkpoints_of(config, "unet", "s/seed9")] == [1, 5]
    assert [c.epochs for c in checkpoints_of(config, "mine", "pretrained/seed0")] == [90]
    config["pretraining"]["weights"] = "released"
    assert [c.epochs for c in checkpoints_of(config, "unet", "s/seed0")] == [1]


def test_weights_from_elsewhere_have_seed_zero_and_their_own_lengths() -> None:
    config: dict[str, Any] = {
        "study": {
            "encoders": ["unet", "swin", "convnext"],
            "schemes": ["simple", "advanced"],
            "lengths": [0, 1, 5],
            "pretrain_seeds": [7, 8],
            "finetune_seeds": [1],
        },
        "encoders": {"unet": {}, "swin": {}, "convnext": {"weights": "timm", "epochs": 300}},
        "pretraining": {"weights": {"unet": "released", "swin": {"advanced": "released"}}},
    }
    runs = {checkpoint.path.rsplit("/", 1)[0] for checkpoint in trained_checkpoints(config)}
    assert runs == {
        "unet/simple/seed0",
        "unet/advanced/seed0",
        "swin/simple/seed7",
        "swin/simple/seed8",
        "swin/advanced/seed0",
        "convnext/pretrained/seed0",
    }
    assert [c.epochs for c in trained_checkpoints(config) if c.encoder == "convnext"] == [300]
    assert released_runs(config) == [("unet", "simple"), ("unet", "advanced"), ("swin", "advanced")]
    assert [is_trained_here(config, name) for name in config["study"]["encoders"]] == [False, True, False]
