"""What jobs and the main process ask of SLURM: a requeue before the time limit, and an end to orphaned jobs."""

import atexit
import json
import logging
import os
import re
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

from workflow.lib.job.lease import is_dead, process_start

log = logging.getLogger("medseg")
MAINS = Path(".snakemake/mains")


def requeue_this_job() -> str | None:
    """Put this SLURM job back into the queue, under the same number and limits. Returns why that was not possible, or None;
    SLURM ends the job's processes then, so the caller should end, too."""
    job = os.environ.get("SLURM_JOB_ID")
    if not job or not shutil.which("scontrol"):
        return "not in a SLURM job" if not job else "no scontrol on this node"
    run = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True)
    return (run.stderr or run.stdout).strip() or f"exit {run.returncode}" if run.returncode else None


def register_main(log_files: list[str]) -> None:
    """Called when a run starts: note this main process, and cancel the SLURM jobs of those that were killed.

    log_files: Snakemake's log of this run, which holds the plugin's run ID. A killed Snakemake can't cancel its jobs; those
    still in the queue would later remove and repeat finished work. Mains of other hosts are not known to be dead: the
    command that cancels their jobs is shown.
    """
    MAINS.mkdir(parents=True, exist_ok=True)
    for path in MAINS.glob("*.json"):
        _settle(path)
    me = {"host": socket.gethostname(), "pid": os.getpid(), "slurm_job": None, "logs": log_files}
    me["process_start"] = process_start(os.getpid())
    path = MAINS / f"{me['host']}-{me['pid']}.json"
    path.write_text(json.dumps(me))
    atexit.register(_leave, path, me)


def _leave(path: Path, main: dict[str, Any]) -> None:
    """At the end of this main process, however it ends: cancel what is left in the queue. The plugin does that at SIGINT, but
    forgets all jobs whose status it is just asking for."""
    for run in _runs_of(main):
        subprocess.run(["scancel", "--name", run], check=False)
    path.unlink(missing_ok=True)


def _settle(path: Path) -> None:
    """Forget a main process that has gone, and cancel what it left in the queue."""
    try:
        main = json.loads(path.read_text())
    except (OSError, ValueError):
        main = {"host": "", "logs": []}
    if main["host"] == socket.gethostname() and not is_dead(main):
        return
    for run in _runs_of(main):
        if main["host"] != socket.gethostname():
            log.warning("run %s was started on %s; if that process is gone: scancel --name %s", run, main["host"], run)
            return
        subprocess.run(["scancel", "--name", run], check=True)
        log.warning("cancelled what is left in the queue of the killed run %s", run)
    path.unlink(missing_ok=True)


def _runs_of(main: dict[str, Any]) -> list[str]:
    """The SLURM job names of a main process: the run IDs in its Snakemake logs."""
    logs = [Path(file) for file in main["logs"]]
    return sorted({run for log in logs if log.exists() for run in re.findall(r"SLURM run ID: (\S+)", log.read_text())})
