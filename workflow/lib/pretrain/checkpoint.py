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

from workflow.lib.run import atomic_path, sha256_of, write_json


def write_checkpoint(model: nn.Module, path: Path, card: dict[str, Any]) -> None:
    """Write all tensors of `model` to `path` and `card` with the weights' SHA-256 and package versions to the .json beside it."""
    device = next(model.parameters()).device
    with atomic_path(path) as temporary:
        # Not save_file, whose errors hide a full disk, and whose files only the owner may read.
        temporary.write_bytes(save({name: tensor.contiguous() for name, tensor in model.state_dict().items()}))
    write_json(path.with_suffix(".json"), card | {"sha256": sha256_of(path), **provenance(device)})


def trained_as(card: dict[str, Any]) -> str:
    """The augmentation of the checkpoint's pretraining (simple | advanced), which sets its rate of stochastic depth."""
    return card.get("recipe", {}).get("augmentation", "simple")


def provenance(device: torch.device) -> dict[str, Any]:
    """For run cards: package versions, device, its peak memory in MB (the process's on a CPU), and the date."""
    versions = {name: importlib.metadata.version(name) for name in ("torch", "torchvision", "timm", "monai", "numpy")}
    on_gpu = device.type == "cuda"
    peak = torch.cuda.max_memory_allocated(device) / 1e6 if on_gpu else getrusage(RUSAGE_SELF).ru_maxrss / 1e3
    return {
        "versions": versions,
        "device": torch.cuda.get_device_name(device) if on_gpu else platform.processor() or platform.machine(),
        "peak_memory_mb": round(peak),
        "written": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
