"""Fixtures shared by all tests."""

import os
import shutil
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).parent.parent

# Several test processes share the cores, and small tensors gain nothing from threads. Before the first import of NumPy or torch.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


# By file, as `make test` hands them out. Those on SLURM mostly wait, so that others have time to run beside them.
LONGEST = ["test_slurm.py", "test_end_to_end.py", "test_stopping.py", "test_rank.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder with reference material (environment variable MEDSEG_REFERENCE, else ../shared), or skip."""
    folder = Path(os.environ.get("MEDSEG_REFERENCE", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"reference folder {folder} is absent (set MEDSEG_REFERENCE)")
    return folder


@pytest.fixture(scope="session")
def published(reference: Path, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A project after `snakemake published`, made once for all test processes."""
    from tests.workflow_copy import copy_project, snakemake  # the environment variables above come first

    place = tmp_path_factory.getbasetemp()
    folder = (place if worker_id == "master" else place.parent) / "published"
    with FileLock(f"{folder}.lock"):
        done = folder / "done"
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            run = snakemake(copy_project(folder), "-c2", "published", *published_from(reference))
            assert run.returncode == 0, run.stdout[-3000:]
            done.touch()
    return folder


def published_from(reference: Path) -> list[str]:
    """The options with which Snakemake takes the released results from the reference folder."""
    return ["--config", f"deposited={{published: {{folder: {reference / 'published'}}}}}"]
