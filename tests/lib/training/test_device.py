import logging
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from workflow.lib.training import device
from workflow.lib.training.device import chosen_precision, data_loader, move_network

CPU = torch.device("cpu")


class Numbers(Dataset[torch.Tensor]):
    """Item i is (i, the process that loaded it)."""

    def __len__(self) -> int:
        return 40

    def __getitem__(self, number: int) -> torch.Tensor:
        return torch.tensor([number, os.getpid()])


def test_loader_processes_outlive_a_sigterm_that_the_cluster_sends_to_all() -> None:
    launcher = "kill -TERM $1; sleep 0.2"  # another process than the training
    numbers = []
    for batch in data_loader(Numbers(), [[number] for number in range(40)], 2):
        number, loader = batch[0].tolist()
        if number < 4:
            subprocess.run(["bash", "-c", launcher, "bash", str(loader)], check=True)
        numbers.append(number)
    assert numbers == list(range(40))


@pytest.mark.slow
def test_an_error_between_batches_ends_the_process() -> None:
    code = (
        "from tests.lib.training.test_device import Numbers, data_loader\n"
        "batches = iter(data_loader(Numbers(), [[number] for number in range(40)], 2))\n"
        "next(batches)\n"
        "raise ValueError('the loss is not finite')\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.returncode == 1 and "the loss is not finite" in run.stderr


def test_a_training_may_end_its_own_loader_processes() -> None:
    batches = iter(data_loader(Numbers(), [[number % 40] for number in range(40_000)], 1))  # more than it has time for
    [loader] = {batch[0, 1].item() for batch in [next(batches)]}
    os.kill(loader, signal.SIGTERM)
    try:
        list(batches)
    except RuntimeError as error:
        assert str(loader) in str(error)
    except (OSError, EOFError):  # it ended while a batch was on its way
        pass
    else:
        raise AssertionError("the loader process did not end")


def test_jobs_side_by_side_take_different_gpus(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    taken: list[int] = []
    for name in ("SLURM_JOB_ID", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    jobs: list[list[IO[str]]] = [[], [], []]
    for held in jobs:
        monkeypatch.setattr(device, "_TAKEN", held)
        device._take_gpu()
        device._take_gpu()  # asked for again within a job
    assert taken == [0, 1] and "all 2 GPUs have jobs already" in caplog.text
    jobs[0].pop().close()  # the first job has ended
    monkeypatch.setattr(device, "_TAKEN", jobs[2])
    device._take_gpu()
    assert taken == [0, 1, 0]
    monkeypatch.setattr(device, "_TAKEN", [])
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    device._take_gpu()
    assert taken == [0, 1, 0]


@pytest.mark.parametrize(
    ("instructions", "allowed", "chosen"),
    [
        ({"avx512_bf16": True}, True, "bfloat16"),
        ({"amx_bf16": True}, True, "bfloat16"),
        ({"avx512_bf16": True}, False, "float32"),  # ONEDNN_MAX_CPU_ISA=AVX2
        ({"avx512_bf16": False, "avx2": True}, True, "float32"),
        ({}, True, "float32"),
    ],
)
def test_precision_follows_the_hardware(
    instructions: dict[str, bool],
    allowed: bool,
    chosen: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: instructions)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: allowed)
    caplog.set_level(logging.INFO)
    assert chosen_precision("auto", CPU) == chosen
    assert f"precision {chosen} (asked for: auto)" in caplog.text
    assert not [record for record in caplog.records if record.levelno == logging.WARNING]
    assert chosen_precision("float32", CPU) == "float32", "never changed where it is named"


@pytest.mark.parametrize(
    ("instructions", "precision", "channels_last"),
    [("AVX512", "float32", True), ("AVX2", "float32", False), ("AVX2", "bfloat16", True)],
)
def test_networks_get_the_layout_that_is_faster(
    instructions: str, precision: str, channels_last: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: instructions)
    flat, volume = nn.Conv2d(3, 4, 3), nn.Conv3d(3, 4, 3)
    for layer in (flat, volume):
        move_network(layer, CPU, precision)
    assert flat.weight.is_contiguous(memory_format=torch.channels_last) is channels_last
    assert volume.weight.is_contiguous()


def test_emulated_bfloat16_is_computed_as_asked_with_one_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    assert chosen_precision("bfloat16", CPU) == "bfloat16"
    [warning] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "times as long as in float32" in warning and "precision: auto" in warning
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    caplog.clear()
    assert chosen_precision("bfloat16", CPU) == "bfloat16" and not caplog.records
