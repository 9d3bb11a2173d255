"""What every job with a network shares: its device and precision, and how images come to it."""

import fcntl
import logging
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from workflow.lib.job.run import UserError, reason

log = logging.getLogger("medseg")

T = TypeVar("T")

_TAKEN: list[IO[str]] = []  # the lock of this process's GPU


def device_named(name: str) -> torch.device:
    """The device `cuda` or `cpu`. Raises `UserError` where CUDA is asked for and not usable."""
    if name == "cuda":
        _take_gpu()
        _check_cuda()
    return torch.device(name)


def _take_gpu() -> None:
    """Make the current device of this process a GPU that no other job of this user on this machine has taken; until it ends.

    Not where a scheduler gives GPUs to jobs, nor in one of several processes of a training, which have theirs by number. Where
    all are taken, jobs share them.
    """
    count = torch.cuda.device_count()
    if _TAKEN or count < 2 or {"SLURM_JOB_ID", "LOCAL_RANK"} & set(os.environ):
        return
    for number in range(count):
        lock = open(Path(tempfile.gettempdir()) / f"medseg-{os.getuid()}-gpu{number}.lock", "w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            continue
        _TAKEN.append(lock)
        torch.cuda.set_device(number)
        log.info("GPU %d of %d", number, count)
        return
    log.warning("all %d GPUs have jobs already, and this one shares the first; next: --resources gpu=%d", count, count)


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
            next="run `nvidia-smi` on that node; for an older driver install another build of torch"
            " (docs/usage.md); or choose `--config device=cpu` deliberately",
        )


def chosen_precision(asked: str, device: torch.device) -> str:
    """The precision that `asked` (auto | float32 | bfloat16) means on `device`: auto is bfloat16 where the hardware has
    instructions for it, else float32. It depends on the hardware alone, so that all jobs of a machine choose alike.

    Warns, with the factor measured, where bfloat16 is asked for and emulated.
    """
    native = _has_bfloat16(device)
    chosen = ("bfloat16" if native else "float32") if asked == "auto" else asked
    log.info("precision %s%s", chosen, f" (asked for: {asked})" if asked != chosen else "")
    if chosen == "bfloat16" and not native:
        slower = _seconds_of_step(device, "bfloat16") / _seconds_of_step(device, "float32")
        log.warning(
            "bfloat16 is emulated on this %s: a small step takes %.1f times as long as in float32; next: precision: auto",
            device.type,
            slower,
        )
    return chosen


def _has_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16, and this process may use them (ONEDNN_MAX_CPU_ISA can forbid it)."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    has = torch.cpu.get_capabilities()
    instructions = has.get("avx512_bf16") or has.get("amx_bf16")
    return bool(instructions and torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _seconds_of_step(device: torch.device, precision: str) -> float:
    """The fastest of three forward and backward passes of a small convolution."""
    layer = nn.Conv2d(16, 16, 3, padding=1).to(device)
    images, seconds = torch.ones(8, 16, 32, 32, device=device), []
    for _ in range(3):
        start = time.perf_counter()
        with autocast(device, precision):
            layer(images).sum().backward()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def move_network(network: nn.Module, device: torch.device, precision: str = "float32") -> None:
    """Put a network on `device`, in the memory layout that its convolutions like best; they bring the images into it.

    Channels last on GPUs, in bfloat16, and on CPUs with AVX-512: there a float32 step of narrow networks takes 0.6 to 0.8 of the
    time with it, and one at full size 0.99 (U-Net) and 1.05 (ResNet50). With AVX2 alone, one at full size takes 1.5 times as
    long (U-Net; ResNet50: 1.05), and one of narrow networks between 0.7 and 1.3 times.
    """
    network.to(device)
    in_3d = any(parameter.ndim == 5 for parameter in network.parameters())  # torch has another layout for these
    wide = torch.backends.cpu.get_cpu_capability() == "AVX512"
    if not in_3d and (device.type == "cuda" or precision == "bfloat16" or wide):
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def data_loader(
    items: Dataset[Any], batches: Iterable[Sequence[Any]], workers: int = 0, *, pinned: bool = False
) -> DataLoader[Any]:
    """The items of each of `batches` (their numbers, or what else `items` knows them by), loaded by `workers` processes (0: this
    one); of an iterator, once."""
    # Workers are forked: other start methods would run the job's script again in each of them.
    context = "fork" if workers else None
    return DataLoader(
        items,
        batch_sampler=batches if isinstance(batches, Iterator) else [list(batch) for batch in batches],
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


def chunks(numbers: Sequence[T], size: int) -> list[Sequence[T]]:
    """`numbers` in order, `size` at a time; the last may be shorter."""
    return [numbers[first : first + size] for first in range(0, len(numbers), size)]


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Mixed precision where `precision` is bfloat16, nothing where it is float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")


def standardise(images: Tensor, inputs: str, statistics: Tensor | None = None) -> Tensor:
    """What every network input passes, images (n, 3, h, w): `unchanged`, as the study normalises nowhere; or
    `standardised`, each by its own mean and standard deviation, or by `statistics` (n, 2): those of the volume or picture that
    it is a part of, so that slices keep their differences, dark tiles stay dark, and padding shifts nothing."""
    if inputs == "unchanged":
        return images
    if statistics is None:
        statistics = torch.stack([images.mean(dim=(1, 2, 3)), images.std(dim=(1, 2, 3))], dim=1)
    mean, sd = statistics.T.view(2, -1, 1, 1, 1)
    return (images - mean) / (sd + 1e-3)
