"""What a run needs from outside and from the disk: data sets with their licences and logins, and bytes."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from workflow.lib.data.geometry import geometry
from workflow.lib.data.registry import Dataset, token_for
from workflow.lib.overview.costs import Study, encoder_of
from workflow.lib.overview.jobs import Job
from workflow.lib.study.checkpoints import LOCAL_DIR, released_runs
from workflow.lib.study.protocol import protocol_of


def data_set_lines(
    name: str,
    *,
    ready: bool,
    folder: str | None,
    origin: str,
    row: Dataset | None,
    downloads: str | Path,
    environment: Mapping[str, str],
) -> list[str]:
    """What is there of a data set and what is missing; the first line begins with its name.

    ready: the workflow has it; origin: folder | generated | registry, as the config says; row: of the registry, None where
    it has none; downloads: folder of archives.
    """
    if origin == "folder":
        there = "is there" if Path(str(folder)).expanduser().is_dir() else "is ABSENT: correct it in the config"
        return [f"{name}: your folder {folder} {there}{', and was read' * ready}"]
    if ready:
        return [f"{name}: ready"]
    if origin == "generated":
        return [f"{name}: will be generated"]
    if row is None:
        return [f"{name}: MISSING, not in the registry: set its `folder` in the config"]
    return [f"{name} (licence: {row.licence})", *_archive_lines(row, Path(downloads), environment)]


def _archive_lines(row: Dataset, downloads: Path, environment: Mapping[str, str]) -> list[str]:
    lines, missing, with_token = [], [], False
    for archive in row.archives:
        if (downloads / archive.file).exists():
            lines.append(f"  {archive.file}: in {downloads}")
        elif archive.url and token_for(archive.url, environment) is not None:
            lines.append(f"  {archive.file}: will be downloaded")
        else:
            missing.append(archive.file)
            with_token = with_token or bool(archive.url)
    lines += [f"  {file}: MISSING" for file in missing]
    if missing:
        other = "export KAGGLE_USERNAME and KAGGLE_KEY" if with_token else "set its `folder` in the config"
        lines += [f"    put into {downloads}/, or {other}", f"    page: {row.page}"]
    return lines


def weights_lines(config: Mapping[str, Any]) -> list[str]:
    """Where weights come from that are not trained here."""
    lines = []
    if released_runs(dict(config)):
        folder, url = config["released"]["folder"], config["released"]["url"]
        lines.append(f"weights of the study: {'your folder ' + folder if folder else 'will be downloaded from ' + url}")
    for name in config["study"]["encoders"]:
        if weights := config["encoders"][name].get("weights"):
            _, _, folder = config["encoders"][name]["architecture"].partition(LOCAL_DIR)
            of_timm = folder or "downloaded by timm (see the model's card for the licence)"
            source = of_timm if weights == "timm" else weights
            lines.append(f"weights of {name}: {source}")
    return lines


def bytes_there(jobs: Iterable[Job]) -> int:
    """Bytes of the outputs that exist."""
    paths = (Path(path) for job in jobs for path in job.outputs)
    return sum(path.stat().st_size for path in paths if path.exists())


def bytes_to_come(job: Job, study: Study) -> float:
    """About the bytes that a job which is not done will store: checkpoints, arrays and downloads; 0 for all small files."""
    config, costs = study.config, study.costs
    if job.wildcards.get("encoder"):
        settings = encoder_of(config, job)
        kind, width = settings["architecture"], settings.get("width", 1)
        width /= costs.get(f"{kind}.width", 1)
        copies = {".safetensors": 1, ".pt": 3}  # a training state holds two moments of every weight, too
        weights = sum(copies.get(Path(path).suffix, 0) for path in job.outputs)
        return weights * costs.get(f"{kind}.classifier", 0) * 4e6 * width**2
    if job.rule == "prepare_target" and (target := study.targets.get(job.wildcards["target"])):
        layout, protocol = config["targets"][job.wildcards["target"]]["layout"], protocol_of(dict(config))
        images = {"acdc": 4, "idrid": 3}.get(layout, 1)  # float32 of MRI, colours, grey
        shape = geometry(layout, protocol["aspect"], config["image_size"])
        return target.items * shape.height * shape.width * (images + 1)
    if job.rule in ("fetch_dataset", "fetch_released"):
        return costs.get(f"{job.wildcards.get('dataset', 'released')}.download", 0) * 1e9
    return 0
