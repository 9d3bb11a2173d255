"""Checkpoints: safetensors beside a JSON card that says what made them."""

import importlib.metadata
import time
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn

from workflow.lib.run import atomic_path, sha256_of, write_json


def write_checkpoint(model: nn.Module, path: Path, card: dict[str, Any]) -> None:
    """Write all tensors of `model` to `path` and `card` with the weights' SHA-256 and package versions to the .json beside it."""
    with atomic_path(path) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, temporary)
    write_json(path.with_suffix(".json"), card | {"sha256": sha256_of(path), **provenance()})


def provenance() -> dict[str, Any]:
    """Package versions and the date, for run cards."""
    packages = ("torch", "torchvision", "numpy")
    versions = {name: importlib.metadata.version(name) for name in packages}
    return {"versions": versions, "written": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
