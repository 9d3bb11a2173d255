"""What a plan says of wall time, disk and data sets."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from workflow.lib.data.registry import Archive, Dataset
from workflow.lib.overview.costs import Study
from workflow.lib.overview.jobs import Job, Rule
from workflow.lib.overview.needs import bytes_to_come, data_set_lines
from workflow.lib.overview.plan import Limits, plan_text

GPU = Rule("finetune_network", "finetune", 8, 12000, 1, False)


@pytest.mark.parametrize(
    ("limits", "number"),
    [
        (Limits(None, None, None), 1),
        (Limits(32, None, None), 4),
        (Limits(32, None, 2), 2),
        (Limits(4, None, None), 1),
        (Limits(None, 200, None), 200),
    ],
)
def test_jobs_side_by_side(limits: Limits, number: int) -> None:
    assert limits.at_once(GPU) == number


def test_wall_time_is_shared_out(
    study: Study, rules: dict[str, Rule], finetuning: Callable[..., Job], finish: Callable[..., None]
) -> None:
    jobs = [finetuning(seed=seed) for seed in range(9)]
    finish(jobs[0], 3600.0)
    text = plan_text("Plan", jobs, rules, study, Limits(None, 4, None), [])
    row = next(line for line in text.splitlines() if line.startswith("finetune_network")).split()
    assert row[:9] == ["finetune_network", "9", "1", "8", "8.0", "h", "2.0", "h", "measured"]


def test_nothing_is_to_do(
    study: Study, rules: dict[str, Rule], finetuning: Callable[..., Job], finish: Callable[..., None]
) -> None:
    finish(finetuning(), 60.0)
    text = plan_text("Plan", [finetuning()], rules, study, Limits(None, None, None), [])
    assert "total                1     1      0" in text


def test_bytes_of_checkpoints(study: Study) -> None:
    outputs = tuple(f"epoch{epoch}.{kind}" for epoch in range(16) for kind in ("safetensors", "json"))
    job = Job("pretrain_encoder", {"encoder": "unet", "scheme": "simple", "pretrain_seed": "1"}, outputs, "", "")
    assert bytes_to_come(job, study) == pytest.approx(16 * 19.92e6 * 4)


def test_what_is_missing_of_a_data_set(tmp_path: Path) -> None:
    archives = [Archive("a.zip", "", "unknown"), Archive("b.zip", "https://www.kaggle.com/b", "unknown")]
    archives += [Archive("c.zip", "https://example.org/c", "unknown"), Archive("d.zip", "", "unknown")]
    row = Dataset("X", "login", "https://example.org/page", archives, {}, "CC BY 4.0")
    (tmp_path / "d.zip").touch()

    def lines(environment: dict[str, str], ready: bool = False) -> str:
        settings: dict[str, Any] = {"folder": None, "origin": "registry", "row": row, "downloads": tmp_path}
        return "\n".join(data_set_lines("X", ready=ready, environment=environment, **settings))

    without = lines({})
    for words in (
        "CC BY 4.0",
        "a.zip: MISSING",
        "b.zip: MISSING",
        "c.zip: will be",
        "d.zip: in",
        "KAGGLE_KEY",
        "org/page",
    ):
        assert words in without
    assert "b.zip: will be downloaded" in lines({"KAGGLE_USERNAME": "me", "KAGGLE_KEY": "x"})
    assert lines({}, ready=True) == "X: ready"
