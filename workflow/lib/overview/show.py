"""`snakemake plan` and `snakemake status`: collects what the two texts are made from."""

import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from snakemake.cli import parse_args

from workflow.lib.data.registry import read_registry
from workflow.lib.job.lease import is_dead
from workflow.lib.job.run import UserError, read_json
from workflow.lib.job.slurm import MAINS
from workflow.lib.overview.costs import Study, read_costs, source_size, target_size
from workflow.lib.overview.jobs import jobs_of
from workflow.lib.overview.needs import data_set_lines, weights_lines
from workflow.lib.overview.plan import Limits, plan_text
from workflow.lib.overview.status import status_text

TEXTS = ("plan", "status")
OF = ("all", "rank", "stopped", "transfer", "pool")  # targets that they can be asked about
REGISTRY = Path(__file__).parents[2] / "registry"


def text_asked_for(arguments: Sequence[str]) -> tuple[str, str] | None:
    """`plan` or `status` if that is a target on Snakemake's command line, and the target of `OF` that it is asked about;
    else None. Raises `UserError` where there are other targets beside it, as these would not be made."""
    # Snakemake knows its targets only after it has read the rules.
    targets = list(parse_args(list(arguments))[1].targets)
    asked = [target for target in targets if target in TEXTS]
    if not asked:
        return None
    about = [target for target in targets if target not in asked] or ["all"]
    if len(asked) > 1 or len(about) > 1 or about[0] not in OF:
        raise UserError(
            f"{asked[0]} only prints a text",
            found=f"targets {' '.join(targets)}",
            expected=", ".join(f"snakemake {asked[0]}{f' {name}' * (name != 'all')}" for name in OF),
            where="command line",
            next="run one of these",
        )
    return asked[0], about[0]


def overview(
    text: str,
    target: str,
    *,
    workflow: Any,
    config: Mapping[str, Any],
    files: Iterable[str],
    data_sets: Mapping[str, tuple[str | None, str]],
    indexes: Mapping[str, str],
    cards: Mapping[str, str],
    downloads: str,
    calibration: str,
) -> str:
    """The text `plan` or `status` about a target of `OF`.

    workflow: Snakemake's; files: all that is made for the target; data_sets: folder and origin (folder | generated | registry) by
    name; indexes: lists of images of the pretraining sources, by name; cards: of prepared targets, by name; downloads: folder of
    archives; calibration: what rule calibrate_device wrote, if it did.
    """
    place = workflow.pathvars.apply
    jobs, rules = jobs_of(workflow.rules, [place(file) for file in files])
    costs, registry = read_costs(REGISTRY / "costs.tsv"), read_registry(REGISTRY / "datasets.tsv")
    if Path(measured := place(calibration)).exists():
        costs |= read_json(measured)["TFLOP per second"]
    counts = {name: registry[name].counts for name in data_sets if name in registry}
    generated = {name for name, (_, origin) in data_sets.items() if origin == "generated"}
    sources = {
        name: source_size(
            place(index), *((None, False) if name in config["targets"] else (counts.get(name), name in generated))
        )
        for name, index in indexes.items()
    }
    targets = {
        name: target_size(config, name, place(card), counts.get(name), name in generated, costs)
        for name, card in cards.items()
    }
    study = Study(
        config,
        costs,
        {name: size for name, size in sources.items() if size},
        {name: size for name, size in targets.items() if size},
    )
    run = f"run {config['run']}" if target == "all" else f"{target} of run {config['run']}"
    about = f"{run}: protocol {config['protocol']}, device {config['device']}, {config['precision']}"
    if text == "status":
        moment = time.strftime("%Y-%m-%d %H:%M")
        return status_text(f"Status of {about}, {moment}\n{_mains()}", jobs, rules, study)
    lines = []
    for name, (folder, origin) in data_sets.items():
        lines += data_set_lines(
            name,
            ready=Path(place(f"<data>/{name}/source.json")).exists(),
            folder=folder,
            origin=origin,
            row=registry.get(name),
            downloads=place(downloads),
            environment=os.environ,
        )
    lines += weights_lines(config) if data_sets else []
    return plan_text(f"Plan of {about}, {config['image_size']} pixels", jobs, rules, study, _limits(workflow), lines)


def _limits(workflow: Any) -> Limits:
    settings = workflow.resource_settings
    gpus = workflow.global_resources["gpu"].value if "gpu" in workflow.global_resources else None
    return Limits(settings.cores, settings.nodes, gpus)


def _mains() -> str:
    """Which Snakemake processes work in this folder, by what they noted."""
    found = []
    for path in MAINS.glob("*.json"):
        try:
            main = json.loads(path.read_text())
        except (OSError, ValueError):  # ended, or is just beginning
            continue
        end = ", KILLED: snakemake --unlock, then start it again" if is_dead(main) else ""
        found.append(f"process {main['pid']} on {main['host']}{end}")
    return f"Snakemake: {'; '.join(found) or 'not running'}"
