"""The line of progress and the headlines, from messages as Snakemake sends them."""

import io
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from snakemake.logging import ColorizingTextHandler, logger
from snakemake_interface_logger_plugins.common import LogEvent

from workflow.lib.overview.progress import Follower, Progress, follow

STAGES = {"pretrain_encoder": "pretrain", "finetune_network": "finetune", "score_checkpoints": "scores"}
STAGES |= {"answer": "statistics", "draw": "figures"}


def progress(**counts: int) -> Progress:
    """A run with jobs of these rules, numbered in their order; of rule `all`, which has no stage, one at the end."""
    rules = [rule for rule, count in counts.items() for _ in range(count)] + ["all"]
    run = Progress(STAGES, 0)
    run.plan(dict(enumerate(rules)))
    return run


def worked(run: Progress, jobs: range, at: float, seconds: float) -> list[str]:
    """Jobs one after another; returns what was said at their ends."""
    said = []
    for i, job in enumerate(jobs):
        run.start(job, at + i * seconds)
        said.append(run.finish(job, at + (i + 1) * seconds))
    return said


def test_a_stage_has_a_headline_at_its_last_job() -> None:
    run = progress(pretrain_encoder=3, finetune_network=1)
    assert worked(run, range(3), 100, 80) == ["", "", "pretraining done: 3 jobs in 4 min"]
    assert worked(run, range(3, 4), 400, 5) == ["fine-tuning done: 1 job in 5 s"]
    assert run.finish(4, 405) == "", "a target is no stage"


def test_the_time_left_counts_lengths_of_jobs_and_not_their_number() -> None:
    run = progress(pretrain_encoder=4, finetune_network=10)
    assert run.line(60) == "0 of 15 jobs, 60 s so far, time left not known yet"
    worked(run, range(2), 0, 1000)
    assert run.line(2000).endswith("time left not known yet"), "10 of 12 jobs are of an unknown kind"
    worked(run, range(4, 12), 2000, 10)
    # 2 pretrainings of 1000 s and 2 fine-tunings of 10 s, one at a time; by the number of jobs it would be 14 min
    assert run.line(2080) == "10 of 15 jobs, 35 min so far, about 34 min left"


def test_jobs_side_by_side_and_those_that_run_need_less() -> None:
    run = progress(finetune_network=10)
    for job in (0, 1):
        run.start(job, 0)
    run.finish(0, 100), run.finish(1, 100)
    run.start(2, 100)
    run.start(3, 100)
    # 6 to start and 2 half done, two at a time: (6 x 100 + 2 x 50) / 2
    assert run.line(150) == "2 of 11 jobs, fine-tuning 2 of 10, 2 min so far, about 6 min left"


def test_what_was_not_measured_is_said() -> None:
    run = progress(pretrain_encoder=1, finetune_network=3, draw=5)
    worked(run, range(1), 0, 50)
    worked(run, range(1, 3), 50, 600)
    assert run.line(1250).endswith("about 10 min to the statistics")
    run.plan(run.rules | {20: "score_checkpoints"})
    assert run.line(1250).endswith("at least 10 min left")


def test_a_job_that_takes_longer_than_all_others_makes_it_at_least() -> None:
    run = progress(finetune_network=4)
    worked(run, range(2), 0, 100)
    run.start(2, 200)
    assert run.line(290).endswith("about 2 min left")
    assert run.line(500).endswith("at least 2 min left")


def test_what_running_jobs_say_counts_before_the_first_of_a_kind_is_done() -> None:
    run = progress(pretrain_encoder=5)
    for job in (0, 1):
        run.start(job, 0)
    assert run.line(100).endswith("time left not known yet")
    # 100 s passed of 1,000: two at a time, 900 s twice and 3 x 1,000 s
    assert run.line(100, {0: 1000, 1: 1000}).endswith("about 40 min left")
    assert run.line(900, {0: 1000, 1: 1000}).endswith("about 27 min left")
    run.finish(0, 1000)
    assert run.line(1000, {0: 1000, 1: 1600}).endswith("about 30 min left"), (
        "a finished job says no more; 600 + 3 x 1,000 s"
    )


def test_where_little_is_known_of_later_stages_the_end_of_this_one_is_said() -> None:
    run = progress(pretrain_encoder=2, finetune_network=10)
    run.start(0, 0)
    assert run.line(600, {0: 1800}).endswith(
        "pretraining 0 of 2, 10 min so far, about 50 min to the end of pretraining"
    )


def test_small_jobs_are_of_one_kind_and_targets_take_no_time() -> None:
    run = progress(answer=3)
    run.plan({0: "answer", 1: "answer", 2: "all"})
    worked(run, range(1), 0, 4)
    assert run.line(4).endswith("about 4 s left")
    worked(run, range(1, 2), 4, 4)
    assert run.line(8) == "2 of 3 jobs, 8 s so far, almost done"
    run.finish(2, 8)
    assert run.line(8) == ""


def test_failed_jobs_are_counted_until_they_start_again() -> None:
    run = progress(finetune_network=2)
    run.start(0, 0)
    run.fail(0)
    assert run.line(5) == "0 of 3 jobs, 1 failed, 5 s so far, time left not known yet"
    run.start(0, 6)
    assert "failed" not in run.line(7)


def test_jobs_that_are_done_or_run_stay_when_the_dag_has_grown() -> None:
    run = progress(pretrain_encoder=2)
    worked(run, range(1), 0, 5)
    run.start(1, 5)
    run.plan({2: "all", 3: "finetune_network"})
    assert run.line(10).startswith("1 of 4 jobs, pretraining 1 of 2")


class Terminal(io.StringIO):
    """A terminal of 80 columns."""

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return 2


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[ColorizingTextHandler]:
    """Snakemake's own handler on a terminal, as the only one of its logger."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(os, "get_terminal_size", lambda file: os.terminal_size((80, 24)))
    monkeypatch.setattr(logger, "handlers", [handler := ColorizingTextHandler(stream=Terminal())])
    monkeypatch.setattr(logger, "level", logging.INFO)
    yield handler
    for left in logger.handlers[:]:
        left.close()


def say(event: LogEvent | None, text: str = "of Snakemake", **values: Any) -> None:
    logger.info(text, extra={"event": event, **values})


def followed(handler: ColorizingTextHandler | None, jobs: Callable[[], Mapping[int, str]]) -> Follower:
    return Follower(Progress(STAGES, 0), jobs, handler)


def test_a_line_stands_for_messages_on_single_jobs(terminal: ColorizingTextHandler) -> None:
    rules = {0: "finetune_network", 1: "all"}
    follower = followed(terminal, lambda: rules)
    say(None, "Select jobs to execute...")
    say(LogEvent.JOB_INFO, jobid=0, log=[])
    say(None, "submitted to SLURM")
    rules[2] = "finetune_network"  # as after a checkpoint
    say(LogEvent.JOB_INFO, jobid=2, log=[])
    for job in (0, 2):
        say(LogEvent.JOB_FINISHED, "Finished", job_id=job)
    follower.close()
    logger.info("at the end")
    said = terminal.stream.getvalue()
    assert "1 of 3 jobs, fine-tuning 1 of 2, " in said
    assert "submitted to SLURM" in said and "Select jobs" not in said and "Finished" not in said
    assert said.index("fine-tuning done: 2 jobs") < said.index("at the end")
    assert said.count("at the end") == 1 and logger.handlers == [terminal]


def test_the_time_left_is_read_in_logs_of_this_attempt(
    terminal: ColorizingTextHandler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workflow.lib.overview.progress.EVERY", 1)
    follower = followed(terminal, lambda: {0: "pretrain_encoder", 1: "all"})
    (log := tmp_path / "job.log").write_text("00:22:47 step 23/190, eta 2:00:00, loss 4.1\n")
    os.utime(log, (1, 1))
    say(LogEvent.JOB_INFO, jobid=0, log=[str(log)])
    time.sleep(1.5)
    assert "not known yet" in terminal.stream.getvalue() and "2.0 h" not in terminal.stream.getvalue()
    log.write_text("00:22:47 step 23/190, eta 3:00:00, loss 4.1\n")
    os.utime(log, (time.time() + 1, time.time() + 1))
    for _ in range(50):
        if "about 3.0 h left" in terminal.stream.getvalue():
            break
        time.sleep(0.1)
    else:
        pytest.fail(terminal.stream.getvalue())
    follower.close()


def test_in_a_file_are_headlines_and_what_snakemake_says(terminal: ColorizingTextHandler) -> None:
    terminal.setStream(io.StringIO())
    terminal.nocolor = True
    followed(None, lambda: {0: "finetune_network", 1: "all"})
    say(LogEvent.JOB_FINISHED, "Finished jobid: 0", job_id=0)
    assert terminal.stream.getvalue().splitlines() == ["Finished jobid: 0", "fine-tuning done: 1 job in <1 s"]


@pytest.mark.parametrize("broken", [{}, {"job_id": 7}])
def test_an_error_is_warned_of_once_and_the_lines_of_snakemake_go_on(
    terminal: ColorizingTextHandler, broken: dict[str, int]
) -> None:
    followed(terminal, lambda: {0: "finetune_network", 1: "all"})
    for _ in range(3):
        say(LogEvent.JOB_FINISHED, "Finished", **broken)
    say(None, "the run")
    said = terminal.stream.getvalue()
    assert said.count("progress is not shown any more") == 1 and "KeyError" in said
    assert said.count("Finished") == 2 and said.count("the run") == 2 and logger.handlers == [terminal]


def test_a_snakemake_that_has_changed_is_warned_of(terminal: ColorizingTextHandler) -> None:
    follow(object())
    assert "progress is not shown any more, the run goes on: AttributeError" in terminal.stream.getvalue()
    assert logger.handlers == [terminal]
