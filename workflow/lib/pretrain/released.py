"""Weights that were not trained here, as this pipeline's checkpoints: the study's own, and those of timm's models."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from workflow.lib.job.run import UserError, read_json, sha256_of
from workflow.lib.networks.build import TIMM, build_classifier, build_encoder
from workflow.lib.networks.checkpoint import write_checkpoint
from workflow.lib.networks.study_names import renamed
from workflow.lib.networks.weights import mismatches, read_weights

log = logging.getLogger("medseg")

CLASSES = 1000  # of ImageNet, in the order of its development kit (the study's labels count from 1)
SHOWN = 10  # mismatches in an error; the log has all


def convert_released(
    *, files: str | Path, registry: str | Path, weights: Path, encoder: Mapping[str, Any], scheme: str, epochs: int
) -> None:
    """Write the study's weights of an encoder, scheme and length as a checkpoint.

    files: what `fetch_released` wrote; registry: released.tsv, the study's file names and ImageNet accuracies. Every
    tensor of the file finds its place, and every tensor of the network is in the file: otherwise a `UserError` lists
    those missing, unexpected or of another shape. It also refuses a damaged file, and one that was changed since.
    """
    row = _registered(registry, encoder["architecture"], scheme, epochs)
    path, sha256 = _listed(files, row["file"])
    network = build_classifier(encoder, CLASSES, use=scheme, seed=0)
    advice = f"put an undamaged file in its place; if it was downloaded: rm '{path}' '{files}' and run the same command again"
    found = renamed(read_weights(path, next=advice), encoder["architecture"])
    problems = mismatches(found, network.state_dict())
    if problems:
        log.error("%s:\n%s", path, "\n".join(problems))
        more = f"; and {len(problems) - SHOWN} more, all in the log" if len(problems) > SHOWN else ""
        raise UserError(
            "released weights do not fit the network",
            found=f"{len(problems)} differences: {'; '.join(problems[:SHOWN])}{more}",
            expected=f"the {len(network.state_dict())} tensors of {dict(encoder)} with {CLASSES} classes",
            where=path,
            next="give the encoder the study's settings in the config, or download the file again",
        )
    network.load_state_dict(found)
    card = {"epoch": epochs, "accuracy": float(row["accuracy"]), "recipe": {"augmentation": scheme}, "seconds": None}
    card |= {"licence": read_json(files).get("licence")}
    write_checkpoint(network, weights, card | {"encoder": dict(encoder), "from": row["file"], "from_sha256": sha256})


def adopt_weights(
    *, weights: Path, encoder: Mapping[str, Any], source: str, sha256: str | None, epochs: int, image_size: int
) -> None:
    """Write the weights that an encoder of the config brings along as a checkpoint of length `epochs`.

    source: timm (the model's own weights, downloaded) or a file of that `sha256`. Its ImageNet accuracy is unknown here.
    The card says where in the file they were found (`taken`), and how far batch norm's statistics are off (`shift`). Raises
    `UserError` as `find_pretrained`, `check_inputs_known` and `check_statistics` do.
    """
    from workflow.lib.networks.hub import terms_of
    from workflow.lib.networks.pretrained import find_pretrained  # here, as timm takes a second to import
    from workflow.lib.networks.sanity import check_inputs_known, check_statistics
    from workflow.lib.networks.timm_models import config_of

    name = encoder["architecture"].removeprefix(TIMM)
    if source != "timm" and "mean" not in encoder:
        check_inputs_known(name)
    tensors, taken = find_pretrained(name, source, image_size, encoder.get("part"))
    if taken["grey"] and not all(len(set(encoder.get(key, ()))) == 1 for key in ("mean", "std")):
        raise UserError(
            "weights for images of one channel, whose inputs are not known",
            found=f"{', '.join(taken['grey'])} of one channel, mean {encoder.get('mean')}, std {encoder.get('std')}",
            expected="one mean and one standard deviation, of the grey images that they were made for",
            where=source,
            next="give `mean` and `std` in this encoder's entry of the config, one number each",
        )
    network = torch.nn.ModuleDict({"encoder": build_encoder(encoder, image_size=image_size, use="simple")})
    network["encoder"].load_state_dict(tensors)
    shift = {} if source == "timm" else check_statistics(name, network["encoder"], image_size)  # type: ignore[arg-type]
    card: dict[str, Any] = {"epoch": epochs, "accuracy": None, "seconds": None, "encoder": dict(encoder)}
    card |= {"from": name if source == "timm" and ":" in name else source}
    card |= {"licence": terms_of(config_of(name)) if source == "timm" else None}  # of a file, only its owner knows it
    write_checkpoint(network, weights, card | {"from_sha256": sha256, "taken": taken, "shift": shift})


def _listed(files: str | Path, name: str) -> tuple[Path, str]:
    """Path and SHA-256 of a fetched file. Raises `UserError` where it is not listed, not there, or another one now."""
    known = read_json(files)["weights"]
    if name not in known:
        raise UserError(
            "weights that the record does not hold",
            found=f"{len(known)} files: {', '.join(sorted(known)[:SHOWN])}",
            expected=name,
            where=files,
            next="choose other lengths, or pretraining.weights: train for this encoder and scheme",
        )
    path, sha256 = Path(known[name]["path"]), known[name]["sha256"]
    found = sha256_of(path) if path.exists() else "no such file"
    if found != sha256:
        raise UserError(
            "released weights changed since they were fetched",
            found=found,
            expected=f"sha256 {sha256}",
            where=path,
            next=f"put the same file back; or rm '{files}' and run the same command again",
        )
    return path, sha256


def _registered(registry: str | Path, architecture: str, scheme: str, epochs: int) -> dict[str, str]:
    table = pd.read_csv(registry, sep="\t", dtype=str)
    same = (table["architecture"] == architecture) & (table["scheme"] == scheme) & (table["epochs"] == str(epochs))
    return {str(key): value for key, value in table[same].iloc[0].items()}
