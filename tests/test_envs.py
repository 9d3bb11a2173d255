"""One lock for all: the environments of the rules have its pins, and nothing in the project names a package index."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from packaging.markers import Marker
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
ENVIRONMENT = {"python_full_version": "3.11.9", "python_version": "3.11", "sys_platform": "linux"}


def locked() -> dict[str, str]:
    """Pins of the lock that hold for Python 3.11 on Linux."""
    pins = {}
    for line in (ROOT / "envs/requirements.lock").read_text().splitlines():
        if match := re.match(r"^([A-Za-z0-9._-]+)==([^ ;]+)(?: ; (.*))?$", line):
            name, version, marker = match.groups()
            if marker is None or Marker(marker).evaluate(ENVIRONMENT):
                pins[name] = version
    return pins


@pytest.mark.parametrize("path", sorted((ROOT / "envs").glob("*.yaml")), ids=lambda path: path.stem)
def test_conda_environments_have_the_pins_of_the_lock(path: Path):
    content = yaml.safe_load(path.read_text())
    assert "python=3.11" in content["dependencies"]
    (packages,) = (entry["pip"] for entry in content["dependencies"] if isinstance(entry, dict))
    pins = locked()
    for package in packages:
        name, version = package.split("==")
        assert pins[name] == version, f"{path.name}: {package}, the lock has {pins[name]}"


def test_every_direct_dependency_is_locked():
    pins = locked()
    for line in (ROOT / "envs/requirements.in").read_text().splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line.split("#")[0])
            assert requirement.specifier.contains(pins[requirement.name]), line


def test_paper_environment_has_no_gpu_library():
    text = (ROOT / "envs/paper.yaml").read_text()
    assert not re.search(r"torch|timm|monai", text)


def test_no_file_names_a_package_index():
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    hosts = re.compile("pypi" + r"\.org|files\.pythonhosted|download\.pytorch" + r"\.org|anaconda\.org", re.IGNORECASE)
    for name in filter(None, files):
        if not name.endswith((".png", ".pdf")):
            assert not hosts.search((ROOT / name).read_text()), name
