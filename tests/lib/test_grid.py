"""The grid: its size, and the files that count as a rule's code."""

from pathlib import Path

import pytest
import yaml

from workflow.lib.grid import all_checkpoints, all_finetunings, code_files

ROOT = Path(__file__).parents[2]


def test_size_of_the_study():
    study = yaml.safe_load((ROOT / "config.yaml").read_text())["study"]
    assert len(all_finetunings(study)) == 1710
    assert len(all_checkpoints(study)) == 3 * 2 * 9 + 3 * 5


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
    paths = [finetuning.path for finetuning in all_finetunings(study)]
    assert paths == [
        "ACDC/frozen/unet/random/seed1/epoch0-seed1",
        "ACDC/frozen/unet/random/seed2/epoch0-seed2",
        "ACDC/frozen/unet/simple/seed9/epoch1-seed1",
        "ACDC/frozen/unet/simple/seed9/epoch1-seed2",
    ]


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
