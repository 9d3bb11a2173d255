"""What every job shares: its log, its errors, atomic writes, seeds and progress. Nothing here imports torch."""

import errno
import gc
import hashlib
import json
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from workflow.lib.job.lease import hold_lease, lease_path

log = logging.getLogger("medseg")


class UserError(Exception):
    """A mistake that the user can correct: says what was found, what was expected, where, and the next step."""

    def __init__(self, what: str, **details: object) -> None:
        """`details`: found, expected, where, next. All four, but for copies of an error made from its text alone, as
        torch makes them of errors in data-loader workers."""
        super().__init__("\n".join([what, *(f"  {key + ':':<10}{value}" for key, value in details.items())]))


def start_job(log_path: str | Path, outputs: Sequence[str | Path] = ()) -> None:
    """Begin a job: hold the lease of its `outputs`, and log to `log_path`.

    Ends the process, successfully, where another job made the outputs while this one waited for it. Without `outputs`
    (jobs that only the main process runs) there is no lease.
    """
    gc.freeze()  # what was imported is no garbage: neither now nor at the end is it looked through
    collect_warnings()
    # SIGTERM ends a job like an error does, so that its temporary files and its lease go.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if outputs:
        try:
            with writing(lease_path(outputs[0])):
                held = hold_lease(outputs)
        except UserError as error:
            sys.exit(f"\n{error}\n")
        if not held:
            print("another job made these outputs meanwhile", file=sys.stderr)
            sys.exit(0)
    log_to(log_path)


WARNED: list[int] = []  # SIGURG, the cluster's warning before the time limit, which trainings obey


def collect_warnings() -> None:
    """Note the cluster's warning from now on, so that it is not lost while a job loads its data."""
    signal.signal(signal.SIGURG, lambda number, _: WARNED.append(number))


def log_to(log_path: str | Path, *, append: bool = False, level: int = logging.INFO) -> None:
    """Send log records to `log_path`, warnings to stderr too; uncaught errors go to both (a `UserError` without traceback)."""
    Path(log_path).parent.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(
        filename=log_path,
        filemode="a" if append else "w",
        level=level,
        format="%(asctime)s %(message)s",
        datefmt="%H:%M:%S",
    )
    logging.captureWarnings(True)
    logging.getLogger("fontTools").setLevel(logging.WARNING)
    console = logging.StreamHandler()  # the project's own warnings are for the user's eyes too
    console.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    console.addFilter(lambda record: record.levelno == logging.WARNING)
    log.addHandler(console)

    def report(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        if issubclass(kind, KeyboardInterrupt):
            log.error("interrupted; run the same command again: finished work is kept")
        elif issubclass(kind, UserError):
            log.error("%s", error)
            print(f"\n{error}\n  {'log:':<10}{log_path}\n", file=sys.stderr)
        else:
            log.error("uncaught error", exc_info=(kind, error, trace))
            sys.__excepthook__(kind, error, trace)

    sys.excepthook = report


# What a disk answers that is full, over quota, read-only, not the user's, or broken.
NO_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.EIO)


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Turn errors of writing at `path` into a `UserError`; those of files that the block reads elsewhere pass."""
    path = Path(path).absolute()
    try:
        yield
    except OSError as error:
        # No name: of a file that was open. Two: a copy.
        names = [Path(os.fsdecode(name)).absolute() for name in (error.filename, error.filename2) if name]
        ours = any(name.is_relative_to(path.parent) or name in path.parents for name in names)
        if not (ours if names else error.errno in NO_WRITE):
            raise
        place = next(parent for parent in path.parents if parent.is_dir())
        raise UserError(
            "cannot write",
            found=f"{error}; {shutil.disk_usage(place).free / 1e9:.2f} GB free",
            expected="free disk space (df -h, df -i, quota), in a folder where you may write",
            where=path,
            next="free some space, or put the results elsewhere, then run the same command again: finished work is kept",
        ) from error


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary file name beside `path` (same suffix); renamed to `path` on success, removed on any error.

    Raises `UserError` where it cannot be written, for example on a full disk.
    """
    path = Path(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
            temporary = Path(folder) / path.name
            yield temporary
            temporary.replace(path)


def _remove_leftovers(path: Path) -> None:
    """Remove what jobs that were killed while they wrote `path` left beside it; no two jobs write the same file at once."""
    for old in path.parent.iterdir():
        if old.is_dir() and old.name.startswith(f".{path.name}."):
            shutil.rmtree(old)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Like `atomic_path` for a whole folder; an older folder at `path` is replaced only once the new one is complete."""
    path = Path(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        try:
            yield temporary
            if path.exists():
                shutil.rmtree(path)
            temporary.chmod(0o755)
            temporary.replace(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def write_json(path: str | Path, content: dict[str, Any]) -> None:
    """Write `content` as indented JSON, atomically; NaN is refused (ValueError)."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: str | Path) -> dict[str, Any]:
    """Read a JSON object. Raises `UserError` when the file is absent, truncated or no JSON object."""
    try:
        content = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise UserError(
            "unreadable JSON file",
            found=error,
            expected="a JSON object",
            where=path,
            next=f"rm -f '{path}', then run the same command again: it will be made again",
        ) from error
    if not isinstance(content, dict):
        raise UserError(
            "unexpected JSON file",
            found=type(content).__name__,
            expected="a JSON object",
            where=path,
            next=f"rm {path}",
        )
    return content


def reason(error: BaseException) -> str:
    """The first line of an error's text, or its kind where it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file's content, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_of(settings: dict[str, Any]) -> str:
    """A short hash of settings (JSON types, any order of keys): equal hashes mean equal settings."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed that depends on all `parts` and on nothing else (no hash randomisation, same on every machine)."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


class Progress:
    """Logs `what done/total, eta h:mm:ss` with the latest numbers, at most every `every` seconds and at the end."""

    def __init__(self, total: int, what: str, *, done: int = 0, every: float = 10.0) -> None:
        self.total, self.what, self.done, self.every = total, what, done, every
        self._first, self._start = done, time.monotonic()
        self._next = self._start

    def step(self, n: int = 1, **numbers: float) -> None:
        """Count `n` more units done; `numbers` (for example the loss) are shown in the line."""
        self.done += n
        now = time.monotonic()
        if now < self._next and self.done < self.total:
            return
        self._next = now + self.every
        left = (now - self._start) / max(1, self.done - self._first) * (self.total - self.done)
        shown = "".join(f", {name} {value:.4g}" for name, value in numbers.items())
        log.info("%s %d/%d, eta %s%s", self.what, self.done, self.total, timedelta(seconds=round(left)), shown)
