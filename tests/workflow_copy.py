"""Runs Snakemake on a copy of the project, so that tests neither see nor change the results of the checkout."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
PARTS = ["Snakefile", "config.yaml", "configs", "envs", "profiles", "slurm", "workflow"]


def copy_project(folder: Path) -> Path:
    """Copy what Snakemake needs into `folder`, which is made."""
    folder.mkdir(exist_ok=True)
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, folder / part)
    return folder


def command(*arguments: object) -> list[str]:
    """The command line of the Snakemake of this environment."""
    return [sys.executable, "-m", "snakemake", *map(str, arguments)]


def snakemake(folder: Path, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Snakemake in `folder`; output and errors are in `stdout`."""
    # Cached sources and other projects' settings must not leak in.
    settings = os.environ | {"XDG_CACHE_HOME": str(folder / ".cache"), "XDG_CONFIG_HOME": str(folder / ".config")}
    return subprocess.run(
        command(*arguments),
        cwd=folder,
        env=settings | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(folder: Path, kind: signal.Signals, signs: list[str], *arguments: object) -> str:
    """What a run of Snakemake says that gets a signal, with all its jobs, once there is a file of every pattern in `signs`."""
    said = folder / "ended.out"
    with open(said, "wb") as out:
        run = subprocess.Popen(
            ["env", "--default-signal=INT", *command(*arguments)],
            cwd=folder,
            start_new_session=True,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    while not all(list(folder.glob(sign)) for sign in signs):
        assert run.poll() is None, said.read_text()[-3000:]
        time.sleep(0.05)
    os.killpg(run.pid, kind)
    assert run.wait(120) != 0
    return said.read_text()
