"""What the jobs of every script import: start-up is most of a short job's time, and statistics run on any laptop."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "workflow/scripts"
GPU = {"torch", "torchvision", "timm", "monai"}
SLOW = GPU | {"matplotlib", "seaborn", "statsmodels", "sklearn", "scipy.stats", "nibabel"}
# What the scripts of a stage may import of these before they know what they are asked for; others as `rest` says.
MAY = {
    "data": {"nibabel"},
    "data/prepare_target.py": {"nibabel", "torch"},
    "finetune": {"torch"},
    "tables/gather_tables.py": set(),
    "pretrain": {"torch", "torchvision"},
    "overview": {"torch"},
    "pretrain/fetch_released.py": {"nibabel"},
    "pretrain/adopt_weights.py": GPU,
    "pretrain/convert_released.py": {"torch"},
    "pretrain/pretrain_until.py": {"torch"},  # what trains is imported by its processes
    "pretrain/pretrain_encoder.py": {"torch"},
    "pretrain/cool_down.py": {"torch"},
    "score": {"torch", "torchvision", "sklearn", "scipy.stats"},
    "paper": {"matplotlib"},
    "tables": set(),
    "curves": set(),
    "selection": set(),
    "claims": set(),
    "gallery": {"matplotlib"},
    "page": set(),
    "rank": {"matplotlib"},
    "rank/export_choice.py": {"torch", "timm", "torchvision"},
}


def modules_of(script: Path) -> list[str]:
    """The modules of the library that a script imports at its top."""
    lines = script.read_text().splitlines()
    return [line.split()[1] for line in lines if line.startswith("from workflow.lib")]


@pytest.mark.parametrize("stage", sorted({name.partition("/")[0] for name in MAY}))
def test_scripts_import_nothing_slow_that_they_may_do_without(stage: str) -> None:
    problems = []
    groups: dict[tuple[str, ...], list[str]] = {}
    for script in sorted((SCRIPTS / stage).glob("*.py")):
        name = f"{stage}/{script.name}"
        allowed = tuple(sorted(MAY.get(name, MAY[stage])))
        groups.setdefault(allowed, []).extend(modules_of(script))
    for allowed, modules in groups.items():  # one process for all scripts that may import the same
        code = f"import sys, {', '.join(sorted(set(modules)))}; print(*[m for m in {sorted(SLOW)} if m in sys.modules])"
        found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        problems += [f"{stage}, with {allowed}: {m}" for m in found.stdout.split() if m not in allowed]
    assert not problems
