"""Models of timm by name: its records of them, and how they are built.

timm: https://github.com/huggingface/pytorch-image-models. A name may also be a repository on its hub, or a folder.
"""

import difflib
from functools import cache
from typing import Any

import timm
from timm.models import load_model_config_from_hf, resolve_pretrained_cfg
from timm.models._hub import load_model_config_from_path

from workflow.lib.job.run import UserError
from workflow.lib.networks.hub import unavailable
from workflow.lib.study.checkpoints import HUB, LOCAL_DIR

SHOWN = 5  # names in an error


def config_of(name: str) -> Any:
    """timm's record of a model. Raises `UserError` when there is no such model."""
    return _found(name)[0]


def call_of(name: str) -> tuple[str, dict[str, Any]]:
    """The name by which timm builds a model without its config.json, and the arguments from there."""
    return _found(name)[1:]


def create(name: str, **arguments: Any) -> Any:
    """A model of timm for images of three channels."""
    architecture, own = call_of(name)
    return timm.create_model(architecture, **own | arguments)


def for_size(name: str, image_size: int, **arguments: Any) -> Any:
    """A model of timm, for the image size if it needs one."""
    if config_of(name).fixed_input_size:
        arguments["img_size"] = image_size
    return create(name, **arguments)


def refused(what: str, *, found: object, expected: str, next: str) -> UserError:
    where = "the timm encoder's name and image size in the config"
    return UserError(what, found=found, expected=expected, where=where, next=next)


@cache
def _found(name: str) -> tuple[Any, str, dict[str, Any]]:
    """timm's record of a model, its name without a place, and its own arguments. Those of hf-hub:<owner>/<name>[@<revision>] and
    local-dir:<folder> are in the config.json there, in timm's format."""
    if not name.startswith((HUB, LOCAL_DIR)):
        known = [*timm.list_models(), *timm.list_models(include_tags=True)]
        if name in known:
            return timm.get_pretrained_cfg(name), name, {}
        close = difflib.get_close_matches(name, known, n=SHOWN)
        near = f", such as {', '.join(close)}" if close else ""
        raise refused(
            "unknown timm encoder",
            found=name,
            expected=f"a name that timm knows{near}; or one that begins with {HUB} or {LOCAL_DIR}",
            next="correct the name; python -c 'import timm; print(*timm.list_models())' lists all",
        )
    where, is_folder = name.partition(":")[2], name.startswith(LOCAL_DIR)
    try:
        read = load_model_config_from_path if is_folder else load_model_config_from_hf
        config, architecture, arguments = read(where)
        record = resolve_pretrained_cfg(architecture, config)
        if not timm.is_model(architecture):
            raise ValueError(f"{architecture} is no architecture of timm")
    except Exception as error:  # the hub's client and its HTTP library have errors of their own
        raise unavailable(name, None if is_folder else where, error) from error
    return record, architecture, {key: value for key, value in arguments.items() if key != "in_chans"}
