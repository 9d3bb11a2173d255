"""Checks of the configuration that a schema can't express: names, lengths and sizes that go together."""

import os
import re
from collections.abc import Iterator
from typing import Any

from workflow.lib.job.run import UserError
from workflow.lib.study.checkpoints import (
    WITH_DECODER,
    brings_weights,
    chain_of,
    is_trained_here,
    schemes_behind,
    trial_of,
    tuned_schemes,
    weights_from,
)
from workflow.lib.study.protocol import SCORE, protocol_of

# Input pixels per position of the deepest level: the image size must be a multiple of it.
STRIDES = {"unet": 16, "resnet50": 32, "swin": 32}
MASKS = ("masks", "labelsTr")  # beside images/ and imagesTr/ in folders of anyone's own


def unknown_names(config: dict[str, Any]) -> Iterator[tuple[str, str, str, list[str]]]:
    """Where a name is used that nothing defines: the place, what it names, the name, and the known ones."""
    for key in ("encoders", "schemes", "targets", "development"):
        what = "targets" if key == "development" else key
        for name in config["study"][key]:
            if name not in config[what]:
                yield "study", what.removesuffix("s"), name, list(config[what])
    if config["pretraining"]["source"] not in config["sources"]:
        yield "pretraining", "source", config["pretraining"]["source"], list(config["sources"])
    weights = config["pretraining"]["weights"]
    for encoder, value in weights.items() if isinstance(weights, dict) else []:
        if encoder not in config["encoders"]:
            yield "pretraining.weights", "encoder", encoder, list(config["encoders"])
        for scheme in value if isinstance(value, dict) else []:
            if scheme not in config["schemes"]:
                yield f"pretraining.weights.{encoder}", "scheme", scheme, list(config["schemes"])
    for scheme, values in config["schemes"].items():
        for name in values["per_encoder"].keys() - config["encoders"].keys():
            yield f"schemes.{scheme}.per_encoder", "encoder", name, list(config["encoders"])
        known = [*config["sources"], *config["targets"]]
        if values["source"] not in (None, *known):
            yield f"schemes.{scheme}", "source", values["source"], known
        if values["continues"] not in (None, *config["schemes"]):
            yield f"schemes.{scheme}", "scheme", values["continues"], list(config["schemes"])


def check_smaller(config: dict[str, Any]) -> None:
    """Raises `UserError` for a smaller copy of a source that cannot serve: too small, or not the images of the paper."""
    for name, source in config["sources"].items():
        side, least = source["shorter_side"], config["image_size"]
        if side is not None and (config["protocol"] == "paper" or side < least):
            paper = config["protocol"] == "paper"
            raise UserError(
                f"source {name} cannot be read from a smaller copy",
                found="protocol: paper, which crops images as they are" if paper else f"shorter_side {side}",
                expected="protocol: sound"
                if paper
                else f"at least the image size, {least}: smaller images would be enlarged",
                where=f"config: sources.{name}.shorter_side",
                next="remove shorter_side" if paper else f"set shorter_side: {max(least, least * 8 // 7)}",
            )


def check_lengths(config: dict[str, Any]) -> None:
    """Raises `UserError` for lengths that no pretraining would leave a checkpoint of."""
    if max(config["study"]["lengths"]) == 0:
        raise UserError(
            "no pretraining to study",
            found=f"study.lengths {config['study']['lengths']}",
            expected="at least one length > 0",
            where="config: study.lengths",
            next="add a length",
        )
    if not any(is_trained_here(config, encoder) for encoder in config["study"]["encoders"]):
        return
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
    encoders = [name for name in config["study"]["encoders"] if not brings_weights(config, name)]
    for scheme in schemes_behind(config):
        trained = any(weights_from(config, name, scheme) == "train" for name in encoders)
        if trained and max(keep) > config["schemes"][scheme]["epochs"]:
            raise UserError(
                f"scheme {scheme} ends before an epoch that is to be kept",
                found=f"schemes.{scheme}.epochs {config['schemes'][scheme]['epochs']}",
                expected=f"at least {max(keep)}",
                where="config: pretraining.keep",
                next="shorten `keep` or lengthen the scheme",
            )


def check_schemes(config: dict[str, Any]) -> None:
    """Raises `UserError` for a scheme whose task, source and augmentation do not go together, or that continues in a circle."""
    for name in schemes_behind(config):
        scheme = config["schemes"][name]
        task, source = scheme["task"], scheme["source"]
        batches = [scheme, *scheme["per_encoder"].values()]
        wrong, chain = "", chain_of(config, name)
        if before := config["schemes"][chain[-1]]["continues"]:
            wrong, expected = f"continues: {' -> '.join([*chain, before])}", "a scheme that does not come from this one"
        elif task == "classification" and source in config["targets"]:
            wrong, expected = f"task classification with source {source}", "a source with classes; or another task"
        elif task == "segmentation" and source in config["targets"] and not has_masks(config["targets"][source]):
            wrong, expected = f"task segmentation with source {source}, which has no masks", "a source with masks"
        elif task != "classification" and scheme["augmentation"] == "advanced":
            wrong, expected = f"augmentation advanced with task {task}", "augmentation: simple"
        elif task.startswith("contrastive") and any(1 in (v.get("batch"), v.get("micro_batch")) for v in batches):
            wrong, expected = (
                f"task {task} with a batch of one image",
                "2 images or more: each is compared with the others",
            )
        if wrong:
            raise _wrong_entry("scheme", name, "trained", wrong, expected)
    study = config["study"]
    if set(study["transfer"]) & {"decoder", "both"} and not any(
        config["schemes"][name]["task"] in WITH_DECODER for name in study["schemes"]
    ):
        raise UserError(
            "no decoder to transfer",
            found=f"study.transfer {study['transfer']}, schemes of other tasks only",
            expected=f"a scheme of task {', '.join(WITH_DECODER)}",
            where="config: study.transfer",
            next="add such a scheme, or transfer the encoder alone",
        )


def check_development(config: dict[str, Any]) -> None:
    """Add a scheme (in place) for each learning rate that is to be tried. Raises `UserError` unless all are tried equally often,
    on targets with masks that judge nothing else."""
    study, tuned = config["study"], tuned_schemes(config)
    development, wrong = study["development"], ""
    unlabelled = [name for name in development if not has_masks(config["targets"][name])]
    if bool(tuned) != bool(development):
        wrong = f"several rates for {', '.join(tuned) or 'no scheme'}; study.development {development}"
        expected = "schemes with several rates, and targets on which they are chosen; or neither"
    elif both := [name for name in development if name in study["targets"]]:
        wrong, expected = f"{', '.join(both)} also in study.targets", "targets that are used for nothing else"
    elif unlabelled:
        wrong, expected = f"{', '.join(unlabelled)} without masks", "targets with masks"
    elif len({len(rates) for rates in tuned.values()}) > 1:
        wrong = "; ".join(f"{name}: {len(rates)} rates" for name, rates in tuned.items())
        expected = "as many rates for each of these schemes: more trials would favour it"
    if wrong:
        raise UserError(
            "learning rates cannot be chosen",
            found=wrong,
            expected=expected,
            where="config: study.development, schemes",
            next="correct one of them; a single number as learning_rate needs no choice",
        )
    for name, rates in tuned.items():
        config["schemes"] |= {trial_of(name, rate): config["schemes"][name] | {"learning_rate": rate} for rate in rates}


def check_score(config: dict[str, Any]) -> None:
    """Raises `UserError` where the score that the run's table holds is not computed."""
    needed = SCORE[protocol_of(config)["robustness"]]
    if needed not in config["score"]["scores"]:
        raise UserError(
            "the score of the run's table is not computed",
            found=f"score.scores {config['score']['scores']}",
            expected=f"{needed} among them, for protocol {config['protocol']}",
            where="config: score.scores",
            next=f"add {needed}, or set switches: {{robustness: ...}}",
        )


def check_finetune(config: dict[str, Any]) -> None:
    """Raises `UserError` for a micro-batch of fine-tuning that does not divide the batch."""
    batch, micro = config["finetune"]["batch"], config["finetune"]["micro_batch"]
    if micro and batch % micro:
        raise UserError(
            "a batch of fine-tuning cannot be cut into such micro-batches",
            found=f"finetune.batch {batch}, finetune.micro_batch {micro}",
            expected=f"one of {[n for n in range(1, batch + 1) if batch % n == 0]}",
            where="config: finetune.micro_batch",
            next="choose a divisor of the batch",
        )


def check_pool(config: dict[str, Any]) -> None:
    """Raises `UserError` for a given network whose name or keys do not go with the rest."""
    for name, network in config["pool"]["given"].items():
        wrong = ""
        if name in config["encoders"]:
            wrong, expected = "the name of an encoder too", "a name that no encoder has"
        elif len(network["window"]) != network["dimensions"]:
            wrong, expected = (
                f"window {network['window']}, dimensions {network['dimensions']}",
                "a size for each dimension",
            )
        elif network["dimensions"] == 3 and "head" in network:
            wrong, expected = "head with dimensions 3", "no head: networks in 3-D are scored, not fine-tuned"
        if wrong:
            raise _wrong_entry("network", name, "used", wrong, expected, where=f"pool.given.{name}")


def check_encoders(config: dict[str, Any]) -> None:
    """Raises `UserError` for an encoder that can't be built, or not for this image size."""
    for name in config["study"]["encoders"]:
        encoder = config["encoders"][name]
        _check_encoder(name, encoder)
        if encoder["architecture"] not in STRIDES:
            continue  # timm's models say themselves which sizes they take
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


def _check_encoder(name: str, encoder: dict[str, Any]) -> None:
    """Raises `UserError` for an entry of `encoders` whose keys do not go together."""
    timm = encoder["architecture"].startswith("timm/")
    wrong = ""
    if not timm and "width" not in encoder:
        wrong, expected = f"architecture {encoder['architecture']} without width", "width: channels of the first level"
    elif timm and "width" in encoder:
        wrong, expected = (
            f"architecture {encoder['architecture']} with width",
            "no width: it is part of the model's name",
        )
    elif not timm and "weights" in encoder:
        wrong = f"architecture {encoder['architecture']} with weights"
        expected = "weights with timm/<name> only; for the study's networks pretraining.weights: released"
    elif ("weights" in encoder) != ("epochs" in encoder):
        wrong, expected = (
            f"{sorted(encoder.keys() & {'weights', 'epochs'})}",
            "both weights and epochs, or none of them",
        )
    if wrong:
        raise _wrong_entry("encoder", name, "built", wrong, expected)


def has_masks(target: dict[str, Any]) -> bool:
    """Whether an entry of `targets` has masks: with layout folder it may do without, and names no classes then."""
    return target["layout"] != "folder" or "classes" in target


def check_targets(config: dict[str, Any]) -> None:
    """Raises `UserError` for a target whose keys do not go with its layout, or not with each other or the folder."""
    for name in [*config["study"]["targets"], *config["study"]["development"]]:
        target = config["targets"][name]
        own = target.keys() & {"group", "classes", "window", "slices"}
        low, high = target.get("window", (0, 1))
        wrong = ""
        if name in config["sources"]:
            wrong, expected = "the name of a source too", "a name that no source has"
        elif target["layout"] != "folder" and own:
            wrong, expected = (
                f"{', '.join(sorted(own))} with layout {target['layout']}",
                "these with layout folder only",
            )
        elif not has_masks(target) and (masks := [m for m in MASKS if os.path.isdir(f"{target['folder']}/{m}")]):
            wrong = f"no classes, but {masks[0]}/ in its folder"
            expected = f"classes: [names of labels 1..K]; or no {masks[0]}/, to use the images without labels"
        elif not has_masks(target) and target.get("slices") == "labelled":
            wrong, expected = "slices: labelled without classes", "a number of slices, as there are no labels"
        elif isinstance(labels := target.get("classes"), dict) and len(set(labels.values())) < len(labels):
            wrong, expected = f"classes {labels}", "another label for each class"
        elif low >= high:
            wrong, expected = f"window [{low}, {high}]", "window: [low, high], low below high"
        else:
            try:
                re.compile(target.get("group", {}).get("pattern", ""))
            except re.error as error:
                wrong, expected = f"pattern {target['group']['pattern']} ({error})", "a regular expression"
        if wrong:
            raise _wrong_entry("target", name, "used", wrong, expected)


def _wrong_entry(kind: str, name: str, done: str, wrong: str, expected: str, where: str | None = None) -> UserError:
    return UserError(
        f"{kind} {name} cannot be {done}",
        found=wrong,
        expected=expected,
        where=f"config: {where or f'{kind}s.{name}'}",
        next=f"correct this {kind} in the config",
    )
