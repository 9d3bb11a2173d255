"""Reading of weight files, without ever running code that may be in them, and their comparison with a network."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from workflow.lib.job.run import UserError, read_json, reason, sha256_of

WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model")  # where training code puts its tensors; timm's order


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


def read_weights(path: str | Path, *, next: str) -> dict[str, Tensor]:
    """All tensors of a safetensors file, or of a file by torch.save, without what training code wraps around them.

    `next`: what the user is to do about a bad file. Raises `UserError` for a file that is absent, truncated, holds code
    or has no tensors.
    """
    try:
        if Path(path).suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            with torch.serialization.safe_globals([argparse.Namespace]):  # the options that many save along
                content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise anything
        # The inner error: the outer one of torch advises to load without weights_only.
        inner = error.__context__ or error
        found = "no file that torch.save wrote" if isinstance(inner, KeyError) else reason(inner)
        raise _unreadable(path, found, next) from error
    for key in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    items = content.items() if isinstance(content, Mapping) else ()
    tensors = {str(key).removeprefix("module."): value for key, value in items if isinstance(value, Tensor)}
    if not tensors:
        names = f" of {', '.join(map(str, list(content)[:8]))}" if isinstance(content, Mapping) else ""
        raise _unreadable(path, f"no tensors but a {type(content).__name__}{names}", next)
    return tensors


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


def _unreadable(path: str | Path, found: object, next: str) -> UserError:
    expected = "a complete .safetensors file, or one of torch.save with tensors by name (alone, or under "
    expected += f"{', '.join(WRAPPERS)}) and no code"
    return UserError("unreadable weights", found=found, expected=expected, where=path, next=next)
