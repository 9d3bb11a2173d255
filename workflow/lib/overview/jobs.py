"""The jobs behind a run's files, named without Snakemake's DAG: in seconds, and beside a run that goes on; and what their logs
and benchmarks say."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snakemake.iocontainers import InputFiles

STAGES = {  # by rule file, up to the first `_`
    "data": "data",
    "pretrain": "pretrain",
    "score": "scores",
    "finetune": "finetune",
    "tables": "statistics",
    "transfer": "statistics",
    "pool": "scores",
    "curves": "statistics",
    "selection": "statistics",
    "claims": "statistics",
    "paper": "figures",
    "gallery": "figures",
    "page": "figures",
    "rank": "ranking",
}
LATE = ("statistics", "figures")  # stages of many small rules, which overviews count together
TAIL = 20_000  # bytes at the end of a log that are read
PROGRESS = re.compile(r"^\d\d:\d\d:\d\d (.+ \d+/\d+, eta (?:(\d+) days?, )?(\d+):(\d\d):(\d\d).*)$")


@dataclass(frozen=True)
class Job:
    """One job of a rule. outputs: all its files, the lease lies beside the first; wildcards: in the order of the rule."""

    rule: str
    wildcards: Mapping[str, str]
    outputs: tuple[str, ...]
    log: str
    benchmark: str

    def is_done(self) -> bool:
        """Whether all outputs exist."""
        return all(Path(path).exists() for path in self.outputs)


@dataclass(frozen=True)
class Rule:
    """What a job of a rule asks for: threads, memory (MB, None: not said), GPUs, and whether the main process runs it."""

    name: str
    stage: str
    threads: int
    memory: float | None
    gpus: int
    local: bool

    @property
    def row(self) -> str:
        """The row of an overview that the rule belongs to: its own, or one for all the small rules of a late stage."""
        return self.stage if self.stage in LATE else self.name


def jobs_of(rules: Iterable[Any], files: Iterable[str]) -> tuple[list[Job], dict[str, Rule]]:
    """The jobs that make `files`, each once, and what their rules ask for.

    rules: of Snakemake's workflow, in their order; files: as the rules name them. Raises ValueError for a file that no
    rule makes.
    """
    makers = [rule for rule in rules if rule.output]
    jobs: dict[tuple[str, ...], Job] = {}
    asked: dict[str, Rule] = {}
    for file in files:
        maker = next((rule for rule in makers if rule.is_producer(file)), None)
        if maker is None:
            raise ValueError(f"no rule makes {file}")
        wildcards = {str(name): str(value) for name, value in maker.get_wildcards(file).items()}
        key = (maker.name, *wildcards.values())
        if key in jobs:
            continue
        outputs, _ = maker.expand_output(wildcards)
        log, benchmark = maker.expand_log(wildcards)[0], maker.expand_benchmark(wildcards)
        jobs[key] = Job(maker.name, wildcards, tuple(map(str, outputs)), str(log), str(benchmark))
        asked.setdefault(maker.name, _asked_by(maker, wildcards))
    return list(jobs.values()), asked


def by_row(jobs: Iterable[Job], rules: Mapping[str, Rule]) -> dict[str, list[Job]]:
    """The jobs of each row of an overview, in the order of the stages."""
    order = list(STAGES.values())
    rows: dict[str, list[Job]] = {}
    for job in sorted(jobs, key=lambda job: order.index(rules[job.rule].stage)):
        rows.setdefault(rules[job.rule].row, []).append(job)
    return rows


def _asked_by(maker: Any, wildcards: dict[str, str]) -> Rule:
    # No inputs: what is asked for by their size is the least.
    resources = maker.expand_resources(wildcards, InputFiles(), 1)
    nodes, gres = int(resources.get("nodes", 1)), str(resources.get("gres", ""))
    gpus = int(resources.get("gpu", 0)) or nodes * (int(gres.rpartition(":")[2]) if gres.startswith("gpu:") else 0)
    # Not workflow.is_local: before Snakemake has its executor, that says yes to all.
    local = maker.group is None and maker.name in maker.workflow._localrules
    stage = STAGES[file_of(maker)]
    return Rule(str(maker.name), stage, int(resources["_cores"]), resources.get("mem_mb"), gpus, local)


def file_of(maker: Any) -> str:
    """The name of a rule's file, up to the first `_`."""
    return Path(str(maker.snakefile)).stem.partition("_")[0]


def read_benchmark(path: str | Path) -> dict[str, float]:
    """The columns of a job's benchmark that are numbers (seconds, MB, %), of its last repeat; empty without a benchmark."""
    try:
        head, *rows = Path(path).read_text().splitlines()
    except (OSError, ValueError):
        return {}
    numbers: dict[str, float] = {}
    for name, value in zip(head.split("\t"), rows[-1].split("\t") if rows else [], strict=False):
        try:
            numbers[name] = float(value)
        except ValueError:  # h:m:s, and NA of jobs that were too short to be measured
            continue
    return numbers


def end_of(path: str) -> str:
    """The end of a job's log; "" where there is none."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, Path(path).stat().st_size - TAIL))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def last_progress(text: str) -> tuple[str, float | None]:
    """The last line of progress in a log, without its time, and the seconds that it says are left."""
    for line in reversed(text.splitlines()):
        if found := PROGRESS.match(line):
            days, hours, minutes, seconds = (int(part or 0) for part in found.groups()[1:])
            return found[1], ((days * 24 + hours) * 60 + minutes) * 60.0 + seconds
    return "", None
