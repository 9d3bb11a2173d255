"""Leases: one job at a time works on an output, whoever started it.

Snakemake forgets its SLURM jobs, and orphans its local ones, when it is killed; a second Snakemake would start them again
beside the first. So the job itself holds a file beside its first output, which also tells `snakemake status` what runs.
"""

import atexit
import json
import logging
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

log = logging.getLogger("medseg")

BEAT = 10.0  # seconds between two signs of life
STALE = 120.0  # seconds without one after which a job counts as dead; network file systems show times a minute late


def hold_lease(outputs: Sequence[str | Path]) -> bool:
    """Wait until no other job works on `outputs`, then hold `<first output>.lease` until this process ends.

    Returns False, and holds nothing, if another job made all `outputs` while this one waited.
    """
    path = lease_path(outputs[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    mine: dict[str, Any] = {
        "token": uuid.uuid4().hex,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "process_start": process_start(os.getpid()),
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
        "since": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    waited = False
    while not _take(path, mine):
        _wait_until_free(path)
        waited = True
    if waited and all(Path(output).exists() for output in outputs):
        path.unlink()
        return False
    released = threading.Event()
    atexit.register(_release, path, mine["token"], released)
    threading.Thread(target=_beat, args=(path, mine["token"], released), daemon=True).start()
    return True


def lease_path(output: str | Path) -> Path:
    """Where the lease of a job lies whose first output is `output`."""
    return Path(f"{output}.lease")


def read_lease(path: Path) -> dict[str, Any]:
    """Who holds a lease: token, host, pid, process_start, slurm_job, since; empty if nobody does (or is just taking it)."""
    try:
        holder = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    known = isinstance(holder, dict) and {"token", "host", "pid", "process_start", "slurm_job"} <= holder.keys()
    return holder if known else {}


def is_dead(holder: dict[str, Any]) -> bool:
    """Whether the holder is known to be gone: its process on this host, or an earlier slot of this very SLURM job."""
    if not holder:
        return False
    if holder["slurm_job"] and holder["slurm_job"] == os.environ.get("SLURM_JOB_ID"):
        return holder["host"] != socket.gethostname() or process_start(holder["pid"]) != holder["process_start"]
    return holder["host"] == socket.gethostname() and process_start(holder["pid"]) != holder["process_start"]


def _take(path: Path, mine: dict[str, Any]) -> bool:
    try:
        file = open(path, "x")
    except FileExistsError:
        return False
    try:
        with file:
            json.dump(mine, file)
    except OSError:  # a full disk: nobody must wait for this
        path.unlink(missing_ok=True)
        raise
    return True


def _wait_until_free(path: Path) -> None:
    """Return when the lease is released, or was taken from a holder that shows no sign of life."""
    holder = read_lease(path)
    print(f"another job works on this output; waiting for it: {holder}, {path}", file=sys.stderr)
    seen, since = 0.0, time.monotonic()
    while path.exists():
        beat = _mtime(path)
        if beat != seen:
            seen, since = beat, time.monotonic()
        holder = read_lease(path)
        if is_dead(holder) or time.monotonic() - since > STALE:
            print(f"that job has ended; taking over: {holder}", file=sys.stderr)
            _remove(path, holder.get("token"))
            return
        time.sleep(0.5)


def _remove(path: Path, token: str | None) -> None:
    """Remove the lease of a dead holder, once: of several that wait, one renames it, and puts back what is not meant."""
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        path.rename(aside)
    except FileNotFoundError:
        return
    if read_lease(aside).get("token") != token:
        os.link(aside, path)
    aside.unlink()


def _beat(path: Path, token: str, released: threading.Event) -> None:
    while not released.wait(BEAT):
        try:
            os.utime(path)
            lost = json.loads(path.read_text())["token"] != token
        except (FileNotFoundError, ValueError):  # gone, or empty, as another job is just taking it
            lost = True
        except OSError:  # the file system does not answer well: that says nothing about the lease
            continue
        if lost and not released.is_set():  # this thread may outlive the release
            log.error("another job has taken over %s, as this one did not renew its lease: stopping", path)
            os._exit(1)  # nothing more may be written; an interrupt would wait for the end of a child, or be ignored


def _release(path: Path, token: str, released: threading.Event) -> None:
    released.set()
    if read_lease(path).get("token") == token:
        path.unlink(missing_ok=True)


def _mtime(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def process_start(pid: int) -> str | None:
    """When a process of this host started, in ticks since boot; None if there is none (or it is a zombie)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]
