"""The configuration: checked against its schema, with errors that name the key and the likely correction."""

import difflib
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from workflow.lib.run import UserError, hash_of, read_json, sha256_of

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
    for where, what, found, known in _unknown_names(config):
        raise UserError(
            f"unknown {what} '{found}' under {where}{_did_you_mean(found, known)}",
            found=found,
            expected=f"one of {', '.join(map(str, known))}",
            where=f"config: {where}",
            next="correct the name, or define it in the config",
        )
    _check_lengths(config)
    _check_encoders(config)
    _check_targets(config)
    _expand_folders(config)
    return config


def recipe(config: Config, encoder: str, scheme: str) -> dict[str, Any]:
    """The pretraining recipe of one encoder: the scheme's values, replaced by those under per_encoder.

    The micro-batch becomes the largest divisor of the batch that is not above it, so that steps have the batch's size.
    """
    values = dict(config["schemes"][scheme])
    values |= values.pop("per_encoder").get(encoder, {})
    batch = values["batch"]
    values["micro_batch"] = next(n for n in range(min(values["micro_batch"], batch), 0, -1) if batch % n == 0)
    return values


def variant(config: Config) -> str:
    """The name of this protocol, its switches (as a hash) and image size: prepared data and checkpoints depend on them."""
    switches = f"-{hash_of(config['switches'])[:6]}" if config["switches"] else ""
    return f"{config['protocol']}{switches}-{config['image_size']}"


def check_unchanged(folder: str | Path, settings: dict[str, Any], index: str | Path) -> None:
    """Refuse checkpoints that were made with other settings, or from other images, than the config now says.

    folder: <pretrain>/{encoder}/{scheme}/seed{n}; settings: what its cards must say (recipe, encoder, precision);
    index: list of the source's images, whose SHA-256 the cards hold. Raises `UserError` naming the first difference.
    Nothing is checked where no card exists, nor the images where there is no list of them.
    """
    cards = sorted(Path(folder).glob("epoch*.json"))
    if not cards:
        return
    card = read_json(cards[0])
    if Path(index).exists():
        settings = settings | {"index": _cached_sha256(str(index))}
    for section, values in settings.items():
        old, new = card.get(section), values
        if isinstance(values, dict) and isinstance(old, dict):
            changed = [key for key in values.keys() | old.keys() if values.get(key) != old.get(key)]
            old, new = {key: old.get(key) for key in changed}, {key: values.get(key) for key in changed}
        if old != new:
            raise UserError(
                "a finished pretraining has other settings than the config",
                found=f"{section} {old} in its cards",
                expected=f"{section} {new}, as the config says",
                where=folder,
                next=f"give the encoder or scheme another name; or rm -r {folder} to train anew; or restore the config",
            )


_cached_sha256 = cache(sha256_of)  # the list of ImageNet's files has tens of MB, and every pretraining asks


def check_not_computed(folder: str | Path) -> None:
    """Refuse to put deposited tables over those of a run that was computed here. Raises `UserError`."""
    if (Path(folder) / "finetune").exists():
        raise UserError(
            "deposited tables would replace those of a run that was computed here",
            found=Path(folder) / "finetune",
            expected="a run name that is not in use",
            where="config: deposited",
            next="give the deposited run another name",
        )


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
        next="correct the config (all keys: workflow/schemas/config.schema.yaml); lists and numbers inside --config"
        " arrive as text: write them into a --configfile",
    )


def _expectation(schema: Any) -> str:
    rules = {key: value for key, value in schema.items() if key not in ("default", "description", "properties")}
    text = ", ".join(f"{key} {value}" for key, value in rules.items())
    return f"{text} ({schema['description']})" if "description" in schema else text


def _did_you_mean(found: object, known: list[str]) -> str:
    near = difflib.get_close_matches(str(found), [str(name) for name in known], n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _unknown_names(config: Config) -> Iterator[tuple[str, str, str, list[str]]]:
    """Where a name is used that nothing defines: the place, what it names, the name, and the known ones."""
    for what in ("encoders", "schemes", "targets"):
        for name in config["study"][what]:
            if name not in config[what]:
                yield "study", what.removesuffix("s"), name, list(config[what])
    if config["pretraining"]["source"] not in config["sources"]:
        yield "pretraining", "source", config["pretraining"]["source"], list(config["sources"])
    for scheme, values in config["schemes"].items():
        for name in values["per_encoder"].keys() - config["encoders"].keys():
            yield f"schemes.{scheme}.per_encoder", "encoder", name, list(config["encoders"])


def _check_lengths(config: Config) -> None:
    if max(config["study"]["lengths"]) == 0:
        raise UserError(
            "no pretraining to study",
            found=f"study.lengths {config['study']['lengths']}",
            expected="at least one length > 0",
            where="config: study.lengths",
            next="add a length",
        )
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


def _check_encoders(config: Config) -> None:
    for name in config["study"]["encoders"]:
        encoder = config["encoders"][name]
        stride = STRIDES[encoder["architecture"]]
        # Batch-norm of a single image needs more than one position at the deepest level.
        if config["image_size"] % stride or config["image_size"] < 2 * stride:
            raise UserError(
                f"image size that encoder {name} cannot take",
                found=f"image_size {config['image_size']}",
                expected=f"a multiple of {stride} pixels, {2 * stride} or more",
                where="config: image_size",
                next=f"choose {max(2, round(config['image_size'] / stride)) * stride}",
            )
        if encoder["architecture"] == "swin" and encoder["width"] % 3:
            raise UserError(
                f"width that the attention heads of encoder {name} cannot share",
                found=f"width {encoder['width']}",
                expected="a multiple of 3",
                where=f"config: encoders.{name}.width",
                next=f"choose {3 * max(1, round(encoder['width'] / 3))}",
            )


def _check_targets(config: Config) -> None:
    for name in config["study"]["targets"]:
        target = config["targets"][name]
        wrong = ""
        if name in config["sources"]:
            wrong, expected = "the name of a source too", "a name that no source has"
        elif target["layout"] != "folder" and target.keys() & {"group", "classes"}:
            wrong, expected = f"group or classes with layout {target['layout']}", "these with layout folder only"
        elif target["layout"] == "folder" and "classes" not in target:
            wrong, expected = "no classes", "classes: [names of labels 1..K]"
        else:
            try:
                re.compile(target.get("group", {}).get("pattern", ""))
            except re.error as error:
                wrong, expected = f"pattern {target['group']['pattern']} ({error})", "a regular expression"
        if wrong:
            raise UserError(
                f"target {name} cannot be used",
                found=wrong,
                expected=expected,
                where=f"config: targets.{name}",
                next="correct this target in the config",
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
