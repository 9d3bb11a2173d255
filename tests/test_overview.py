"""`snakemake plan` and `snakemake status` on the command line: what they count, and that they leave the lock alone."""

import os
import pty
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.test_dag import jobs
from tests.workflow_copy import command, copy_project, snakemake

pytestmark = pytest.mark.slow

DEMO = ("--configfile", "configs/demo.yaml")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_project(tmp_path_factory.mktemp("project"))


def printed(project: Path, *arguments: str) -> str:
    """What stands on stdout alone."""
    run = subprocess.run(command(*arguments), cwd=project, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def first_numbers(text: str) -> dict[str, int]:
    """The first number of each row of the first table, by the row's name."""
    rows = text.split("\n---")[1].split("\n\n")[0].splitlines()[1:]
    return {row[: row.index("  ")]: int(row[row.index("  ") :].split()[0].replace(",", "")) for row in rows}


@pytest.mark.parametrize("settings", [(), DEMO, ("--config", "pretraining={weights: released}")])
def test_the_plan_counts_the_jobs_of_a_dry_run(project: Path, settings: tuple[str, ...]) -> None:
    counted = jobs(snakemake(project, "-n", *settings).stdout)
    planned = first_numbers(printed(project, "plan", *settings))
    assert planned["total"] == sum(counted.values()) - counted["all"]
    assert planned["finetune_network"] == counted["finetune_network"]
    rows = planned.keys() - {"total", "statistics", "figures"}
    assert {name: planned[name] for name in rows} == {name: counted[name] for name in rows}


@pytest.mark.parametrize("target", ["rank", "stopped"])
def test_rankings_and_stopped_pretrainings_have_a_plan_of_their_own(project: Path, target: str) -> None:
    counted = jobs(snakemake(project, "-n", target, *DEMO).stdout)
    planned = first_numbers(printed(project, "plan", target, *DEMO))
    assert planned.pop("total") == sum(counted.values()) - counted.pop(target)
    figures = counted.pop("draw_images", 0) + counted.pop("write_rank_page", 0)
    assert planned.pop("figures", 0) == figures
    assert planned == {name: counted[name] for name in planned}
    assert planned.keys() == counted.keys() - {"total"}
    assert f"Status of {target} of run demo" in printed(project, "status", target, *DEMO)


def test_trainings_that_confirm_a_ranking_are_planned_before_it_is_there(project: Path) -> None:
    (project / "confirm.yaml").write_text("rank: {confirm: 2, folds: 3}")
    planned = first_numbers(printed(project, "plan", "rank", *DEMO, "confirm.yaml"))
    assert (planned["make_fold"], planned["finetune_fold"]) == (2 * 3, 2 * 3 * (2 + 1))
    assert planned["confirm_ranking"] == 2


def test_targets_without_masks_are_planned_for_rankings_alone(project: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    target = f"{{layout: folder, folder: '{tmp_path}'}}"
    (project / "unlabelled.yaml").write_text(f"study: {{targets: [mine]}}\ntargets: {{mine: {target}}}")
    assert first_numbers(printed(project, "plan", "rank", *DEMO, "unlabelled.yaml"))["rank_target"] == 1
    run = snakemake(project, "plan", *DEMO, "unlabelled.yaml")
    assert run.returncode == 1 and "mine has no masks" in run.stdout and "snakemake scores" in run.stdout


def test_only_the_text_is_printed_with_and_without_a_profile(project: Path) -> None:
    for arguments in (["plan"], ["-n", "plan"], ["plan", "--profile", "slurm"], ["plan", "-c2", *DEMO]):
        assert printed(project, *arguments).startswith("Plan of run ")
    assert printed(project, "status").startswith("Status of run study")


def test_a_cluster_shares_out_what_is_submitted(project: Path) -> None:
    alone, cluster = (printed(project, "plan", *profile).splitlines() for profile in ([], ["--profile", "slurm"]))
    for rule, same in {"finetune_network": False, "statistics": True}.items():
        rows = [next(line for line in lines if line.startswith(rule)).split() for lines in (alone, cluster)]
        assert (rows[0] == rows[1]) is same, rows


def test_they_are_listed_and_know_what_they_tell_of(project: Path) -> None:
    listed = printed(project, "--list-target-rules")
    assert "plan (Print what the run (or" in listed and "status (Print" in listed
    run = snakemake(project, "plan", "scores")
    assert run.returncode == 1
    assert "snakemake plan rank" in run.stdout


def test_a_lock_is_neither_minded_nor_removed(tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")
    target = ["-c1", "data", *DEMO]
    run = subprocess.Popen(
        command(*target), cwd=project, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT, process_group=0
    )
    locks = project / ".snakemake/locks"
    while not list(locks.glob("*.lock")):
        assert run.poll() is None
        time.sleep(0.01)
    assert "generate_dataset" in printed(project, "status", *DEMO)  # beside the run
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    held = sorted(locks.iterdir())
    assert held
    for text in ("plan", "status"):  # after its sudden end
        printed(project, text, *DEMO)
    assert sorted(locks.iterdir()) == held
    again = snakemake(project, *target)
    assert again.returncode == 1 and "LockException" in again.stdout


def test_a_line_in_a_terminal_and_headlines_alone_in_a_pipe(project: Path) -> None:
    made = "results/demo/data/IDRiD/source.json"
    run = snakemake(project, "-c1", made, *DEMO)
    assert run.returncode == 0, run.stdout
    assert "data done: 1 job in" in run.stdout and "1 of 1 steps (100%) done" in run.stdout
    assert "so far" not in run.stdout and "\x1b" not in run.stdout and "\r" not in run.stdout
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command("-c1", made, *DEMO, "-R", "generate_dataset"),
        cwd=project,
        env=os.environ | {"TERM": "xterm"},
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    said = b""
    with suppress(OSError):  # at the end
        while part := os.read(ours, 10000):
            said += part
    assert process.wait() == 0
    assert b"0 of 1 jobs, data 0 of 1, " in said and b"data done: 1 job in" in said
    assert b"steps" not in said and b"jobid" not in said
