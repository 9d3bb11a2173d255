"""How far a run is, while it goes on: a headline at the end of each stage and, in a terminal, one line with the time left."""

import itertools
import logging
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

from snakemake.logging import ColorizingTextHandler, logger
from snakemake.settings.enums import Quietness
from snakemake_interface_logger_plugins.common import LogEvent

from workflow.lib.overview.jobs import LATE, STAGES, end_of, file_of, last_progress
from workflow.lib.overview.text import WIDTH, duration

NAMES = {"pretrain": "pretraining", "finetune": "fine-tuning"}  # of stages, where they differ in sentences
# What Snakemake says of single jobs: in a terminal the line stands for it.
SINGLE = {LogEvent.JOB_INFO, LogEvent.GROUP_INFO, LogEvent.JOB_STARTED, LogEvent.JOB_FINISHED, LogEvent.PROGRESS}
SELECTING = "Select jobs to execute..."  # the same, without an event
ERASE = "\r\x1b[K"
EVERY = 10  # seconds after which the logs of running jobs are read again


class Progress:
    """The jobs of one run of Snakemake by number, and what their times say of the time left.

    Times are seconds on any clock. A job lasts from its submission: waiting in a queue counts, as it does for those to come.
    """

    def __init__(self, stages: Mapping[str, str], now: float) -> None:
        """stages: stage of every rule that has one (those of `STAGES`)."""
        self._stages, self._began = stages, now
        self.rules: dict[int, str] = {}  # of all jobs of the run by number
        self._running: dict[int, float] = {}  # job: when it was submitted
        self._done: set[int] = set()
        self._failed: set[int] = set()
        self._times: dict[str, list[float]] = defaultdict(list)  # of finished jobs, by kind
        self._first: dict[str, float] = {}  # submission of a stage's first job
        self._side_by_side = 0  # most jobs that were submitted and not finished

    def plan(self, rules: Mapping[int, str]) -> None:
        """The rule of every job that is to be done, by number; what is done or runs stays. Asked again when the DAG has grown."""
        self.rules = {job: self.rules[job] for job in self._done | self._running.keys()} | dict(rules)

    def start(self, job: int, now: float) -> None:
        """A job was submitted, perhaps once more after it failed."""
        self._failed.discard(job)
        self._running[job] = now
        self._side_by_side = max(self._side_by_side, len(self._running))
        self._first.setdefault(self._stage(job), now)

    def fail(self, job: int) -> None:
        self._running.pop(job, None)
        self._failed.add(job)

    def finish(self, job: int, now: float) -> str:
        """A job is done. Returns the headline of its stage if it was the last one there, else ""."""
        self._done.add(job)
        if job in self._running:
            self._times[self._kind(job)].append(now - self._running.pop(job))
        stage = self._stage(job)
        done, jobs = self._counts(stage)
        if not stage or done < jobs:
            return ""
        took = duration(now - self._first.get(stage, now))
        return f"{NAMES.get(stage, stage)} done: {jobs:,} job{'s' * (jobs > 1)} in {took}"

    def line(self, now: float, ends: Mapping[int, float] = MappingProxyType({})) -> str:
        """Like `37 of 550 jobs, fine-tuning 12 of 480, 3 min so far, about 25 min left`; "" once all are done.

        ends: when running jobs say that they will end, of those that say it.
        """
        if len(self._done) >= len(self.rules):
            return ""
        parts = [f"{len(self._done):,} of {len(self.rules):,} jobs"]
        running, stage = {self._stage(job) for job in self._running} - {""}, ""
        if running:
            counts = {stage: self._counts(stage) for stage in sorted(running, key=list(STAGES.values()).index)}
            stage = max(counts, key=lambda stage: counts[stage][1] - counts[stage][0])
            parts.append("{} {:,} of {:,}".format(NAMES.get(stage, stage), *counts[stage]))
        parts += [f"{len(self._failed):,} failed"] if self._failed else []
        said = {job: end for job, end in ends.items() if job in self._running}
        return ", ".join([*parts, f"{duration(now - self._began)} so far", self._left(now, said, stage)])

    def _left(self, now: float, ends: Mapping[int, float], stage: str) -> str:
        """The time left, from finished jobs of the same kind and what running ones say: stages one after another, with as many
        jobs side by side as there were at most; or that of `stage` alone, where little is known of others."""
        promised: dict[str, list[float]] = defaultdict(list)  # what running jobs of a kind say they will take
        for job, end in ends.items():
            promised[self._kind(job)].append(end - self._running[job])
        needed: dict[str, list[float]] = defaultdict(list)
        unknown: list[str] = []
        longer = False  # whether a job takes longer than all of its kind before
        for job in self.rules.keys() - self._done - self._failed:
            times = self._times[self._kind(job)] or promised[self._kind(job)]
            if not times:
                unknown += [self._stage(job)] if self._stage(job) else []  # a target has no stage, and takes no time
                continue
            passed = now - self._running.get(job, now)
            usual = sum(times) / len(times)
            if job in ends:
                left = ends[job] - now
            else:
                left = (usual if passed <= usual else max(times)) - passed
                longer = longer or left < 0
            needed[self._stage(job)].append(max(0.0, left))
        late = bool(set(LATE).intersection(unknown))  # small jobs, none of which was measured yet
        of_stage = {
            name: max(max(of), sum(of) / min(self._side_by_side, len(of)))
            for name, of in needed.items()
            if not (late and name in LATE)
        }
        seconds = sum(of_stage.values())
        missing = sum(name not in LATE for name in unknown)
        if missing > sum(len(needed[name]) for name in of_stage) or (late and not of_stage):
            if stage in of_stage and stage not in unknown:
                return f"about {duration(of_stage[stage])} to the end of {NAMES.get(stage, stage)}"
            return "time left not known yet"
        if missing or longer:
            return f"at least {duration(seconds)} left"
        if late:
            return f"about {duration(seconds)} to the statistics"
        return f"about {duration(seconds)} left" if seconds >= 1 else "almost done"

    def _stage(self, job: int) -> str:
        return self._stages.get(self.rules[job], "")

    def _kind(self, job: int) -> str:
        """Jobs of a kind take similar times: a rule, or all the small rules of a late stage."""
        stage = self._stage(job)
        return stage if stage in LATE else self.rules[job]

    def _counts(self, stage: str) -> tuple[int, int]:
        jobs = [job for job in self.rules if self._stage(job) == stage]
        return len(self._done.intersection(jobs)), len(jobs)


class Follower(logging.Handler):
    """Reads Snakemake's messages, keeps the line at the bottom of the terminal, and writes headlines.

    Nothing here may stop a run: after an error there is one warning, and Snakemake's own lines go on.
    """

    def __init__(
        self, progress: Progress, jobs: Callable[[], Mapping[int, str]], terminal: logging.StreamHandler[Any] | None
    ) -> None:
        """jobs: the rule of every job of the run by number; terminal: Snakemake's handler, whose place is taken; None: headlines
        only."""
        super().__init__()
        self._progress, self._jobs, self._terminal = progress, jobs, terminal
        self._over = threading.Event()
        self._logs: dict[int, tuple[Path, float]] = {}  # of submitted jobs, and the time of day of their submission
        self._ends: dict[int, float] = {}  # when running ones say that they will end
        progress.plan(jobs())
        logger.addHandler(self)
        if terminal:
            logger.removeHandler(terminal)
            threading.Thread(target=self._tick, daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        headline = ""
        try:
            self._write(ERASE)
            headline = self._note(record)
        except Exception as error:
            self._give_up(error)
        if self._terminal and not _on_single_job(record):
            self._terminal.handle(record)
        if headline:
            logger.info(headline, extra={"quietness": Quietness.PROGRESS})
        self.draw()

    def close(self) -> None:
        """End the line; Snakemake's own handler has its place again."""
        if not self._over.is_set():
            self._over.set()
            logger.removeHandler(self)
            if self._terminal:
                logger.addHandler(self._terminal)
                self._write(ERASE)
        super().close()

    def draw(self) -> None:
        """Write the line again, with the time as it is now."""
        self.acquire()
        try:
            line = self._progress.line(time.monotonic(), self._ends)
            if line and self._terminal and not self._over.is_set():
                width = os.get_terminal_size(self._terminal.stream.fileno()).columns or WIDTH
                self._write(ERASE + line[: width - 1])
        except Exception as error:
            self._give_up(error)
        finally:
            self.release()

    def _tick(self) -> None:
        for second in itertools.count(1):
            if self._over.wait(1):
                return
            if second % EVERY == 0:
                self._listen()
            self.draw()

    def _listen(self) -> None:
        """Read in the logs of running jobs when these will end; what an earlier attempt wrote does not count."""
        try:
            ends = {}
            for job, (path, submitted) in list(self._logs.items()):
                written = path.stat().st_mtime if path.exists() else 0.0
                left = last_progress(end_of(str(path)))[1] if written > submitted else None
                if left is not None:
                    ends[job] = time.monotonic() + left - (time.time() - written)
            self._ends = ends
        except Exception as error:
            self._give_up(error)

    def _write(self, text: str) -> None:
        if self._terminal:
            self._terminal.stream.write(text)
            self._terminal.stream.flush()

    def _give_up(self, error: Exception) -> None:
        if not self._over.is_set():
            with suppress(OSError):  # a terminal that has gone
                self.close()
            warn(error)

    def _note(self, record: logging.LogRecord) -> str:
        """Count what a message says. Returns a headline, or ""."""
        progress, event, now = self._progress, getattr(record, "event", None), time.monotonic()
        said: dict[str, Any] = record.__dict__
        new = event == LogEvent.JOB_INFO and said["jobid"] not in progress.rules
        if new or (event == LogEvent.PROGRESS and said["total"] != len(progress.rules)):
            progress.plan(self._jobs())
        if event == LogEvent.JOB_INFO:
            progress.start(said["jobid"], now)
            if said["log"]:
                self._logs[said["jobid"]] = Path(said["log"][0]), time.time()
        elif event == LogEvent.JOB_FINISHED:
            self._logs.pop(said["job_id"], None)
            return progress.finish(said["job_id"], now)
        elif event in (LogEvent.JOB_ERROR, LogEvent.GROUP_ERROR):
            failed = said["job_error_info"] if event == LogEvent.GROUP_ERROR else [said]
            for job in failed:
                self._logs.pop(job["jobid"], None)
                progress.fail(job["jobid"])
        return ""


def follow(workflow: Any) -> Follower | None:
    """Called when a run of Snakemake's workflow starts: follow its jobs until `close`. None: asked to be quiet, or not possible.

    The line is for terminals only; with --verbose, Snakemake's own lines stay.
    """
    try:
        output, dag = workflow.output_settings, workflow.dag
        if {Quietness.ALL, Quietness.PROGRESS} & set(output.quiet or ()):
            return None
        files = {rule.name: file_of(rule) for rule in workflow.rules}
        stages = {name: STAGES[file] for name, file in files.items() if file in STAGES}

        def jobs() -> dict[int, str]:
            return {job.jobid: job.rule.name for job in dag.needrun_jobs(exclude_finished=False)}

        shown = next((handler for handler in logger.handlers if isinstance(handler, ColorizingTextHandler)), None)
        terminal = shown if shown and shown.can_color_tty() and not output.verbose else None
        return Follower(Progress(stages, time.monotonic()), jobs, terminal)
    except Exception as error:
        warn(error)
        return None


def warn(error: Exception) -> None:
    logger.warning(f"progress is not shown any more, the run goes on: {type(error).__name__}: {error}")


def _on_single_job(record: logging.LogRecord) -> bool:
    event = getattr(record, "event", None)
    return event in SINGLE or (event is None and record.msg == SELECTING)
