"""The grid: its size, and the files that count as a rule's code."""

from pathlib import Path

import pytest
import yaml

from workflow.lib.config import check_config
from workflow.lib.grid import (
    all_checkpoints,
    all_finetunings,
    code_files,
    is_trained_here,
    released_runs,
    trained_checkpoints,
)

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "workflow/schemas/config.schema.yaml"


def test_size_of_the_study():
    config = check_config(yaml.safe_load((ROOT / "config.yaml").read_text()), SCHEMA)
    assert len(all_finetunings(config)) == 1710
    assert len(all_checkpoints(config)) == 3 * 2 * 9 + 3 * 5


def test_random_weights_have_the_seed_of_their_finetuning():
    study = {
        "encoders": ["unet"],
        "schemes": ["simple"],
        "lengths": [0, 1],
        "targets": ["ACDC"],
        "freeze": [True],
        "pretrain_seeds": [9],
        "finetune_seeds": [1, 2],
    }
    config = {"study": study, "encoders": {"unet": {}}, "pretraining": {"source": "train"}}
    paths = [finetuning.path for finetuning in all_finetunings(config)]
    assert paths == [
        "ACDC/frozen/unet/random/seed1/epoch0-seed1",
        "ACDC/frozen/unet/random/seed2/epoch0-seed2",
        "ACDC/frozen/unet/simple/seed9/epoch1-seed1",
        "ACDC/frozen/unet/simple/seed9/epoch1-seed2",
    ]


def test_weights_from_elsewhere_have_seed_zero_and_their_own_lengths():
    config = {
        "study": {
            "encoders": ["unet", "swin", "convnext"],
            "schemes": ["simple", "advanced"],
            "lengths": [0, 1, 5],
            "pretrain_seeds": [7, 8],
            "finetune_seeds": [1],
        },
        "encoders": {"unet": {}, "swin": {}, "convnext": {"weights": "timm", "epochs": 300}},
        "pretraining": {"source": {"unet": "released", "swin": {"advanced": "released"}}},
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


def test_code_files_follow_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for name, text in {
        "workflow/scripts/score/a.py": "from workflow.lib.score.b import f",
        "workflow/lib/score/b.py": "from workflow.lib.score import c",
        "workflow/lib/score/c.py": "",
        "workflow/lib/score/unused.py": "",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    expected = {"workflow/scripts/score/a.py", "workflow/lib/score/b.py", "workflow/lib/score/c.py"}
    assert set(code_files(str(tmp_path), "score/a.py")) == expected
