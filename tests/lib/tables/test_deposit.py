"""Deposited tables: copied or downloaded, checked, nothing half-written."""

from pathlib import Path
from typing import Any

import pytest

from tests.lib.tables.synthetic_run import write_run
from workflow.lib.job.run import UserError, sha256_of
from workflow.lib.tables.deposit import fetch_tables


def fetch(target: Path, **source: Any) -> None:
    options: dict[str, Any] = {
        "folder": None,
        "url": None,
        "downstream_sha256": None,
        "robustness_sha256": None,
    } | source
    fetch_tables(
        **options, downstream=str(target / "downstream_scores.csv"), robustness=str(target / "robustness_scores.csv")
    )


def test_tables_come_from_a_folder_or_an_address(tmp_path: Path) -> None:
    downstream, robustness = write_run(tmp_path / "from")
    sums = {"downstream_sha256": sha256_of(downstream), "robustness_sha256": sha256_of(robustness)}
    fetch(tmp_path / "a", folder=str(tmp_path / "from"), **sums)
    fetch(tmp_path / "b", url=(tmp_path / "from").as_uri() + "/", **sums)
    for run in ("a", "b"):
        assert (tmp_path / run / "downstream_scores.csv").read_bytes() == downstream.read_bytes()
        assert (tmp_path / run / "robustness_scores.csv").read_bytes() == robustness.read_bytes()


def test_changed_table_is_refused_and_nothing_written(tmp_path: Path) -> None:
    downstream, _ = write_run(tmp_path / "from")
    with pytest.raises(UserError) as error:
        fetch(tmp_path / "a", folder=str(tmp_path / "from"), downstream_sha256="0" * 64)
    assert all(text in str(error.value) for text in (sha256_of(downstream), "0" * 64, str(downstream), "config.yaml"))
    assert not (tmp_path / "a").exists()


def test_absent_table_and_absent_source_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a deposited table is absent") as error:
        fetch(tmp_path / "a", folder=str(tmp_path / "nowhere"))
    assert str(tmp_path / "nowhere" / "downstream_scores.csv") in str(error.value)
    with pytest.raises(UserError, match="no place to take"):
        fetch(tmp_path / "a")
