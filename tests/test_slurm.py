"""Runs of the workflow on a real SLURM (tests/slurm_cluster.py): to the end, and through all that happens on clusters.

Each scenario runs Snakemake in a copy of the project of its own; several run at once, as most of their time is waiting.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.slurm_cluster import NODES, Cluster, NoSlurm, cluster, environment_of, name_of, wait_until, write_program
from tests.workflow_copy import ROOT, command, copy_project
from workflow.lib.job.lease import process_start

pytestmark = pytest.mark.slurm

PRETRAIN = "results/small/pretrain/unet/simple"
LONG = {"schemes": {"simple": {"epochs": 12}}, "pretraining": {"keep": [1, 12]}}  # half a minute of training
FEW_STEPS = {  # 2 an epoch: over many steps of AdamW, rounding grows to visible differences
    "schemes": {"simple": {"epochs": 2, "batch": 1200, "learning_rate": 0.0001}},
    "pretraining": {"keep": [1, 2]},
}
WARNED = "'--signal=URG@10'"  # SLURM sends it 10 to 40 s before the limit


@dataclass
class Project:
    """A copy of the project with settings of its own, on a cluster."""

    folder: Path
    cluster: Cluster
    runs: int = 0

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start Snakemake on the cluster. It is made to obey SIGINT, as a shell's background jobs don't."""
        self.runs += 1
        environment = os.environ | self.cluster.environment | {"XDG_CONFIG_HOME": str(self.folder / ".config")}
        environment |= {"XDG_CACHE_HOME": str(self.folder / ".cache")}
        environment["PATH"] = f"{self.folder / 'bin'}:{environment['PATH']}"
        call = [*arguments, "--profile", "slurm", "--profile", "site", "--configfile", "small.yaml", "own.yaml"]
        with open(self.folder / f"run{self.runs}.out", "wb") as out:
            return subprocess.Popen(
                ["env", "--default-signal=INT", *command(*call)],
                cwd=self.folder,
                env=environment,
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    def run(self, *arguments: str) -> tuple[int, str]:
        """Exit status and output of Snakemake on the cluster."""
        status = self.start(*arguments).wait(600)
        return status, self.said()

    def said(self) -> str:
        """The output of the latest Snakemake."""
        return (self.folder / f"run{self.runs}.out").read_text()

    def submitted(self) -> list[str]:
        """The numbers of the SLURM jobs of the latest Snakemake, in order."""
        return re.findall(r"submitted with SLURM jobid (\d+)", self.said())

    def weights(self, seed: int = 1) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.path(f"{PRETRAIN}/seed{seed}").glob("*.safetensors")}

    def path(self, name: str) -> Path:
        return self.folder / name

    def trains_since(self, moment: float, seed: int = 1) -> bool:
        """Whether a pretraining has saved its state after that time."""
        return any(mtime(path) > moment for path in self.path(f"{PRETRAIN}/seed{seed}.resume").glob("state-*.pt"))


@dataclass
class Lab:
    """What the scenarios share."""

    cluster: Cluster
    prepared: Path  # a project whose data are ready
    folder: Path
    unbroken: Future[Project]  # LONG, trained without a break

    def project(
        self,
        name: str,
        settings: dict[str, Any],
        site: dict[str, Any],
        *,
        fresh: bool = False,
        where: Cluster | None = None,
    ) -> Project:
        """A project with `settings` on top of small.yaml and `site` on top of the usual site profile."""
        project = Project(self.folder / name, where or self.cluster)
        if fresh:
            copy_project(project.folder)
        else:
            shutil.copytree(self.prepared, project.folder)
        write_settings(project.folder, settings, site)
        return project


def write_settings(folder: Path, settings: dict[str, Any], site: dict[str, Any]) -> None:
    """A site's profile, as the profile of the project advises it, and the config of a test."""
    trainings = ["pretrain_encoder", "finetune_network", "score_checkpoints"]
    usual = {
        "slurm-init-seconds-before-status-checks": 1,
        "latency-wait": 10,
        "set-threads": dict.fromkeys(trainings, 1),  # with one thread, the same numbers whatever else runs
        "set-resources": {name: {"gpu": 1} for name in trainings},  # although device: cpu
    }
    place = folder / ".config/snakemake/site"
    place.mkdir(parents=True, exist_ok=True)
    (place / "profile.yaml").write_text(yaml.safe_dump(usual | site))
    shutil.copy(ROOT / "tests/slurm.yaml", folder / "small.yaml")
    (folder / "own.yaml").write_text(yaml.safe_dump(settings or {"run": "small"}))


def make_here(target: str, project: Project) -> None:
    """Run Snakemake without SLURM and without a break; pretraining with one thread."""
    only = ["--until", "index_source", "pretrain_encoder", "--set-threads", "pretrain_encoder=1"]
    arguments = [target, *only, "--cores", 2, "--configfile", "small.yaml", "own.yaml"]
    environment = os.environ | project.cluster.environment  # not used, but it goes with the cluster
    run = subprocess.run(command(*arguments), cwd=project.folder, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]


def unbroken(lab: Lab) -> Project:
    project = lab.project("unbroken", LONG, {})
    make_here("pretrain", project)
    return project


def mtime(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def script_processes(project: Project) -> dict[int, str]:
    """The job scripts that run in a project's folder: process and rule."""
    found = {}
    for pid in project.cluster.processes():
        script = re.search(rf"{project.folder}/\.snakemake/scripts/\w+\.(\w+)\.py", name_of(pid))
        if script and "python" in name_of(pid).split("\0")[0]:
            found[pid] = script[1]
    return found


def whole_study(lab: Lab) -> None:
    """From nothing to the end, with as many submissions as the groups promise. Meanwhile a second Snakemake is refused, and
    SLURM gives no answers for a while."""
    project = lab.project("study", {}, {}, fresh=True)
    silent = project.path("silent")
    squeue = f'#!/bin/sh\ntest ! -e {silent} || exit 1\nexec {shutil.which("squeue")} "$@"\n'
    write_program(project.path("bin/squeue"), squeue)
    silent.touch()
    main = project.start("all")
    gpus: dict[str, set[str]] = {}
    second = None
    while main.poll() is None:
        for pid, rule in script_processes(project).items():
            environment = environment_of(pid)
            if any(environment):  # of a process that has just ended, it is empty
                seen = [part for part in environment if part.startswith("CUDA_VISIBLE_DEVICES=")]
                gpus.setdefault(rule, set()).update(seen or ["none"])
        if not second and project.submitted():
            second = Project(project.folder, project.cluster, runs=10)
            status, said = second.run("all")
            assert status == 1 and "LockException" in said and "--unlock" in said, said
            time.sleep(10)
            silent.unlink()
        time.sleep(0.3)
    assert main.returncode == 0, project.said()[-3000:]
    assert second
    assert (project.folder / "results/small/answer.txt").exists()
    assert "fine-tuning done: 2 jobs in" in project.said() and "so far" not in project.said()
    # 2 data sets, untrained weights, 1 pretraining, 2 fine-tunings, 2 scorings: of random weights and of the pretraining
    jobs = [lab.cluster.job(number) for number in project.submitted()]
    assert len(jobs) == 8 and not second.submitted()
    for rule in ("pretrain_encoder", "finetune_network", "score_checkpoints"):
        assert gpus[rule] <= {"CUDA_VISIBLE_DEVICES=0", "CUDA_VISIBLE_DEVICES=1"}, gpus
    assert sorted(job.get("TresPerJob", "none") for job in jobs) == ["gres:gpu:1"] * 5 + ["none"] * 3
    assert "Nothing to be done" in project.run("all")[1]


def no_gpu_and_short_partition(lab: Lab) -> None:
    """device: cuda without a usable GPU stops at once; requests grow up to the partition's limit, and not beyond."""
    short = {"slurm_partition": "'short'", "runtime": "min(2, 1.5 * attempt)"}
    site = {"set-resources": {"pretrain_encoder": short}, "retries": 1}
    project = lab.project("cuda", {"device": "cuda"}, site)
    status, said = project.run("pretrain", "--until", "pretrain_encoder")
    assert status == 1
    for word in ("no usable CUDA device", "driver", "built for CUDA"):
        assert word in project.path("results/small/logs/pretrain/unet-simple-1.log").read_text(), word
    assert not list(project.path(PRETRAIN).glob("**/*.*")), "nothing was trained on the CPU"
    assert [lab.cluster.job(number)["TimeLimit"] for number in project.submitted()[-2:]] == ["00:02:00"] * 2
    write_settings(project.folder, {}, {"set-resources": {"pretrain_encoder": short | {"runtime": 3}}, "retries": 0})
    status, said = project.run("pretrain", "--until", "pretrain_encoder")
    assert status == 1 and "Requested time limit is invalid" in said, said


def many_slots(lab: Lab) -> None:
    """A pretraining longer than its time limit goes on from slot to slot, in one submission, and equals an unbroken one."""
    site = {  # 2 minutes, warned after 80 to 110 s: of 1 minute, a busy machine may have spent all before the warning
        "set-resources": {"pretrain_encoder": {"gpu": 1, "runtime": 2}},
        "default-resources": {"turn": 1, "slurm_extra": WARNED},
    }
    project = lab.project("slots", LONG, site)
    main = project.start("pretrain", "--until", "pretrain_encoder")

    def ended(slot: int) -> bool:
        return lab.cluster.job(project.submitted()[0])["Restarts"] == str(slot)

    for slot in (1, 2):  # on a fast machine, one slot would do: the training sleeps until SLURM's warning wakes it
        wait_until(partial(project.trains_since, time.time()), f"slot {slot} trains")
        for pid in script_processes(project):
            os.kill(pid, signal.SIGSTOP)
        wait_until(partial(ended, slot), f"the end of slot {slot}")
    assert main.wait(600) == 0, project.said()
    assert len(project.submitted()) == 1
    assert project.weights() == lab.unbroken.result().weights()
    assert not project.path(f"{PRETRAIN}/seed1.resume").exists()


def hanging(lab: Lab) -> None:
    """A job that gets nowhere in its slot ends with SLURM's word for it, instead of going on for ever."""
    site = {
        "set-resources": {"pretrain_encoder": {"gpu": 1, "runtime": 1}},
        "default-resources": {"turn": 1, "slurm_extra": WARNED},
        "retries": 0,
    }
    project = lab.project("hanging", LONG, site)
    main = project.start("pretrain", "--until", "pretrain_encoder")
    while main.poll() is None:
        for pid in script_processes(project):
            os.kill(pid, signal.SIGSTOP)  # again and again, as SLURM lets it go on
        time.sleep(0.5)
    assert main.returncode == 1
    [number] = project.submitted()
    assert "TIMEOUT" in project.said()
    assert lab.cluster.job(number)["Restarts"] == "0"
    assert not project.weights()


def rough(lab: Lab) -> None:
    """Cancelled, preempted, and on a node that dies: the pretraining goes on each time, and equals an unbroken one."""
    with cluster(lab.folder / "own", silence=10) as own:
        low = {"gpu": 1, "slurm_partition": "'low'"}
        project = lab.project("rough", LONG, {"set-resources": {"pretrain_encoder": low}}, where=own)
        main = project.start("pretrain", "--until", "pretrain_encoder")
        wait_until(lambda: project.trains_since(0), "the first job trains")

        own.ask("scancel", project.submitted()[-1])
        cancelled = time.time()
        wait_until(lambda: len(project.submitted()) == 2, "the cancelled job is submitted again")
        wait_until(lambda: project.trains_since(cancelled + 6), "the second job trains")  # KillWait is 5 s
        first, second = project.submitted()
        assert own.job(first)["JobState"] == "CANCELLED"

        node = own.job(second)["NodeList"]
        own.ask("sbatch", "-p", "high", "-w", node, "--exclusive", "-t", "1", "-o", "/dev/null", "--wrap", "sleep 1")
        preempted = time.time()
        wait_until(lambda: own.job(second)["Restarts"] == "1", "the job is preempted")
        wait_until(lambda: project.trains_since(preempted + 6), "the preempted job trains")

        node = own.job(second)["NodeList"]
        own.kill_node(node)
        wait_until(lambda: own.job(second)["Restarts"] == "2", "the job of the dead node is requeued")
        assert main.wait(600) == 0, project.said()[-3000:]
        assert own.job(second)["NodeList"] != node
        assert project.submitted() == [first, second], "nothing was submitted beside SLURM's requeue"
        assert project.weights() == lab.unbroken.result().weights()
        assert not list(project.path("results").rglob("*.lease"))


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Fails if the holder of a lease still works for over a second after another has taken it."""
    holders: dict[Path, dict[str, dict[str, Any]]] = {}
    both, stop = [], threading.Event()

    def look() -> None:
        alive_together: dict[Path, int] = {}
        while not stop.wait(0.2):
            files = (Path(place, name) for place, _, names in os.walk(folder) for name in names)  # folders may vanish
            for path in (file for file in files if file.suffix == ".lease"):
                try:
                    holder = json.loads(path.read_text())
                except (OSError, ValueError):
                    continue
                known = holders.setdefault(path, {})
                known[holder["token"]] = holder
                alive = [old for old in known.values() if process_start(old["pid"]) == old["process_start"]]
                alive_together[path] = alive_together.get(path, 0) + 1 if len(alive) > 1 else 0
                if alive_together[path] > 5:
                    both.append((path, alive))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert holders, "no lease was ever held"
    assert not both, both


def killed(lab: Lab, kind: signal.Signals) -> None:
    """Snakemake is killed while one job is done, one runs and one waits; started again, it ends well, once each."""
    license = kind.name.lower()  # the cluster has one of each: one job runs at a time
    site = {"default-resources": {"turn": 1, "slurm_extra": f"'--signal=URG@300 --licenses={license}'"}}
    settings = {
        "study": {"pretrain_seeds": [1, 2, 3]},
        "schemes": {"simple": {"epochs": 4}},
        "pretraining": {"keep": [1, 4]},
    }
    project = lab.project(f"killed-{license}", settings, site)
    slow, asked = project.path("slow"), project.path("asked")
    squeue = f'test ! -e {slow} || {{ touch {asked}; sleep 5; }}\nexec {shutil.which("squeue")} "$@"\n'
    write_program(project.path("bin/squeue"), f"#!/bin/sh\n{squeue}")

    def done() -> dict[Path, str]:
        complete = project.path(PRETRAIN).glob("seed*/history.csv")  # written last; cards hold the time
        return {path: path.read_text() for history in complete for path in history.parent.glob("*.json")}

    with one_at_a_time(project.path("results")):
        main = project.start("pretrain", "--until", "pretrain_encoder")
        wait_until(done, "one job is done")
        finished, before = done(), project.submitted()
        others = {1, 2, 3} - {int(path.parent.name[-1]) for path in finished}
        wait_until(lambda: any(project.trains_since(0, seed) for seed in others), "the next one trains")
        assert len(before) == 3
        if kind != signal.SIGTERM:  # after which Snakemake waits for it
            for pid in script_processes(project):
                os.kill(pid, signal.SIGSTOP)  # it may not end before Snakemake does: SLURM wakes it to cancel it
        if kind == signal.SIGINT:  # the worst moment: the plugin knows of no jobs while it asks for their status
            slow.touch()
            wait_until(asked.exists, "Snakemake asks for the status")
        os.kill(main.pid, kind)
        main.wait(600)
        slow.unlink(missing_ok=True)
        if kind == signal.SIGKILL:
            waiting = [number for number in before if lab.cluster.job(number)["JobState"] == "PENDING"]
            assert waiting, "SLURM knows nothing of the kill"
            assert "--unlock" in project.run("pretrain")[1]
            assert project.run("--unlock")[0] == 0
        status, said = project.run("pretrain", "--until", "pretrain_encoder")
        assert status == 0, said
    if kind == signal.SIGKILL:
        assert all(lab.cluster.job(number)["JobState"] == "CANCELLED" for number in waiting)
    runs = "".join(path.read_text()[-3000:] for path in sorted(project.folder.glob("run*.out")))
    assert finished.items() <= done().items(), f"finished work was done again:\n{runs}"
    assert {path.parent.name for path in done()} == {"seed1", "seed2", "seed3"}
    states = [lab.cluster.job(number)["JobState"] for number in {*before, *project.submitted()}]
    assert set(states) <= {"COMPLETED", "CANCELLED"} and states.count("COMPLETED") == 3, states
    assert not list(project.path("results").rglob("*.lease"))
    assert not list(project.path("results").rglob("*.resume"))


def several_processes(lab: Lab) -> None:
    """Two processes in one job, and four on two nodes, yield the checkpoints of one process up to rounding."""
    alone = lab.project("one-process", FEW_STEPS, {})
    make_here("pretrain", alone)
    nodes = {"gpu": 0, "gres": "'gpu:2'", "nodes": 2, "tasks_per_node": 2, "mpi": "'srun'"}
    for node in NODES:  # one GPU of each is taken: those of a job must not be gathered from both
        lab.cluster.ask(
            "sbatch", "-w", node, "--gpus=1", "--mem=100", "-t", "1", "-o", "/dev/null", "--wrap", "sleep 20"
        )
    for name, resources in (("two-processes", {"gpu": 2}), ("two-nodes", nodes)):
        site = {"set-resources": {"pretrain_encoder": resources}, "set-threads": {"pretrain_encoder": 2}, "retries": 0}
        project = lab.project(name, FEW_STEPS, site)
        status, said = project.run("pretrain", "--until", "pretrain_encoder")
        assert status == 0, said
        assert lab.cluster.job(project.submitted()[0])["NumNodes"] == str(resources.get("nodes", 1))
        for epoch in (1, 2):
            one, several = (
                load_file(each.path(f"{PRETRAIN}/seed1/epoch{epoch}.safetensors")) for each in (alone, project)
            )
            assert one.keys() == several.keys()
            for key, tensor in one.items():
                torch.testing.assert_close(several[key], tensor, rtol=1e-3, atol=1e-3)
        one, several = (pd.read_csv(each.path(f"{PRETRAIN}/seed1/history.csv"))["loss"] for each in (alone, project))
        np.testing.assert_allclose(several, one, rtol=1e-5)


def killed_by_int(lab: Lab) -> None:
    killed(lab, signal.SIGINT)


def killed_by_term(lab: Lab) -> None:
    killed(lab, signal.SIGTERM)


def killed_by_kill(lab: Lab) -> None:
    killed(lab, signal.SIGKILL)


SCENARIOS: list[Callable[[Lab], None]] = [  # the longest first
    many_slots,
    rough,
    whole_study,
    hanging,
    killed_by_kill,
    killed_by_int,
    killed_by_term,
    several_processes,
    no_gpu_and_short_partition,
]


@contextmanager
def stopped_at_the_end(pool: ThreadPoolExecutor) -> Iterator[ThreadPoolExecutor]:
    """Not waited for, as `with` alone does: a test session that was interrupted takes the cluster away."""
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


@pytest.fixture(scope="module")
def outcomes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[None]]]:
    """All scenarios that were asked for, on their way on one cluster."""
    calls = [
        item.callspec
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.module is request.module
    ]
    chosen = [call.params["scenario"] for call in calls]
    folder = tmp_path_factory.mktemp("slurm")
    try:
        with cluster(folder) as here, stopped_at_the_end(ThreadPoolExecutor(5)) as pool:
            lab = Lab(here, folder / "prepared", folder, Future())
            copy_project(lab.prepared)
            write_settings(lab.prepared, {}, {})
            make_here("results/small/data/ImageNet/index.csv.gz", Project(lab.prepared, here))
            if {many_slots, rough} & set(chosen):
                lab.unbroken = pool.submit(unbroken, lab)
            yield {scenario.__name__: pool.submit(scenario, lab) for scenario in SCENARIOS if scenario in chosen}
    except NoSlurm as error:
        if os.environ.get("CI_SLURM") == "required":
            raise
        pytest.skip(str(error))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_on_slurm(scenario: Callable[[Lab], None], outcomes: dict[str, Future[None]]) -> None:
    outcomes[scenario.__name__].result()
