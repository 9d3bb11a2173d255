"""Several processes train as one: the same losses, weights and running statistics, up to rounding."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from tests.lib.pretrain.test_classification import RECIPE, job  # noqa: F401  (a fixture)
from workflow.lib.job.run import UserError
from workflow.lib.training import distributed
from workflow.lib.training.distributed import run_on, run_training

PRETRAIN = "workflow.lib.pretrain.pretrain:pretrain_encoder"


def run(job: dict[str, Any], folder: Path, processes: int) -> Path:  # noqa: F811
    arguments = {name: str(value) if isinstance(value, Path) else value for name, value in job.items()}
    run_on(processes, 1, PRETRAIN, folder.with_suffix(".log"), arguments | {"folder": str(folder)})
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "task"),  # with batch-norm; with stochastic depth, too; with several outputs
    [("unet", "classification"), ("resnet50", "classification"), ("unet", "contrastive_reconstruction")],
)
def test_two_processes_train_as_one(
    job: dict[str, Any],  # noqa: F811
    tmp_path: Path,
    architecture: str,
    task: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """12 images, micro-batches of 4, batches of 8: the last step has a single micro-batch, and one process none."""
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    job |= {"encoder": {"architecture": architecture, "width": 4}, "recipe": RECIPE | {"learning_rate": 1e-3}}
    job["recipe"] |= {} if task == "classification" else {"task": task, "augmentation": "simple"}
    one, two = (run(job, tmp_path / f"on{count}", count) for count in (1, 2))
    histories = [pd.read_csv(folder / "history.csv") for folder in (one, two)]
    # In validation, what a contrast is with depends on the processes.
    measured = ["validation loss", "accuracy"] if task == "classification" else []
    for column in ("loss", "learning_rate", *measured):
        assert histories[1][column].to_numpy() == pytest.approx(histories[0][column].to_numpy(), rel=2e-4, abs=1e-7), (
            column
        )
    weights, other = (load_file(folder / "epoch1.safetensors") for folder in (one, two))
    for name, tensor in weights.items():
        if "running" in name or "num_batches" in name:
            torch.testing.assert_close(other[name], tensor, rtol=2e-3, atol=2e-5, msg=name)
    log = (tmp_path / "on2.log").read_text()
    assert "epoch 3" in log and log.count("training images") == 1, "one process logs"


@pytest.mark.slow
def test_more_processes_than_micro_batches_are_refused(
    job: dict[str, Any],  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    with pytest.raises(SystemExit):
        run(job, tmp_path / "on3", 3)
    assert "more processes than micro-batches" in (tmp_path / "on3.log").read_text()
    assert not (tmp_path / "on3").exists()


def test_processes_are_shared_equally_among_nodes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="shared equally"):
        run_on(3, 2, PRETRAIN, tmp_path / "log", {})


@pytest.mark.parametrize(
    ("resources", "processes", "threads"),
    [
        ({"gpu": 1}, 1, 16),
        ({"gpu": 4}, 4, 4),  # one task with 16 CPUs
        ({"gpu": 0, "nodes": 2, "tasks_per_node": 4}, 8, 16),  # SLURM reserves 16 for each of 8 tasks
    ],
)
def test_processes_have_the_threads_that_the_cluster_reserves(
    resources: dict[str, Any], processes: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[tuple[Any, ...]] = []
    monkeypatch.setattr(distributed, "run_on", lambda *arguments: called.append(arguments))
    run_training("module:name", "log", resources, 16, {"epochs": 2})
    [(count, _, _, _, arguments)] = called
    assert count == processes and arguments == {"epochs": 2, "threads": threads}
