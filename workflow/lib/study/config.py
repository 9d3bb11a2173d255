"""The configuration: checked against its schema, with errors that name the key and the likely correction."""

import csv
import difflib
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from workflow.lib.job.run import UserError, hash_of
from workflow.lib.study.checkpoints import chain_of, is_trained_here, released_runs
from workflow.lib.study.checks import (
    check_development,
    check_encoders,
    check_finetune,
    check_lengths,
    check_pool,
    check_schemes,
    check_score,
    check_smaller,
    check_targets,
    has_masks,
    unknown_names,
)
from workflow.lib.study.folders import check_sources, expand_paths
from workflow.lib.study.protocol import DATA, PROTOCOLS, fill_recipe, part_of, protocol_of

Config = dict[str, Any]
TASK = {"task": "classification", "source": None, "continues": None}  # what a scheme has where it says nothing


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
    for where, what, found, known in unknown_names(config):
        raise UserError(
            f"unknown {what} '{found}' under {where}{_did_you_mean(found, known)}",
            found=found,
            expected=f"one of {', '.join(map(str, known))}",
            where=f"config: {where}",
            next="correct the name, or define it in the config",
        )
    check_smaller(config)
    check_lengths(config)
    check_score(config)
    check_encoders(config)
    check_schemes(config)
    check_development(config)
    check_finetune(config)
    check_pool(config)
    fill_recipe(config)
    expand_paths(config)
    check_targets(config)
    check_sources(config)
    return config


def recipe(config: Config, encoder: str, scheme: str) -> dict[str, Any]:
    """The pretraining recipe of one encoder: the scheme's values, replaced by those under per_encoder.

    The micro-batch becomes the largest divisor of the batch that is not above it, so that steps have the batch's size.
    """
    values = dict(config["schemes"][scheme])
    values |= values.pop("per_encoder").get(encoder, {})
    for key, default in TASK.items():  # finished cards of classification do not hold these
        if values.get(key, default) == default:
            values.pop(key, None)
    batch = values["batch"]
    values["micro_batch"] = next(n for n in range(min(values["micro_batch"], batch), 0, -1) if batch % n == 0)
    return values


def check_labelled(config: Config, target: str) -> None:
    """Refuse to fine-tune on a target without masks. Raises `UserError`."""
    if not has_masks(config["targets"][target]):
        raise UserError(
            f"target {target} has no masks, so that nothing can be fine-tuned on it",
            found="no `classes`",
            expected="classes: [names of labels 1..K], and masks/ beside images/",
            where=f"config: targets.{target}",
            next="ask for scores alone, which need no masks (snakemake scores, or rank with confirm: 0); or add masks",
        )


def check_unseen(config: Config, target: str) -> None:
    """Raises `UserError` for a scheme that was pretrained on the target's own images: its scores on these, by which it would be
    ranked or stopped, and its Dice on their folds, would flatter it."""
    encoders = [name for name in config["study"]["encoders"] if is_trained_here(config, name)]
    for scheme in config["study"]["schemes"] if encoders else []:
        for behind in chain_of(config, scheme):
            if config["schemes"][behind]["source"] == target:
                raise UserError(
                    f"scheme {scheme} was pretrained on images of target {target}, which it would be ranked or stopped by",
                    found=f"schemes.{behind}.source: {target}",
                    expected="schemes that have not seen the target's training images",
                    where="config: study.schemes",
                    next="leave the scheme out of study.schemes, or compare it by fine-tuning: snakemake transfer",
                )


def check_released(config: Config, registry: str | Path) -> None:
    """Refuse encoders, schemes and lengths of which the study released no weights. registry: released.tsv."""
    known: dict[tuple[str, str], list[int]] = {}
    with open(registry, newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            known.setdefault((row["architecture"], row["scheme"]), []).append(int(row["epochs"]))
    for encoder, scheme in released_runs(config):
        architecture = config["encoders"][encoder]["architecture"]
        lengths = known.get((architecture, scheme), [])
        missing = [length for length in config["study"]["lengths"] if length and length not in lengths]
        if missing:
            raise UserError(
                f"the study released no such weights for encoder {encoder}, scheme {scheme}",
                found=f"architecture {architecture}, lengths {missing}",
                expected=f"lengths {lengths}" if lengths else f"one of {', '.join('/'.join(pair) for pair in known)}",
                where="config: study.lengths, pretraining.weights",
                next="choose released lengths, or pretraining.weights: train for this encoder and scheme",
            )
        if is_trained_here(config, encoder) and protocol_of(config)["inputs"] == "standardised":
            raise UserError(
                f"released and trained weights of encoder {encoder} get different inputs",
                found=f"scheme {scheme} released, another trained here, inputs standardised",
                expected="one kind of inputs for one encoder: the released weights were trained on images in 0..1",
                where="config: pretraining.weights, protocol",
                next="take all schemes of this encoder from one source, or set switches: {inputs: unchanged}",
            )


def inputs_of(config: Config, encoder: str) -> str:
    """What the encoder's checkpoints see (unchanged | standardised): as the protocol says, but images in 0..1 where the
    weights come from elsewhere."""
    return protocol_of(config)["inputs"] if is_trained_here(config, encoder) else "unchanged"


def network_settings(encoder: dict[str, Any]) -> dict[str, Any]:
    """What an encoder's network is built from, without what only names it."""
    keys = ("architecture", "width", "window") if encoder["architecture"] == "swin" else ("architecture", "width")
    return {key: encoder[key] for key in keys if key in encoder}


def data_variant(config: Config) -> str:
    """The name of data prepared by this protocol at this size; switches that do not concern data do not change it."""
    chosen = part_of(protocol_of(config), DATA)
    known = [name for name, protocol in PROTOCOLS.items() if part_of(protocol, DATA) == chosen]
    return f"{known[0] if known else 'mixed-' + hash_of(dict(chosen))[:6]}-{config['image_size']}"


def pretrain_variant(config: Config) -> str:
    """The name of checkpoints trained under this protocol at this size."""
    return f"{protocol_of(config)['inputs']}-{config['image_size']}"


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
