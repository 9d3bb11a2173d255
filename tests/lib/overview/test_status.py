"""States of jobs from files alone, and the text of `snakemake status`."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

from workflow.lib.job.lease import lease_path
from workflow.lib.overview.costs import Study
from workflow.lib.overview.jobs import Job, Rule
from workflow.lib.overview.status import KILLED, state_of, status_text

ERROR = "10:00:00 step 3/75, eta 0:01:00\n10:00:01 loss is not finite\n  found:    nan\n  expected: a number\n"
TRACE = '10:00:01 uncaught error\nTraceback (most recent call last):\n  File "x.py", line 1\nValueError: so it goes\n'


def start(job: Job, log: str = "", age: float = 0.0) -> None:
    """A job of another host that showed its last sign of life `age` seconds ago."""
    path = lease_path(job.outputs[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    holder = {
        "token": "t",
        "host": "node7",
        "pid": 5,
        "process_start": "1",
        "slurm_job": "4711",
        "since": "2026-01-01T10:00:00+0000",
    }
    path.write_text(json.dumps(holder))
    moment = time.time() - age
    os.utime(path, (moment, moment))
    Path(job.log).write_text(log)


def test_a_job_that_shows_life_runs_and_says_how_far_it_is(finetuning: Callable[..., Job]) -> None:
    start(
        finetuning(), "10:00:00 step 1/75, eta 0:09:00\n10:00:09 step 30/75, eta 1 day, 2:03:20, loss 0.5\n10:00:10 x\n"
    )
    state = state_of(finetuning())
    assert (state.kind, state.note) == ("running", "step 30/75, eta 1 day, 2:03:20, loss 0.5")
    assert state.left == 26 * 3600 + 3 * 60 + 20


def test_a_job_without_signs_of_life_was_killed(finetuning: Callable[..., Job]) -> None:
    start(finetuning(), "10:00:00 step 1/75, eta 0:09:00\n", age=600)
    assert (state_of(finetuning()).kind, state_of(finetuning()).note) == ("failed", KILLED)


def test_a_job_that_failed_says_why(finetuning: Callable[..., Job]) -> None:
    job = finetuning()
    Path(job.log).write_text(ERROR)
    assert (state_of(job).kind, state_of(job).note) == ("failed", "loss is not finite")
    Path(job.log).write_text(TRACE)
    assert (state_of(job).kind, state_of(job).note) == ("failed", "ValueError: so it goes")


def test_a_job_that_was_done_after_all_is_done(finetuning: Callable[..., Job], finish: Callable[..., None]) -> None:
    finish(finetuning(), 60.0)
    Path(finetuning().log).write_text(ERROR)
    assert state_of(finetuning()).kind == "done"


def test_a_job_with_some_outputs_waits(finetuning: Callable[..., Job], finish: Callable[..., None]) -> None:
    finish(finetuning(), 60.0)
    Path(finetuning().outputs[1]).unlink()
    assert state_of(finetuning()).kind == "waiting"


def test_text(
    finetuning: Callable[..., Job], finish: Callable[..., None], study: Study, rules: dict[str, Rule]
) -> None:
    jobs = [finetuning(seed=seed) for seed in range(6)]
    finish(jobs[0], 600.0)
    start(jobs[1], "10:00:00 step 30/75, eta 0:10:00, loss 0.5\n")
    start(jobs[2], "10:00:00 step 30/75, eta 0:20:00, loss 0.5\n")
    Path(jobs[3].log).write_text(ERROR)
    text = status_text("Status", jobs, rules, study)
    lines = [line.split() for line in text.splitlines()]
    # 600 + 1200 s of the two that run, 3 x 600 s to do again or at all, two side by side
    assert ["finetune_network", "6", "1", "2", "1", "2", "30", "min"] in lines
    assert "node7, SLURM job 4711, since 2026-01-01 10:00: step 30/75, eta 0:10:00, loss 0.5" in text
    assert "loss is not finite" in text and jobs[3].log in text
    assert ["finetune_network", "1", "10", "min", "10", "min", "4.0", "of", "8", "6.0", "of", "12", "GB"] in lines


def test_a_long_list_is_cut(finetuning: Callable[..., Job], study: Study, rules: dict[str, Rule]) -> None:
    jobs = [finetuning(seed=seed) for seed in range(25)]
    for job in jobs:
        Path(job.log).write_text(ERROR)
    text = status_text("Status", jobs, rules, study)
    assert text.count("loss is not finite") == 20
    assert "and 5 more" in text
