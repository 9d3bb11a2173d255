"""Leases: two jobs never work on one output at the same time, and a dead one blocks nobody."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from workflow.lib.job import lease
from workflow.lib.job.lease import is_dead, lease_path, process_start, read_lease

ROOT = Path(__file__).parents[3]
# A job: notes when it begins and ends, and writes its output at the end.
JOB = """
import sys, time
from pathlib import Path
from workflow.lib.job.run import start_job
output, seconds = Path(sys.argv[1]), float(sys.argv[2])
start_job(output.with_suffix(".log"), [output])
notes = open(output.with_suffix(".notes"), "a")
print("begin", file=notes, flush=True)
time.sleep(seconds)
output.write_text("made")
print("end", file=notes, flush=True)
"""


def start(output: Path, seconds: float) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", JOB, str(output), str(seconds)], cwd=ROOT, stderr=subprocess.PIPE)


def wait_for(path: Path) -> None:
    end = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < end, f"no {path.name}"
        time.sleep(0.02)


def notes(output: Path) -> list[str]:
    return output.with_suffix(".notes").read_text().split()


def test_a_second_job_waits_and_takes_what_the_first_made(tmp_path: Path) -> None:
    output = tmp_path / "out.csv"
    jobs = [start(output, 1.0)]
    wait_for(output.with_suffix(".notes"))
    jobs += [start(output, 1.0) for _ in range(2)]
    assert [job.wait() for job in jobs] == [0, 0, 0]
    assert notes(output) == ["begin", "end"], "the work was done once"
    assert not lease_path(output).exists()


def test_after_a_failure_the_waiting_job_does_the_work(tmp_path: Path) -> None:
    output = tmp_path / "out.csv"
    first = start(output, 60)
    wait_for(output.with_suffix(".notes"))
    second = start(output, 0.1)
    time.sleep(1)
    assert notes(output) == ["begin"], "the second waits"
    first.send_signal(signal.SIGTERM)
    assert first.wait() == 128 + signal.SIGTERM
    assert second.wait() == 0
    assert notes(output) == ["begin", "begin", "end"]


def test_a_killed_job_blocks_nobody(tmp_path: Path) -> None:
    output = tmp_path / "out.csv"
    first = start(output, 60)
    wait_for(output.with_suffix(".notes"))
    first.kill()
    first.wait()
    assert is_dead(read_lease(lease_path(output)))
    second = start(output, 0.1)
    assert second.wait() == 0
    assert notes(output) == ["begin", "begin", "end"]
    assert not lease_path(output).exists()


def test_a_job_of_another_host_is_dead_when_it_shows_no_sign_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "STALE", 1.0)
    path = lease_path(tmp_path / "out.csv")
    holder = {"token": "other", "host": "elsewhere", "pid": 1, "process_start": "1", "slurm_job": None, "since": ""}
    path.write_text(json.dumps(holder))
    begin = time.monotonic()
    lease._wait_until_free(path)
    assert not path.exists() and time.monotonic() - begin >= 1.0
    assert list(tmp_path.iterdir()) == []


def test_who_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    me = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "process_start": process_start(os.getpid()),
        "slurm_job": None,
    }
    assert not is_dead(me) and not is_dead({})
    assert is_dead(me | {"process_start": "1"}), "another process has its number now"
    assert not is_dead(me | {"host": "elsewhere", "process_start": "1"}), "nobody can know"
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    assert is_dead(me | {"host": "elsewhere", "slurm_job": "77"}), "an earlier slot of this job"


# The other may be just about to write it.
@pytest.mark.parametrize("content", [json.dumps({"token": "of another"}), ""])
def test_a_job_that_lost_its_lease_stops(tmp_path: Path, content: str) -> None:
    output = tmp_path / "out.csv"
    code = JOB.replace("import sys, time\n", "import sys, time\nfrom workflow.lib.job import lease\nlease.BEAT = 0.1\n")
    job = subprocess.Popen([sys.executable, "-c", code, str(output), "60"], cwd=ROOT, stderr=subprocess.DEVNULL)
    wait_for(output.with_suffix(".notes"))
    lease_path(output).write_text(content)
    assert job.wait(30) != 0
    assert not output.exists() and lease_path(output).read_text() == content
    assert "taken over" in output.with_suffix(".log").read_text()


def test_a_slow_end_is_no_loss_of_the_lease(tmp_path: Path) -> None:
    """On a busy machine, seconds pass between the release and the end of the process, while the thread goes on."""
    slow = "import atexit, sys, time\natexit.register(time.sleep, 0.5)\n"  # runs after the release, which is registered later
    code = JOB.replace("import sys, time\n", f"{slow}from workflow.lib.job import lease\nlease.BEAT = 0.05\n")
    output = tmp_path / "out.csv"
    run = subprocess.run([sys.executable, "-c", code, str(output), "0.1"], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0 and "taken over" not in run.stderr
    assert notes(output) == ["begin", "end"] and not lease_path(output).exists()
