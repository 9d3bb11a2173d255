"""Checkpoints: safetensors beside a JSON card that says what made them."""

import importlib.metadata
import platform
import time
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from workflow.lib.job.run import atomic_path, sha256_of, write_json


def write_checkpoint(model: nn.Module, path: Path, card: dict[str, Any], *, dated: bool = True) -> None:
    """Write all tensors of `model` to `path`, and to the .json beside it `card` with the weights' SHA-256 and the package
    versions; `dated`: with all of `provenance`."""
    device = next(model.parameters()).device
    with atomic_path(path) as temporary:
        # Not save_file, whose errors hide a full disk, and whose files only the owner may read.
        temporary.write_bytes(save({name: tensor.contiguous() for name, tensor in model.state_dict().items()}))
    made = provenance(device) if dated else {"versions": versions()}
    write_json(path.with_suffix(".json"), card | {"sha256": sha256_of(path), **made})


def trained_as(card: dict[str, Any]) -> str:
    """The augmentation of the checkpoint's pretraining (simple | advanced), which sets its rate of stochastic depth."""
    return card.get("recipe", {}).get("augmentation", "simple")


def versions() -> dict[str, str]:
    """The versions of the packages that numbers depend on."""
    return {name: importlib.metadata.version(name) for name in ("torch", "torchvision", "timm", "monai", "numpy")}


def provenance(device: torch.device) -> dict[str, Any]:
    """For run cards: package versions, device, its peak memory in MB (the process's on a CPU), and the date."""
    on_gpu = device.type == "cuda"
    peak = torch.cuda.max_memory_allocated(device) / 1e6 if on_gpu else getrusage(RUSAGE_SELF).ru_maxrss / 1e3
    return {
        "versions": versions(),
        "device": torch.cuda.get_device_name(device) if on_gpu else platform.processor() or platform.machine(),
        "peak_memory_mb": round(peak),
        "written": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
