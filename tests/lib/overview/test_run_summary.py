"""What is printed at the end: pages of this run of Snakemake alone, and the answer."""

import os
from pathlib import Path

from workflow.lib.overview.summary import run_summary


def test_only_what_was_made_now_is_named(tmp_path: Path) -> None:
    for name, written in {
        "new/index.html": 100,
        "new/rank.html": 200,
        "old/index.html": 10,
        "other/index.html": 100,
    }.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
        os.utime(path, (written, written))
        (path.parent / "answer.txt").write_text(f"The answer of {path.parent.name}.\n\nDetails.\n")
    said = run_summary(tmp_path, ["new", "old"], 50, 50 + 3725)
    assert said.splitlines()[:3] == ["", "The answer of new.", "Made in 1:02:05:"]
    assert f"open  {tmp_path}/new/index.html  the answer" in said and "new/rank.html" in said
    assert "old" not in said and "other/" not in said and "Details" not in said
    assert run_summary(tmp_path, ["new", "old"], 300, 400) == ""
