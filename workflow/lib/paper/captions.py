"""Captions of figures, which the report, the page and the paper share, as plain text."""

import re
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment


def captions_of(paths: Sequence[str], run: str) -> dict[str, str]:
    """{name: caption} of the report's captions name.rst."""
    return {Path(path).stem: caption_text(Path(path).read_text(), run) for path in paths}


def caption_text(rst: str, run: str) -> str:
    """A caption of the report as plain text, its run named."""
    text = Environment().from_string(rst).render(snakemake={"wildcards": {"run": run}})
    return re.sub(r"\*+([^*]+)\*+|`+([^`]+)`+", r"\1\2", " ".join(text.split()))
