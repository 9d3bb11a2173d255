"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder with reference material (environment variable MEDSEG_REFERENCE, else ../shared), or skip."""
    folder = Path(os.environ.get("MEDSEG_REFERENCE", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"reference folder {folder} is absent (set MEDSEG_REFERENCE)")
    return folder
