"""Shared job infrastructure: atomic writes, errors, seeds."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from workflow.lib.job.run import UserError, atomic_folder, atomic_path, derive_seed, read_json, write_json

ROOT = Path(__file__).parents[3]


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_failed_folder_leaves_the_old_folder_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a").write_text("old")
    with pytest.raises(RuntimeError), atomic_folder(folder) as temporary:
        (temporary / "a").write_text("half")
        raise RuntimeError
    assert (folder / "a").read_text() == "old"
    assert list(tmp_path.iterdir()) == [folder]


def test_json_refuses_nan_and_truncation(tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    with pytest.raises(ValueError):
        write_json(path, {"x": float("nan")})
    assert not path.exists()
    write_json(path, {"x": 1})
    path.write_text(path.read_text()[:-4])
    with pytest.raises(UserError) as error:
        read_json(path)
    assert all(word in str(error.value) for word in (str(path), "found:", "expected:", "rm "))


def test_seeds_depend_on_every_part_and_on_nothing_else() -> None:
    assert len({derive_seed(a, b) for a in range(20) for b in ("x", "y")}) == 40
    code = "from workflow.lib.job.run import derive_seed; print(derive_seed(1, 'order', 2))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(run.stdout) == derive_seed(1, "order", 2)


def test_user_errors_reach_log_and_stderr_without_traceback(tmp_path: Path) -> None:
    log = tmp_path / "job.log"
    code = (
        "from workflow.lib.job.run import UserError, start_job\n"
        f"start_job({str(log)!r})\n"
        "raise UserError('mask without image', found=1, expected=0, where='/x', next='remove it')"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 1
    for text in (run.stderr, log.read_text()):
        assert "mask without image" in text and "next:     remove it" in text
        assert "Traceback" not in text


def test_ctrl_c_says_what_to_do_without_traceback(tmp_path: Path) -> None:
    log = tmp_path / "job.log"
    code = f"from workflow.lib.job.run import start_job\nstart_job({str(log)!r})\nraise KeyboardInterrupt"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode != 0 and "Traceback" not in run.stderr + log.read_text()
    assert "run the same command again" in log.read_text()


def test_warnings_reach_the_console(tmp_path: Path) -> None:
    code = (
        "import logging\nfrom workflow.lib.job.run import start_job\n"
        f"start_job({str(tmp_path / 'job.log')!r})\n"
        "logging.getLogger('medseg').warning('no group')\nlogging.getLogger('medseg').info('quiet')"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stderr == "WARNING: no group\n"
    assert "quiet" in (tmp_path / "job.log").read_text()


def test_json_round_trip(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": [1, 2]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"b": [1, 2]}


def test_what_a_killed_job_left_half_written_is_removed(tmp_path: Path) -> None:
    code = (
        "import os, sys\nfrom workflow.lib.job.run import atomic_path\n"
        "with atomic_path(sys.argv[1]) as temporary:\n    temporary.write_text('half')\n    os.kill(os.getpid(), 9)"
    )
    path = tmp_path / "table.csv"
    subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT)
    assert [entry.name[:11] for entry in tmp_path.iterdir()] == [".table.csv."]
    with atomic_path(path) as temporary:
        temporary.write_text("whole")
    assert list(tmp_path.iterdir()) == [path] and path.read_text() == "whole"
