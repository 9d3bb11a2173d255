"""`snakemake plan`: what a run will cost, before any GPU works."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from workflow.lib.overview.costs import Estimator, Study
from workflow.lib.overview.jobs import Job, Rule, by_row
from workflow.lib.overview.needs import bytes_there, bytes_to_come
from workflow.lib.overview.text import duration, size, table


@dataclass(frozen=True)
class Limits:
    """How many jobs run at once: Snakemake's --cores and --resources gpu here, or --jobs on a cluster; None: not said."""

    cores: int | None
    jobs: int | None
    gpus: int | None

    def at_once(self, rule: Rule) -> int:
        """Jobs of a rule that run side by side; one where nothing is said."""
        told = [self.jobs]
        if self.jobs is None or rule.local:
            told = [self.cores and max(1, self.cores // rule.threads)]
        if self.gpus is not None and rule.gpus:
            told.append(max(1, self.gpus // rule.gpus))
        return min((number for number in told if number), default=1)

    def __str__(self) -> str:
        numbers = {
            "--jobs": self.jobs,
            "--cores": self.cores if self.jobs is None else None,
            "--resources gpu": self.gpus,
        }
        told = [f"{name} {number}" for name, number in numbers.items() if number is not None]
        return ", ".join(told) if told else "one job at a time (give plan your --profile, --cores or --jobs)"


@dataclass
class _Row:
    """One row of the table: jobs, and the costs of those to do."""

    jobs: int = 0
    done: int = 0
    gpu_seconds: float = 0.0
    wall: float = 0.0
    stored: float = 0.0
    there: float = 0.0
    unknown: int = 0
    measured: int = 0

    def cells(self, name: str) -> list[str]:
        to_do = self.jobs - self.done
        known = to_do - self.unknown
        sign = f" + {self.unknown} unknown" if self.unknown else ""
        basis = "" if not known else "measured" if self.measured == known else "mixed" if self.measured else "assumed"
        gpu_time = duration(self.gpu_seconds) if self.gpu_seconds else ""
        wall = duration(self.wall) + sign if known else "?" if to_do else ""
        numbers = [f"{number:,}" for number in (self.jobs, self.done, to_do)]
        return [name, *numbers, gpu_time, wall, basis, _bytes(self.there), _bytes(self.stored)]


def plan_text(
    title: str,
    jobs: Sequence[Job],
    rules: Mapping[str, Rule],
    study: Study,
    limits: Limits,
    data_sets: Sequence[str],
) -> str:
    """The whole text of `snakemake plan`. data_sets: lines of `needs`."""
    done = {id(job) for job in jobs if job.is_done()}
    estimator = Estimator([job for job in jobs if id(job) in done], study, rules)
    rows: dict[str, _Row] = {}
    for name, chosen in by_row(jobs, rules).items():
        rows[name] = _row(chosen, done, rules, estimator, limits)
    total = _Row(*(sum(getattr(row, field) for row in rows.values()) for field in _Row.__dataclass_fields__))
    head = ["rule", "jobs", "done", "to do", "GPU time", "wall time", "figures", "stored", "to store"]
    body = [row.cells(name) for name, row in [*rows.items(), ("total", total)]]
    lines = [title, "", *table(head, body), ""]
    lines += _basis(study, limits)
    if total.unknown:
        lines += ["?, unknown: estimated once the data are prepared, or a job with such a network was measured."]
    if any(job.rule == "pretrain_until" for job in jobs):
        lines += ["", "Pretrainings with early stopping are counted with their whole schedule."]
    lines += ["", "Data sets and licences:", *(f"  {line}" for line in data_sets)] if data_sets else []
    lines += ["", "Done means that the outputs exist. `snakemake -n` says exactly which jobs would run, and why."]
    return "\n".join(lines)


def _row(jobs: Sequence[Job], done: set[int], rules: Mapping[str, Rule], estimator: Estimator, limits: Limits) -> _Row:
    row = _Row(jobs=len(jobs), there=bytes_there(jobs))
    times: dict[str, list[float]] = defaultdict(list)
    for job in jobs:
        if id(job) in done:
            row.done += 1
            continue
        row.stored += bytes_to_come(job, estimator.study)
        seconds, measured = estimator.seconds(job)
        if seconds is None:
            row.unknown += 1
            continue
        row.measured += measured
        row.gpu_seconds += seconds * rules[job.rule].gpus
        times[job.rule].append(seconds)
    for rule, seconds_of in times.items():
        row.wall += max(max(seconds_of), sum(seconds_of) / limits.at_once(rules[rule]))
    return row


def _basis(study: Study, limits: Limits) -> list[str]:
    device, costs = study.config["device"], study.costs
    what = "an ordinary data-centre GPU, float32 with TF32" if device == "cuda" else "one job on CPUs"
    rates = [rate for name, rate in costs.items() if name.startswith(f"{device}.")]
    assumed = [
        f"assumed: counted operations at {costs[device]:g} TFLOP/s, for {what}, `snakemake calibrate` measures it;",
        "uncertain by a factor of two or three, and more where images are read slowly. All these numbers:",
    ]
    if rates:
        assumed = [
            f"assumed: counted operations at {min(rates):.3g} to {max(rates):.3g} TFLOP/s, by network,",
            "as `snakemake calibrate` measured;",
            "uncertain where images are read slowly. All other numbers:",
        ]
    return [
        f"Wall time: {limits};",
        "stages one after another, no waiting in queues, every job succeeds at once.",
        "measured: by finished jobs of the same kind, scaled by their operations.",
        *assumed,
        "workflow/registry/costs.tsv.",
    ]


def _bytes(number: float) -> str:
    return size(number) if number >= 5e5 else ""
