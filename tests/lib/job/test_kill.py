"""Trainings in processes of their own, killed at random moments and started again until they end."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from tests.lib.finetune.test_finetune import job as finetuning  # noqa: F401  (a fixture)
from tests.lib.pretrain.test_classification import RECIPE
from tests.lib.pretrain.test_classification import job as pretraining  # noqa: F401

ROOT = Path(__file__).parents[3]
CODE = """
import json, sys, torch
from pathlib import Path
from workflow.lib.finetune import finetune
from workflow.lib.pretrain.pretrain import pretrain_encoder
from workflow.lib.job.run import start_job
from workflow.lib.study.checkpoints import Finetuning
torch.use_deterministic_algorithms(True)
finetune.SAVE_EVERY = 0.0
call = json.load(open(sys.argv[1]))
output = Path(call["output"])
start_job(output.with_suffix(".log"), [output / "first"])
arguments = {name: Path(value) if name.endswith("folder") else value for name, value in call["arguments"].items()}
if call["what"] == "finetune":
    arguments["weights"], arguments["job"] = list(map(Path, arguments["weights"])), Finetuning(*arguments["job"])
{"pretrain": pretrain_encoder, "finetune": finetune.finetune_network}[call["what"]](**arguments)
"""


def start(what: str, job: dict[str, Any], output: Path) -> subprocess.Popen[bytes]:
    folder = "folder" if what == "pretrain" else "output_folder"
    arguments = {name: str(value) if isinstance(value, Path) else value for name, value in job.items()}
    arguments |= {"weights": [str(path) for path in job["weights"]]} if what == "finetune" else {}
    call = output.with_suffix(".json")
    call.write_text(json.dumps({"what": what, "output": str(output), "arguments": arguments | {folder: str(output)}}))
    return subprocess.Popen([sys.executable, "-c", CODE, str(call)], cwd=ROOT, stderr=subprocess.DEVNULL)


def until_done(what: str, job: dict[str, Any], output: Path, kinds: list[signal.Signals], rng: random.Random) -> int:
    """Start it, signal it after a random while of training, again and again; returns how often it was hit while training."""
    resume, hits = output.with_name(output.name + ".resume"), 0
    for kind in kinds:
        process = start(what, job, output)
        while process.poll() is None and not list(resume.rglob("state-*")) and hits == 0:
            time.sleep(0.005)
        time.sleep(rng.uniform(0.0, 0.2) if hits == 0 else rng.uniform(1.0, 4.0))
        process.send_signal(kind)
        hits += process.wait() != 0
    assert start(what, job, output).wait() == 0
    return hits


@pytest.mark.slow
@pytest.mark.parametrize("what", ["pretrain", "finetune"])
def test_killed_at_random_moments_it_ends_bit_identical(
    what: str,
    tmp_path: Path,
    pretraining: dict[str, Any],  # noqa: F811
    finetuning: dict[str, Any],  # noqa: F811
) -> None:
    job = pretraining if what == "pretrain" else finetuning
    job["recipe"] = job["recipe"] | {"epochs": 40} | ({"augmentation": "simple"} if what == "pretrain" else {})
    if what == "pretrain":
        job["keep"] = [1, RECIPE["epochs"], 40]
    assert start(what, job, tmp_path / "whole").wait() == 0
    seed = time.time_ns()
    kinds = [signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]
    hits = until_done(what, job, tmp_path / "broken", kinds, random.Random(seed))
    assert hits >= 1, f"never hit (seed {seed})"
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    names = {path.name for path in whole.iterdir()}
    assert {path.name for path in broken.iterdir()} == names, f"seed {seed}"
    for name in names:
        if name.endswith(".safetensors"):
            one, other = load_file(whole / name), load_file(broken / name)
            assert all(torch.equal(one[key], other[key]) for key in one), f"{name}, seed {seed}"
        elif name.endswith(".csv"):
            one, other = (
                pd.read_csv(folder / name).drop(columns="seconds", errors="ignore") for folder in (whole, broken)
            )
            pd.testing.assert_frame_equal(one, other, check_exact=True, obj=f"{name}, seed {seed}")
    assert not list(tmp_path.glob("*.resume")) and not list(tmp_path.glob("*/.*"))
