"""Folders and files that the configuration names: expanded, there, and not the same for training and testing."""

import os
from pathlib import Path
from typing import Any

from workflow.lib.job.run import UserError
from workflow.lib.study.checkpoints import LOCAL_DIR, schemes_behind


def check_sources(config: dict[str, Any]) -> None:
    """Raises `UserError` where images of a target's test split could be pretrained on: its folder is a source too, or, under
    another name, a target that is a source."""
    places = {name: os.path.realpath(entry["folder"]) for name, entry in config["targets"].items() if entry["folder"]}
    used = {config["pretraining"]["source"]} | {config["schemes"][name]["source"] for name in schemes_behind(config)}
    for source in used - {None}:
        folder = {**config["targets"], **config["sources"]}[source]["folder"]
        if folder is None:
            continue
        for name in config["study"]["targets"]:
            if name != source and name in places and _overlap(places[name], os.path.realpath(folder)):
                raise UserError(
                    f"target {name} and pretraining source {source} have the same images",
                    found=f"{folder} is, holds or lies in {places[name]}",
                    expected="a source without images of the target: its test images would be pretrained on",
                    where=f"config: folder of {source} and of targets.{name}",
                    next=f"set `source: {name}` in the scheme, which takes its images outside the test split; or another source",
                )


def _overlap(a: str, b: str) -> bool:
    return os.path.commonpath([a, b]) in (a, b)


def expand_paths(config: dict[str, Any]) -> None:
    """Expand ~ and environment variables in every `folder`, and in the `weights` and local-dir: of encoders.

    Raises `UserError` for a variable that is not set, and for weights of the grid that are not there.
    """
    entries = {
        f"{section}.{name}": entry
        for section in ("sources", "targets", "deposited", "encoders")
        for name, entry in config[section].items()
    }
    entries |= {f"pool.given.{name}": entry for name, entry in config["pool"]["given"].items()}
    for where, entry in (entries | {"released": config["released"]}).items():
        for key in ("folder", "weights", "architecture"):
            path = entry.get(key)
            if path is None:
                continue
            entry[key] = os.path.expanduser(os.path.expandvars(path))
            if "$" in entry[key] and not _is_unused_target(config, where):
                raise UserError(
                    f"environment variable in {where}.{key} is not set",
                    found=path,
                    expected="a path, or set environment variables",
                    where=f"config: {where}.{key}",
                    next="export the variable, or write the path into the config; of several config files your own goes last",
                )
    for name in config["study"]["encoders"]:
        encoder = config["encoders"][name]
        _check_exists(f"encoders.{name}.weights", encoder.get("weights"))
        _check_exists(f"encoders.{name}.architecture", encoder["architecture"].partition(LOCAL_DIR)[2] or None)
    _check_exists("released.folder", config["released"]["folder"])


def _is_unused_target(config: dict[str, Any], where: str) -> bool:
    """Whether `where` is a target that the run does not know, as that of configs/rank.yaml below a config of one's own."""
    study, sources = config["study"], [scheme["source"] for scheme in config["schemes"].values()]
    used = {*study["targets"], *study["development"], *sources}
    section, _, name = where.partition(".")
    return section == "targets" and name not in used


def _check_exists(where: str, path: str | None) -> None:
    if path not in (None, "timm") and not os.path.exists(str(path)):
        raise UserError(
            f"{where} is absent",
            found=f"no {path}",
            expected="a file or folder that can be read from this machine",
            where=f"config: {where}",
            next="correct the path, or put the weights there",
        )


def check_folder(dataset: str, folder: str | Path) -> Path:
    """The user's folder of a data set, whole. Raises `UserError` where it is absent."""
    place = Path(folder).expanduser().absolute()
    if not place.is_dir():
        raise UserError(
            f"the folder of data set {dataset} is {'no folder' if place.exists() else 'absent'}",
            found="a file" if place.exists() else "no such folder",
            expected="a folder that can be read from this machine",
            where=place,
            next=f"correct `folder` of {dataset} in the config",
        )
    return place
