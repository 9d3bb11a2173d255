"""The configuration: checked against its schema, with errors that name the key and the likely correction."""

import difflib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from workflow.lib.run import UserError

Config = dict[str, Any]

# Input pixels per position of the deepest level: the image size must be a multiple of it.
STRIDES = {"unet": 16, "resnet50": 32, "swin": 32}


def check_config(config: Config, schema_path: str | Path) -> Config:
    """Fill defaults into `config` (in place), expand environment variables in `folder` values, and check it.

    Raises `UserError` for an unknown key (with the nearest known one), a value of wrong type or range, and for names
    in the grid that nothing defines.
    """
    schema = yaml.safe_load(Path(schema_path).read_text())
    errors = sorted(Draft202012Validator(schema).iter_errors(config), key=lambda error: list(error.absolute_path))
    if errors:
        raise _config_error(errors[0])
    _fill_defaults(config, schema)
    for what, found, known in _unknown_names(config):
        raise UserError(
            f"unknown {what} '{found}' under study{_did_you_mean(found, known)}",
            found=found,
            expected=f"one of {', '.join(map(str, known))}",
            where="config: study",
            next="correct the name, or define it in the config",
        )
    _check_lengths(config)
    _check_image_size(config)
    _expand_folders(config)
    return config


def recipe(config: Config, encoder: str, scheme: str) -> dict[str, Any]:
    """The pretraining recipe of one encoder: the scheme's values, replaced by those under per_encoder."""
    values = dict(config["schemes"][scheme])
    return values | values.pop("per_encoder").get(encoder, {})


def _fill_defaults(value: Any, schema: dict[str, Any]) -> None:
    if not isinstance(value, dict):
        return
    for key, part in schema.get("properties", {}).items():
        if key not in value and "default" in part:
            default = part["default"]
            value[key] = default.copy() if isinstance(default, dict | list) else default
        if key in value:
            _fill_defaults(value[key], part)
    extra = schema.get("additionalProperties")
    if isinstance(extra, dict):
        for key in value.keys() - schema.get("properties", {}).keys():
            _fill_defaults(value[key], extra)


def _config_error(error: ValidationError) -> UserError:
    where = ".".join(map(str, error.absolute_path)) or "top level"
    expected, what, found = _expectation(error.schema), f"wrong value under {where}", repr(error.instance)
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        known = list(error.schema.get("properties", {}))
        found = next(key for key in error.instance if key not in known)
        what, expected = f"unknown key {found} under {where}{_did_you_mean(found, known)}", f"one of {', '.join(known)}"
    elif error.validator == "required":
        what, found, expected = f"missing key under {where}", error.message, ", ".join(error.schema["required"])
    return UserError(
        what,
        found=found,
        expected=expected,
        where=f"config: {where}",
        next="correct the config; all keys stand in workflow/schemas/config.schema.yaml",
    )


def _expectation(schema: Any) -> str:
    rules = {key: value for key, value in schema.items() if key not in ("default", "description", "properties")}
    text = ", ".join(f"{key} {value}" for key, value in rules.items())
    return f"{text} ({schema['description']})" if "description" in schema else text


def _did_you_mean(found: object, known: list[str]) -> str:
    near = difflib.get_close_matches(str(found), [str(name) for name in known], n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _unknown_names(config: Config) -> Iterator[tuple[str, str, list[str]]]:
    for what in ("encoders", "schemes", "targets"):
        for name in config["study"][what]:
            if name not in config[what]:
                yield what.removesuffix("s"), name, list(config[what])
    if config["pretraining"]["source"] not in config["sources"]:
        yield "source", config["pretraining"]["source"], list(config["sources"])


def _check_lengths(config: Config) -> None:
    keep = config["pretraining"]["keep"]
    missing = [length for length in config["study"]["lengths"] if length and length not in keep]
    if missing:
        raise UserError(
            "lengths that the pretraining does not keep",
            found=f"study.lengths {missing}",
            expected=f"0 or one of {keep}",
            where="config: pretraining.keep",
            next="choose kept lengths, or add them to `keep` (that repeats the pretraining)",
        )
    for scheme in config["study"]["schemes"]:
        if max(keep) > config["schemes"][scheme]["epochs"]:
            raise UserError(
                f"scheme {scheme} ends before an epoch that is to be kept",
                found=f"schemes.{scheme}.epochs {config['schemes'][scheme]['epochs']}",
                expected=f"at least {max(keep)}",
                where="config: pretraining.keep",
                next="shorten `keep` or lengthen the scheme",
            )


def _check_image_size(config: Config) -> None:
    for name in config["study"]["encoders"]:
        stride = STRIDES[config["encoders"][name]["architecture"]]
        if config["image_size"] % stride:
            raise UserError(
                f"image size that encoder {name} cannot take",
                found=f"image_size {config['image_size']}",
                expected=f"a multiple of {stride} pixels",
                where="config: image_size",
                next=f"choose {max(1, round(config['image_size'] / stride)) * stride}",
            )


def _expand_folders(config: Config) -> None:
    for section in ("sources", "targets", "deposited"):
        for name, entry in config[section].items():
            folder = entry.get("folder")
            if folder is None:
                continue
            entry["folder"] = os.path.expanduser(os.path.expandvars(folder))
            if "$" in entry["folder"]:
                raise UserError(
                    f"environment variable in the folder of {name} is not set",
                    found=folder,
                    expected="a folder, or set environment variables",
                    where=f"config: {section}.{name}.folder",
                    next="export the variable, or write the folder into the config",
                )
