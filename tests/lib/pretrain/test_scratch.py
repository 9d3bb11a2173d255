"""Images are read from the node's own disk, where the config says so."""

import dataclasses
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.lib.pretrain.test_classification import job, run  # noqa: F401
from workflow.lib.data.source import load_source
from workflow.lib.job.run import UserError
from workflow.lib.pretrain.scratch import on_scratch


def test_training_from_scratch_equals_training_in_place(
    job: dict[str, Any],  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NODE_DISK", str(tmp_path / "disk"))
    (tmp_path / "disk").mkdir()
    here = run(job, tmp_path / "here")
    there = run(job | {"scratch": "$NODE_DISK"}, tmp_path / "there")
    assert all((here[name] == there[name]).all() for name in here)
    assert len(list((tmp_path / "disk").glob("*/train/*/*.JPEG"))) == 12


def test_files_that_are_there_are_not_copied_again(job: dict[str, Any], tmp_path: Path) -> None:  # noqa: F811
    images = load_source(job["source_card"], job["index"], "train")
    (first,) = on_scratch([images], str(tmp_path))
    copied = sorted(first.folder.rglob("*.JPEG"))
    times = [path.stat().st_mtime_ns for path in copied]
    copied[0].write_bytes(b"cut")  # by an earlier job that had no time to finish, for example
    (second,) = on_scratch([images], str(tmp_path))
    assert np.array_equal(second.read(0), images.read(0))
    assert [path.stat().st_mtime_ns for path in copied][1:] == times[1:]
    original = images.folder / copied[1].relative_to(first.folder)
    original.write_bytes(original.read_bytes()[::-1])  # another image of this size
    os.utime(original, (time.time(), time.time() + 60))
    on_scratch([images], str(tmp_path))
    assert copied[1].read_bytes() == original.read_bytes()


def test_what_scratch_needs(job: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    images = load_source(job["source_card"], job["index"], "train")
    with pytest.raises(UserError, match="no such scratch folder") as error:
        on_scratch([images], "$NOT_SET_ANYWHERE/x")
    assert "$NOT_SET_ANYWHERE" in str(error.value)
    full = dataclasses.make_dataclass("Usage", ["free"])(10)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    with pytest.raises(UserError, match="too small") as error:
        on_scratch([images], str(tmp_path))
    assert "scratch: null" in str(error.value)
