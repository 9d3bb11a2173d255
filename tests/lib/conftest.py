"""Fixtures shared by the tests of statistics and figures."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def published_tables(published: Path) -> dict[str, Path]:
    """All tables of the released data, by name."""
    return {path.stem: path for path in (published / "results/published/tables").glob("*.csv")}
