"""Reading of weight files, without ever running code that may be in them, and their comparison with a network."""

import argparse
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from workflow.lib.job.run import UserError, read_json, reason, sha256_of
from workflow.lib.networks.file_kinds import Kind, is_safetensors, other_kind, unreadable, whole_model

# What training code saves beside its tensors, and what runs no code: options, paths, numbers. Under the names of all versions.
SCALAR, ARRAY = np.float64(0).__reduce__()[0], np.zeros(1).__reduce__()[0]
PLAIN: list[Any] = [
    argparse.Namespace,
    np.ndarray,
    np.dtype,
    *{type(np.dtype(kind)) for kind in np.typecodes["All"] if kind != "O"},
    *((PurePath, f"{module}.{kind}Path") for module in ("pathlib", "pathlib._local") for kind in ("Posix", "Windows")),
    *((SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    *((ARRAY, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
]

READ_AGAIN = "download or save the file again, as .safetensors where you can"


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint of ours, after `check_checkpoint`."""
    path = Path(path)
    advice = (
        f"put an undamaged copy of both files there; or rm -f '{path}' '{path.with_suffix('.json')}' and run the same "
        "command again: they will be made again, which for a pretrained encoder means its whole pretraining"
    )
    check_checkpoint(path, next=advice)
    return read_weights(path, next=advice)


def check_checkpoint(path: Path, *, next: str) -> None:
    """Raises `UserError` where a checkpoint of ours is absent, or its SHA-256 differs from the one in the card beside it."""
    expected = f"sha256 {read_json(path.with_suffix('.json')).get('sha256')}"
    found = f"sha256 {sha256_of(path)}" if path.is_file() else "no such file"
    if found != expected:
        raise UserError("damaged checkpoint", found=found, expected=f"{expected} of its card", where=path, next=next)


def read_weights(path: str | Path, *, next: str = "") -> dict[str, Tensor]:
    """All tensors of a safetensors file, or of a file by torch.save, at any depth: `{"model": {"a.b": x}}` gives model.a.b.

    Raises `UserError` for a file that is absent, truncated, holds code, has no tensors, or is none of both kinds; it says what
    the file is, where its content tells. `next`: what the user is to do then, else what fits such a file.
    """
    path = Path(path)
    with safe_globals(PLAIN), warnings.catch_warnings(action="ignore"):  # torch warns of TorchScript
        try:
            content = (
                load_file(path) if is_safetensors(path) else torch.load(path, map_location="cpu", weights_only=True)
            )
        except Exception as error:  # a damaged pickle can raise anything
            kind = other_kind(path) or _foreign(path, error) or _damaged(error)
            raise unreadable(path, kind, next) from error
    tensors = dict(_named_tensors(content))
    if not tensors:
        names = f" of {', '.join(map(str, list(content)[:8]))}" if isinstance(content, Mapping) else ""
        raise unreadable(path, (f"no tensors but a {type(content).__name__}{names}", READ_AGAIN), next)
    return tensors


def _foreign(path: Path, error: Exception) -> Kind | None:
    """What to say of a file with objects in it that are no plain data; None for other files."""
    try:
        names = sorted(get_unsafe_globals_in_checkpoint(path))
    except (ValueError, RuntimeError):  # files of before torch 1.6, and damaged ones
        names = re.findall(r"GLOBAL (\S+)", str(_inner(error)))
    return whole_model(names) if names else None


def _damaged(error: Exception) -> Kind:
    inner = _inner(error)
    why = "" if isinstance(inner, KeyError) else f" ({reason(inner).partition('. ')[0]})"
    return f"no file that torch.save wrote, or not all of it{why}", READ_AGAIN


def _inner(error: Exception) -> BaseException:
    """The cause: around it, torch advises to load without weights_only, which would run code."""
    return error.__context__ or error


def _named_tensors(content: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors in nested mappings, under the names on the way to them, joined by dots."""
    for key, value in content.items() if isinstance(content, Mapping) else ():
        if isinstance(value, Tensor):
            yield f"{prefix}{key}", value
        else:
            yield from _named_tensors(value, f"{prefix}{key}.")


def mismatches(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    """What keeps the tensors `found` from filling a network with the tensors `wanted`, one line each; empty: they fit.

    Names missing or left over, other shapes or types, values that are not finite, and index tables with other values.
    """
    problems = [f"missing {name}" for name in sorted(wanted.keys() - found.keys())]
    problems += [f"unexpected {name}" for name in sorted(found.keys() - wanted.keys())]
    for name in sorted(wanted.keys() & found.keys()):
        value, target = found[name], wanted[name]
        if value.shape != target.shape:
            problems.append(f"{name} has shape {tuple(value.shape)} instead of {tuple(target.shape)}")
        elif value.dtype != target.dtype:
            problems.append(f"{name} has type {value.dtype} instead of {target.dtype}")
        elif value.is_floating_point() and not value.isfinite().all():
            problems.append(f"{name} has values that are not finite")
        elif target.ndim and not target.is_floating_point() and not torch.equal(value, target):
            problems.append(f"{name} has other values")
    return problems
