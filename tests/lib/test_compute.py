import os
import signal
import subprocess
import sys

import torch
from torch.utils.data import Dataset

from workflow.lib.compute import data_loader


class Numbers(Dataset):
    """Item i is (i, the process that loaded it)."""

    def __len__(self) -> int:
        return 40

    def __getitem__(self, number: int) -> torch.Tensor:
        return torch.tensor([number, os.getpid()])


def test_loader_processes_outlive_a_sigterm_that_the_cluster_sends_to_all():
    launcher = "kill -TERM $1; sleep 0.2"  # another process than the training
    numbers = []
    for batch in data_loader(Numbers(), [[number] for number in range(40)], 2):
        number, loader = batch[0].tolist()
        if number < 4:
            subprocess.run(["bash", "-c", launcher, "bash", str(loader)], check=True)
        numbers.append(number)
    assert numbers == list(range(40))


def test_an_error_between_batches_ends_the_process():
    code = (
        "from tests.lib.test_compute import Numbers, data_loader\n"
        "batches = iter(data_loader(Numbers(), [[number] for number in range(40)], 2))\n"
        "next(batches)\n"
        "raise ValueError('the loss is not finite')\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.returncode == 1 and "the loss is not finite" in run.stderr


def test_a_training_may_end_its_own_loader_processes():
    batches = iter(data_loader(Numbers(), [[number] for number in range(40)], 1))
    [loader] = {batch[0, 1].item() for batch in [next(batches)]}
    os.kill(loader, signal.SIGTERM)
    try:
        list(batches)
    except RuntimeError as error:
        assert str(loader) in str(error)
    except OSError:  # it ended while a batch was on its way
        pass
    else:
        raise AssertionError("the loader process did not end")
