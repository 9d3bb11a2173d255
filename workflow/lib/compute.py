"""What every job with a network shares: its device and precision, and how images come to it."""

import os
import signal
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from workflow.lib.run import UserError, reason


def device_named(name: str) -> torch.device:
    """The device `cuda` or `cpu`. Raises `UserError` where CUDA is asked for and not usable."""
    if name == "cuda":
        _check_cuda()
    return torch.device(name)


def _check_cuda() -> None:
    """Raises `UserError` that names driver and build, unless a CUDA device of this process computes."""
    problem = "" if torch.cuda.is_available() else f"{torch.cuda.device_count()} devices that torch can use"
    if not problem:
        try:
            torch.ones(1, device="cuda").add(1).item()
        except RuntimeError as error:  # for example a GPU that this build has no code for
            problem = reason(error)
    if problem:
        driver = Path("/proc/driver/nvidia/version")
        version = driver.read_text().splitlines()[0] if driver.exists() else "none loaded on this node"
        seen = os.environ.get("CUDA_VISIBLE_DEVICES", "not set")
        raise UserError(
            "no usable CUDA device",
            found=f"{problem}; driver: {version}; torch {torch.__version__}, built for CUDA {torch.version.cuda};"
            f" CUDA_VISIBLE_DEVICES {seen}",
            expected=f"a GPU, and a driver that runs CUDA {torch.version.cuda} (580 or newer for CUDA 13.0)",
            where=f"node {os.uname().nodename}; config: device: cuda",
            next="run `nvidia-smi` on that node; for an older driver install another build of torch (README, section"
            " Install); or choose `--config device=cpu` deliberately",
        )


def move_network(network: nn.Module, device: torch.device) -> None:
    """Put a network on `device`, in the memory layout that convolutions like best."""
    network.to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def data_loader(
    items: Dataset[Any], batches: Iterable[Sequence[int]], workers: int = 0, *, pinned: bool = False
) -> DataLoader[Any]:
    """The items of each of `batches` (lists of their numbers), loaded by `workers` processes (0: this one)."""
    # Workers are forked: other start methods would run the job's script again in each of them.
    context = "fork" if workers else None
    numbers = [list(batch) for batch in batches]
    return DataLoader(
        items,
        batch_sampler=numbers,
        num_workers=workers,
        multiprocessing_context=context,
        pin_memory=pinned,
        worker_init_fn=_obey_parent_alone if workers else None,
    )


def _obey_parent_alone(worker: int) -> None:
    """SLURM sends SIGTERM to all processes of a job: the training needs its workers until its step is done and saved.
    Only the training itself, whose end would otherwise wait for them for ever, may end them so."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])

    def wait() -> None:
        while signal.sigwaitinfo([signal.SIGTERM]).si_pid != os.getppid():
            pass
        os._exit(128 + signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def chunks(numbers: Sequence[int], size: int) -> list[Sequence[int]]:
    """`numbers` in order, `size` at a time; the last may be shorter."""
    return [numbers[first : first + size] for first in range(0, len(numbers), size)]


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Mixed precision where `precision` is bfloat16, nothing where it is float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")


def standardise(images: Tensor, inputs: str) -> Tensor:
    """What every network input passes, images (n, 3, h, w): `unchanged`, as the study normalises nowhere; or
    `standardised`, each image to mean 0 and standard deviation 1."""
    if inputs == "unchanged":
        return images
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return (images - mean) / (images.std(dim=(1, 2, 3), keepdim=True) + 1e-3)
