"""What is asked of SLURM, as far as it can be seen without one; the rest is in tests/test_slurm.py."""

import atexit
import json
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from workflow.lib.job.lease import process_start
from workflow.lib.job.slurm import MAINS, register_main, requeue_this_job


def test_outside_of_slurm_nothing_is_requeued(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert requeue_this_job() == "not in a SLURM job"


def test_jobs_of_dead_mains_alone_are_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(atexit, "register", lambda *call, **settings: None)
    cancelled: list[list[str]] = []
    monkeypatch.setattr(subprocess, "run", lambda call, check: cancelled.append(call))
    MAINS.mkdir(parents=True)
    init = {"pid": 1, "process_start": process_start(1)}
    mains: dict[str, dict[str, Any]] = {
        "dead": {"host": socket.gethostname(), "pid": 1, "process_start": "never"},
        "alive": {"host": socket.gethostname(), **init},
        "elsewhere": {"host": "login2", **init},
    }
    for name, main in mains.items():
        log = tmp_path / f"{name}.log"
        log.write_text(f"Using shell: /bin/bash\nSLURM run ID: run-of-{name}\nSelect jobs to execute...\n")
        (MAINS / f"{name}.json").write_text(json.dumps(main | {"logs": [str(log)], "slurm_job": None}))
    (MAINS / "truncated.json").write_text('{"host": "x')
    register_main(["now.log"])
    assert cancelled == [["scancel", "--name", "run-of-dead"]]
    left = {path.stem for path in MAINS.glob("*.json")}
    assert left >= {"alive", "elsewhere"} and not left & {"dead", "truncated"}


def test_the_main_process_leaves_quietly_although_its_file_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after `rm -r .snakemake`, or where Ctrl-C ends two of its exits."""
    monkeypatch.chdir(tmp_path)
    at_exit: list[tuple[Any, ...]] = []
    monkeypatch.setattr(atexit, "register", lambda *call: at_exit.append(call))
    cancelled: list[list[str]] = []
    monkeypatch.setattr(subprocess, "run", lambda call, check: cancelled.append(call))
    (tmp_path / "now.log").write_text("SLURM run ID: mine\n")
    register_main(["now.log"])
    [(leave, *arguments)] = at_exit
    for path in MAINS.glob("*.json"):
        path.unlink()
    leave(*arguments)
    assert cancelled == [["scancel", "--name", "mine"]]
