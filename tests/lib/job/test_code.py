"""The files that count as a rule's code."""

from pathlib import Path

import pytest

from workflow.lib.job.code import code_files


def test_code_files_follow_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in {
        "workflow/scripts/score/a.py": "from workflow.lib.score.b import f",
        "workflow/lib/score/b.py": "def f():\n    from workflow.lib.score import (\n        c,\n    )",
        "workflow/lib/score/c.py": "",
        "workflow/lib/score/unused.py": "",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    expected = {"workflow/scripts/score/a.py", "workflow/lib/score/b.py", "workflow/lib/score/c.py"}
    assert set(code_files(str(tmp_path), "score/a.py")) == expected
