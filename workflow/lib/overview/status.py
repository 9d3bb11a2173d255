"""`snakemake status`: what is done, runs, failed and waits, from files alone."""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import Any

from workflow.lib.job.lease import STALE, is_dead, lease_path, read_lease
from workflow.lib.overview.costs import Estimator, Study
from workflow.lib.overview.jobs import Job, Rule, by_row, end_of, last_progress, read_benchmark
from workflow.lib.overview.text import duration, shortened, table

SHOWN = 20  # jobs listed of a kind
KILLED = "exited without an error message: killed (out of memory? time limit? node lost?)"


@dataclass(frozen=True)
class State:
    """A job at this moment: done, running, failed or waiting.

    note: a running job's last line of progress, a failed one's error; holder: of a running job's lease; left: the seconds
    that a running job says it needs, None where it says nothing.
    """

    kind: str
    note: str = ""
    holder: Mapping[str, Any] | None = None
    left: float | None = None


def state_of(job: Job) -> State:
    """A job's state, from its lease, outputs and log.

    The last attempt counts: a job that failed and waits for its next attempt is failed. Jobs that the main process runs
    hold no lease: they wait until they are done.
    """
    lease = lease_path(job.outputs[0])
    try:
        age = time.time() - lease.stat().st_mtime
    except OSError:
        age = None
    if age is not None:
        holder = read_lease(lease)
        if age < STALE and not is_dead(holder):
            note, left = last_progress(end_of(job.log))
            return State("running", note, holder, left)
    if job.is_done():
        return State("done")
    text = end_of(job.log)
    if error := first_line_of_error(text):
        return State("failed", error)
    return State("waiting") if age is None else State("failed", KILLED)


def first_line_of_error(text: str) -> str:
    """What went wrong by the end of a job's log: the first line of a `UserError`, or the last of a traceback; "" for none."""
    lines = text.splitlines()
    for i in range(len(lines) - 1, 0, -1):  # first: of several processes, others fail because this one did
        if lines[i].startswith("  found:"):
            return re.sub(r"^\d\d:\d\d:\d\d ", "", lines[i - 1])
    if any(line.endswith(" uncaught error") for line in lines):
        return next(line for line in reversed(lines) if line.strip())
    return ""


def status_text(title: str, jobs: Sequence[Job], rules: Mapping[str, Rule], study: Study) -> str:
    """The whole text of `snakemake status`."""
    state = {id(job): state_of(job) for job in jobs}
    states = [(job, state[id(job)]) for job in jobs]
    estimator = Estimator([job for job, now in states if now.kind == "done"], study, rules)
    rows = []
    for name, members in by_row(jobs, rules).items():
        chosen = [(job, state[id(job)]) for job in members]
        rows.append([name, *_counts(chosen), _eta(chosen, estimator)])
    total = ["total", *_counts(states), ""]
    lines = [title, "", *table(["rule", "jobs", "done", "running", "failed", "waiting", "ETA"], [*rows, total])]
    lines += ["", "ETA of a rule's jobs: from measured times, with as many jobs in parallel as now, without"]
    lines += ["what they wait for. -: none runs. ?: nothing was measured yet."]
    running = [line for job, now in states if now.kind == "running" for line in _running(job, now)]
    failed = [line for job, now in states if now.kind == "failed" for line in _failed(job, now)]
    lines += [*_listed("Running", running, 2), *_listed("Failed", failed, 3)]
    lines += _efficiency(jobs, rules)
    return "\n".join(lines)


def _counts(states: Sequence[tuple[Job, State]]) -> list[str]:
    kinds = [state.kind for _, state in states]
    numbers = [len(kinds), *(kinds.count(kind) for kind in ("done", "running", "failed", "waiting"))]
    return [f"{number:,}" if number else "-" for number in numbers]


def _eta(states: Sequence[tuple[Job, State]], estimator: Estimator) -> str:
    """Time until all jobs of a row are done: "" when they are, `-` where none runs, `?` where nothing was measured."""
    running = [(job, state) for job, state in states if state.kind == "running"]
    waiting = [job for job, state in states if state.kind in ("waiting", "failed")]
    if not running:
        return "-" if waiting else ""
    left = [_left(job, state, estimator) for job, state in running]
    needed = [estimator.seconds(job) for job in waiting]
    if None in left or not all(measured for _, measured in needed):
        return "?"
    known = [seconds or 0.0 for seconds in left]
    return duration(max(max(known), (sum(known) + sum(seconds or 0.0 for seconds, _ in needed)) / len(running)))


def _left(job: Job, state: State, estimator: Estimator) -> float | None:
    """Seconds that a running job still needs: as it says, else its kind's usual time less what has passed."""
    if state.left is not None:
        return state.left
    seconds, measured = estimator.seconds(job)
    since = (state.holder or {}).get("since")
    if not measured or seconds is None or not since:
        return None
    return max(0.0, seconds - (time.time() - datetime.fromisoformat(since).timestamp()))


def _name(job: Job) -> str:
    return " ".join([job.rule, *job.wildcards.values()])


def _running(job: Job, state: State) -> list[str]:
    holder = state.holder or {}
    slurm = f", SLURM job {holder['slurm_job']}" if holder.get("slurm_job") else f", process {holder.get('pid')}"
    since = f", since {str(holder['since'])[:16].replace('T', ' ')}" if holder.get("since") else ""
    place = f"    {holder.get('host', '?')}{slurm}{since}"
    return [f"  {_name(job)}", shortened(f"{place}: {state.note or 'no progress line yet'}")]


def _failed(job: Job, state: State) -> list[str]:
    return [f"  {_name(job)}", shortened(f"    {state.note}"), f"    {job.log}"]


def _listed(title: str, lines: list[str], each: int) -> list[str]:
    if not lines:
        return []
    more = len(lines) // each - SHOWN
    return ["", f"{title}:", *lines[: SHOWN * each], *([f"  and {more:,} more"] if more > 0 else [])]


def _efficiency(jobs: Sequence[Job], rules: Mapping[str, Rule]) -> list[str]:
    """Use of processors and memory by rule, of all jobs with a benchmark that asked a scheduler for them."""
    rows = []
    for name, rule in rules.items():
        measured = [read_benchmark(job.benchmark) for job in jobs if job.rule == name]
        seconds = [numbers["s"] for numbers in measured if "s" in numbers]
        if not seconds or rule.local:
            continue
        # Snakemake samples a job now and then: one that ends sooner shows no use.
        seen = [numbers for numbers in measured if numbers.get("max_rss") and numbers.get("cpu_time")]
        load = sum(numbers["cpu_time"] for numbers in seen) / sum(numbers["s"] for numbers in seen) if seen else 0.0
        cpu = f"{load:.1f} of {rule.threads}" if seen else ""
        peak = max((numbers["max_rss"] for numbers in seen), default=0.0)
        memory = f"{peak / 1000:.1f} of {rule.memory / 1000:g} GB" if seen and rule.memory else ""
        rows.append([name, f"{len(seconds):,}", duration(median(seconds)), duration(max(seconds)), cpu, memory])
    head = ["rule", "measured", "median", "longest", "CPUs used", "peak memory"]
    return ["", "Use of requested resources:", *table(head, rows)] if rows else []
