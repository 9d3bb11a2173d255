"""Locks: the environments of the rules and the development tools have the same pins. No package index is named. One version."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.markers import Marker
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
ENVIRONMENT = {"python_full_version": "3.11.9", "python_version": "3.11", "sys_platform": "linux"}


def locked(name: str = "requirements") -> dict[str, str]:
    """Pins of a lock that hold for Python 3.11 on Linux."""
    pins = {}
    for line in (ROOT / f"envs/{name}.lock").read_text().splitlines():
        if match := re.match(r"^([A-Za-z0-9._-]+)==([^ ;]+)(?: ; (.*))?$", line):
            name, version, marker = match.groups()
            if marker is None or Marker(marker).evaluate(ENVIRONMENT):
                pins[name] = version
    return pins


@pytest.mark.parametrize("path", sorted((ROOT / "envs").glob("*.yaml")), ids=lambda path: path.stem)
def test_conda_environments_have_the_pins_of_the_lock(path: Path) -> None:
    content = yaml.safe_load(path.read_text())
    assert "python=3.11" in content["dependencies"]
    (packages,) = (entry["pip"] for entry in content["dependencies"] if isinstance(entry, dict))
    pins = locked()
    for package in packages:
        name, version = package.split("==")
        assert pins[name] == version, f"{path.name}: {package}, the lock has {pins[name]}"


@pytest.mark.parametrize("name", ["requirements", "dev"])
def test_every_direct_dependency_is_locked(name: str) -> None:
    pins = locked(name)
    for line in (ROOT / f"envs/{name}.in").read_text().splitlines():
        if line and not line.startswith(("#", "-c ")):
            requirement = Requirement(line.split("#")[0])
            assert requirement.specifier.contains(pins[requirement.name]), line


def test_development_tools_change_no_pin_of_a_run() -> None:
    run, tools = locked(), locked("dev")
    assert not run.keys() & {"pytest", "ruff", "mypy", "snakefmt", "pre-commit"}
    shared = run.keys() & tools.keys()
    assert "packaging" in shared and {name: tools[name] for name in shared} == {name: run[name] for name in shared}


def test_one_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    released = re.findall(r"^## \[(\d[^]]*)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert released[0] == version


def test_paper_environment_has_no_gpu_library() -> None:
    text = (ROOT / "envs/paper.yaml").read_text()
    assert not re.search(r"torch|timm|monai", text)


def test_no_file_names_a_package_index() -> None:
    hosts = "pypi" + r"\.org|files\.pythonhosted|download\.pytorch" + r"\.org|anaconda\.org"
    found = subprocess.run(["git", "grep", "-I", "-i", "-l", "-E", hosts], cwd=ROOT, capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (1, ""), found.stdout + found.stderr  # 1: git grep found nothing
