"""A real SLURM for tests: munge, controller and two nodes with two stand-ins for GPUs each, on loopback, in one folder."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

SBIN = "/usr/sbin:/sbin"  # where Debian has the daemons; not on a normal user's PATH
NEEDED = ["munged", "mungekey", "slurmctld", "slurmd", "sbatch", "srun", "scontrol"]
NODES = ["node1", "node2"]

# CPUs and memory are declared, not there (config_overrides); GPUs are device files that everyone may open. Nodes that
# don't answer for 10 s are down, so that the test of a lost node is short. cred_expire: a requeued job waits that long.
CONFIG = """
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmctldAddr=127.0.0.1
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock,cred_expire=5
CredType=cred/munge
SlurmctldPort={ports[0]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=none
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_min_interval=0,batch_sched_delay=0,sched_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
EnforcePartLimits=ALL
GresTypes=gpu
SlurmdParameters=config_overrides
CommunicationParameters=NoAddrCache,NoInAddrAny,NoCtldInAddrAny
AccountingStorageType=accounting_storage/none
ReturnToService=2
MinJobAge=7200
Licenses=sigint:1,sigterm:1,sigkill:1
KillWait=5
SlurmdTimeout={silence}
MessageTimeout=100
TCPTimeout=30
NodeName=node1 NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[1]} {hardware}
NodeName=node2 NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[2]} {hardware}
PartitionName=main Nodes=node[1-2] Default=YES MaxTime=INFINITE DefaultTime=10 State=UP PriorityTier=1 PreemptMode=OFF
PartitionName=short Nodes=node[1-2] MaxTime=2 DefaultTime=1 State=UP PriorityTier=1 PreemptMode=OFF
PartitionName=low Nodes=node[1-2] MaxTime=INFINITE DefaultTime=10 State=UP PriorityTier=1
PartitionName=high Nodes=node[1-2] MaxTime=INFINITE DefaultTime=10 State=UP PriorityTier=10 PreemptMode=OFF
"""
HARDWARE = (
    "CPUs=64 Boards=1 SocketsPerBoard=1 CoresPerSocket=64 ThreadsPerCore=1 RealMemory=500000 Gres=gpu:2 State=UNKNOWN"
)


class NoSlurm(Exception):
    """SLURM can't be started here, and why."""


@dataclass
class Cluster:
    """A cluster that runs. `environment`: what its commands, and Snakemake, need beside the usual variables."""

    folder: Path
    environment: dict[str, str]
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def ask(self, *command: str) -> str:
        """The output of a SLURM command. Raises CalledProcessError."""
        return subprocess.check_output(command, env=os.environ | self.environment, text=True)

    def job(self, number: str) -> dict[str, str]:
        """What `scontrol show job` says, for example JobState, Restarts, NodeList; empty for an unknown job."""
        try:
            text = self.ask("scontrol", "--oneliner", "show", "job", number)
        except subprocess.CalledProcessError:
            return {}
        return dict(part.split("=", 1) for part in text.split() if "=" in part)

    def start_node(self, name: str) -> None:
        self._start(name, "slurmd", "-D", "-N", name)

    def kill_node(self, name: str) -> None:
        """As if it lost power: its daemon and all processes of its jobs are killed at once."""
        self.daemons.pop(name).kill()
        for pid in self.processes():
            if f"SLURMD_NODENAME={name}" in environment_of(pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def processes(self) -> list[int]:
        """All processes that were started for this cluster: daemons, their children, and Snakemakes that use it."""
        mark = f"SLURM_CONF={self.environment['SLURM_CONF']}"
        return [int(path.name) for path in Path("/proc").glob("[0-9]*") if mark in environment_of(int(path.name))]

    def _start(self, name: str, *command: str) -> None:
        with open(self.folder / f"{name}.out", "ab") as out:
            self.daemons[name] = subprocess.Popen(
                command,
                env=os.environ | self.environment | {"SLURMD_NODENAME": name},
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
            )


def environment_of(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def wait_until(true: Callable[[], object], what: str, seconds: float = 240) -> None:
    """Wait until `true()` is. Raises TimeoutError with `what` after `seconds`, far more than it takes on a busy machine."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds} s: {what}")
        time.sleep(0.2)


@contextmanager
def cluster(folder: Path, silence: int = 300) -> Iterator[Cluster]:
    """Start a cluster with its state in `folder` (its path must be short: sockets), stop it and all its processes at the end.

    A node that has been silent for `silence` seconds is taken as dead, its jobs are requeued.

    Raises `NoSlurm` where SLURM is not installed or doesn't start.
    """
    path = f"{folder / 'bin'}:{os.environ['PATH']}:{SBIN}"
    missing = [name for name in NEEDED if not shutil.which(name, path=path)]
    if missing:
        raise NoSlurm(f"not installed: {', '.join(missing)} (Debian: slurm-wlm, munge)")
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)  # munge wants its socket reachable
    # A user's own settings for sbatch and srun must not leak in; the variables of a job that this runs in neither.
    for name in [name for name in os.environ if name.startswith(("SLURM_", "SBATCH_", "SRUN_"))]:
        del os.environ[name]
    here = Cluster(folder, {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": path})
    try:
        _write_files(folder, silence)
        _start_daemons(here)
        yield here
    finally:
        _stop(here)


def _write_files(folder: Path, silence: int) -> None:
    user = subprocess.check_output(["id", "-un"], text=True).strip()
    (folder / "slurm.conf").write_text(
        CONFIG.format(folder=folder, user=user, ports=_free_ports(3), hardware=HARDWARE, silence=silence).lstrip()
    )
    (folder / "gres.conf").write_text("NodeName=node[1-2] Name=gpu File=/dev/null,/dev/zero\n")
    (folder / "cgroup.conf").write_text("CgroupAutomount=no\n")
    (folder / "state").mkdir()
    (folder / "keys").mkdir(mode=0o700)
    # The plugin drops SLURM_CONF from the environment of srun; on other clusters /etc/slurm/slurm.conf is found anyway.
    srun = f'#!/bin/sh\nexec env SLURM_CONF={folder}/slurm.conf {shutil.which("srun")} "$@"\n'
    write_program(folder / "bin/srun", srun)


def write_program(path: Path, text: str) -> None:
    """Write a script that can be run; its folder is made."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _start_daemons(here: Cluster) -> None:
    folder, keys = here.folder, here.folder / "keys"
    subprocess.run(["mungekey", "--create", f"--keyfile={keys}/key"], env=os.environ | here.environment, check=True)
    here._start(
        "munged",
        "munged",
        "--foreground",
        "--force",
        f"--key-file={keys}/key",
        f"--seed-file={keys}/seed",
        f"--socket={folder}/munge.sock",
        f"--pid-file={folder}/munged.pid",
        f"--log-file={folder}/munged.log",
    )
    try:
        wait_until((folder / "munge.sock").exists, "munge", 30)
        here._start("slurmctld", "slurmctld", "-D", "-c")
        for name in NODES:
            here.start_node(name)
        wait_until(lambda: _idle_nodes(here) == NODES, "two idle nodes", 60)
    except TimeoutError as error:
        logs = "\n".join(path.read_text()[-500:] for path in sorted(folder.glob("*.out")))
        raise NoSlurm(f"does not start: {error}\n{logs}") from error


def _idle_nodes(here: Cluster) -> list[str]:
    command = ["sinfo", "--noheader", "--Node", "--partition=main", "--states=idle", "--format=%N"]
    run = subprocess.run(command, env=os.environ | here.environment, capture_output=True, text=True)
    return run.stdout.split()


def _stop(here: Cluster) -> None:
    for name in sorted(here.daemons, key=lambda name: name == "munged"):  # munge last, the others talk through it
        here.daemons[name].terminate()
    for daemon in here.daemons.values():
        try:
            daemon.wait(5)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()
    for pid in here.processes():  # of jobs, and of Snakemakes whose test has failed
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
