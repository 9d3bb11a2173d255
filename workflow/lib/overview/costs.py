"""How long jobs take and what they store: measured where jobs of the kind are done, else by counted operations."""

import csv
import gzip
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from workflow.lib.data.geometry import geometry
from workflow.lib.data.registry import CLASSES, GENERATED
from workflow.lib.job.run import read_json
from workflow.lib.overview.jobs import Job, Rule, read_benchmark
from workflow.lib.study.checkpoints import WITH_DECODER, Way, checkpoints_of, seeds_in
from workflow.lib.study.protocol import protocol_of

Config = Mapping[str, Any]
Costs = Mapping[str, float]
PRETRAININGS = ("pretrain_encoder", "pretrain_until", "cool_down")
HEAVY = (*PRETRAININGS, "score_checkpoints", "finetune_network", "finetune_fold")


@dataclass(frozen=True)
class Target:
    """Numbers of a target: items (slices or images) in all, and places per epoch of training, validation and test."""

    items: float
    training: float
    validation: float
    test: float


@dataclass(frozen=True)
class Study:
    """What the costs of a run depend on.

    sources: training and validation images of the pretrainings, by name; targets by name. Both without those that nothing is
    known of yet.
    """

    config: Config
    costs: Costs
    sources: Mapping[str, tuple[int, int]]
    targets: Mapping[str, Target]


def read_costs(path: str | Path) -> dict[str, float]:
    """The numbers of workflow/registry/costs.tsv by quantity."""
    with open(path, newline="") as file:
        return {row["quantity"]: float(row["value"]) for row in csv.DictReader(file, delimiter="\t")}


def source_size(index: str | Path, counts: Mapping[str, int] | None, generated: bool) -> tuple[int, int] | None:
    """Training and validation images of a pretraining source, from its list, else the registry, else as generated."""
    if Path(index).exists():
        with gzip.open(index, "rt") as file:
            parts = [row["part"] for row in csv.DictReader(file)]
        if parts.count("train") and parts.count("val"):
            return parts.count("train"), parts.count("val")
    if generated:
        train, val = GENERATED["imagenet"]
        return train * CLASSES, val * CLASSES
    return (counts["train_images"], counts["val_images"]) if counts else None


def target_size(
    config: Config, name: str, card: str | Path, counts: Mapping[str, int] | None, generated: bool, costs: Costs
) -> Target | None:
    """Numbers of a target from its card, else from the registry's counts; None where neither is there."""
    settings, protocol = config["targets"][name], protocol_of(dict(config))
    layout = settings["layout"]
    held_out = protocol["validation"] == "held_out"
    if Path(card).exists():
        parts = {part: float(numbers["items"]) for part, numbers in read_json(card)["counts"].items()}
        train, validation, test = (parts.get(part, 0.0) for part in ("train", "validation", "test"))
    else:
        if generated:
            train, test = map(float, GENERATED[layout])
        elif counts:
            train, test = float(counts["train_cases"]), float(counts["test_cases"])
        else:
            return None
        slices = costs["acdc.slices_per_case"] if layout == "acdc" else 1.0
        share = config["data"]["validation_fraction"] if held_out else 0.0
        train, validation, test = train * (1 - share) * slices, train * share * slices, test * slices
        if settings.get("train_cases"):
            train = min(train, settings["train_cases"] * slices)
    windows, tiles = _places(layout, protocol["aspect"], protocol["evaluation"])
    chosen_on = validation if held_out else test
    return Target(train + validation + test, train * windows, chosen_on * tiles, test * tiles)


def _places(layout: str, aspect: str, evaluation: str) -> tuple[int, int]:
    """Training windows and evaluation tiles of an image, without regard to dark windows, which are left out."""
    shape = geometry(layout, aspect, size := 2)
    if shape.windows is None:
        return 1, 1
    side, stride = shape.windows["window"], shape.windows["stride"]
    windows = ((shape.height - side) // stride + 1) * ((shape.width - side) // stride + 1)
    if evaluation == "whole":
        return windows, shape.height * shape.width // size**2
    return windows, (side // size) ** 2 * (shape.height // side) * (shape.width // side)


def work(job: Job, study: Study) -> float | None:
    """Operations of a job that trains or scores, in TFLOP; None where they are unknown.

    An architecture that the table of costs does not know counts as one with 1 GFLOP per image: of use only to compare jobs.
    A pretraining with early stopping counts as its whole schedule, a fold of a cross-validation as the whole target.
    """
    encoder, costs = encoder_of(study.config, job), study.costs
    kind = encoder["architecture"]
    scale = (study.config["image_size"] / 224) ** 2 / 1000
    if f"{kind}.encoder" in costs:
        scale *= (encoder["width"] / costs[f"{kind}.width"]) ** 2
    forward, decoder = costs.get(f"{kind}.encoder", 1.0) * scale, costs.get(f"{kind}.decoder", 1.0) * scale
    both = 1 + costs["backward"]
    if job.rule == "score_checkpoints":
        settings = study.config["score"]
        on_views = sum(name.startswith("robustness") for name in settings["scores"])
        checkpoints = checkpoints_of(dict(study.config), job.wildcards["encoder"], job.wildcards["pretraining"])
        # Besides views: calibration, pixels with stored and with calibrated batch norm, and CC-FV's points.
        return (2 * settings["draws"] * on_views + 4) * settings["images"] * forward * len(checkpoints)
    if job.rule in PRETRAININGS:
        scheme = study.config["schemes"][job.wildcards["scheme"]]
        epochs = float(job.wildcards.get("epochs", scheme["epochs"]))
        seen = study.sources.get(scheme.get("source") or study.config["pretraining"]["source"])
        task = scheme.get("task", "classification")
        passes = (forward + decoder * (task in WITH_DECODER)) * (2 if task.startswith("contrastive") else 1)
        return epochs * (seen[0] * both + seen[1]) * passes if seen else None
    target, values = study.targets.get(job.wildcards["target"]), study.config["finetune"]
    if target is None:
        return None
    images = (values["steps_per_epoch"] or 0) * values["batch"] or target.training
    training = forward * (1 if Way.of(job.wildcards["way"]).frozen else both) + decoder * both
    evaluation = (values["epochs"] * target.validation + target.test) * (forward + decoder)
    return (values["epochs"] * images * training + evaluation) * len(seeds_in(job.wildcards["seeds"]))


def encoder_of(config: Config, job: Job) -> Mapping[str, Any]:
    """The settings of a job's encoder; those of a given network name no architecture that costs are known of."""
    return config["encoders"].get(job.wildcards["encoder"], {"architecture": "given"})


def seconds_taken(job: Job) -> float | None:
    """Seconds that a finished job took, over all its slots: its benchmark knows the last one, its cards all training."""
    measured = read_benchmark(job.benchmark).get("s")
    if measured is None or job.rule not in HEAVY:
        return measured
    cards = [read_json(path) for path in job.outputs if path.endswith(".json")]
    return max([measured, *(float(card.get("seconds", 0)) for card in cards)])


class Estimator:
    """Seconds of jobs, from those of finished jobs of the same kind, scaled by their work; else from the table of costs."""

    def __init__(self, done: Sequence[Job], study: Study, rules: Mapping[str, Rule]) -> None:
        """done: finished jobs; those without a benchmark teach nothing. rules: by name; several GPUs share a job's work."""
        self.study, self._rules = study, rules
        rates: dict[tuple[str, ...], list[float]] = defaultdict(list)
        for job in done:
            seconds, units = seconds_taken(job), self._units(job)
            if seconds is not None and units:
                for kind in self._kinds(job):
                    rates[kind].append(seconds / units)
        self._rates = {kind: median(values) for kind, values in rates.items()}

    def seconds(self, job: Job) -> tuple[float | None, bool]:
        """Seconds of a job (None: nobody knows), and whether measurements say so."""
        units = self._units(job)
        for kind in self._kinds(job):
            if kind in self._rates and units:
                return self._rates[kind] * units, True
        return self._assumed(job, units), False

    def _units(self, job: Job) -> float | None:
        return work(job, self.study) if job.rule in HEAVY else 1.0

    def _kinds(self, job: Job) -> list[tuple[str, ...]]:
        """The kind of a job, then a wider one."""
        if job.rule not in HEAVY:
            return [(job.rule,)]
        same = [job.wildcards[key] for key in ("encoder", "target", "way") if key in job.wildcards]
        scheme = [job.wildcards["scheme"]] if job.rule in PRETRAININGS else []
        return [(job.rule, *same, *scheme), (job.rule, job.wildcards["encoder"])]

    def _assumed(self, job: Job, units: float | None) -> float | None:
        costs, config = self.study.costs, self.study.config
        if job.rule not in HEAVY:
            if job.rule in ("fetch_dataset", "fetch_released"):
                name = job.wildcards.get("dataset", "released")
                return costs["data_job"] + costs.get(f"{name}.download", 0) * 1000 / costs["download"]
            name = next(iter(job.wildcards.values()), "")  # of rules on data sets, the first is the data set's
            settings = {**config["sources"], **config["targets"]}.get(name, {})
            small = config["data"]["generate"] or settings.get("folder") or self._rules[job.rule].stage != "data"
            return costs["small_job" if small else "data_job"]
        kind, device = encoder_of(config, job)["architecture"], config["device"]
        if f"{kind}.encoder" not in costs or units is None:
            return None
        rate = costs.get(f"{device}.{kind}", costs[device])  # of `snakemake calibrate`, else assumed
        return costs["start"] + units / (rate * max(1, self._rules[job.rule].gpus))
