"""What a run made, where, how long it took, and what to open first: printed when Snakemake ends without an error."""

from collections.abc import Collection
from datetime import timedelta
from pathlib import Path

PAGES = {
    "index.html": "the answer, every figure and table",
    "rank.html": "which checkpoint to start from, and what networks see of your images",
    "transfer.html": "which task to pretrain on, what to transfer, few patients",
    "pool.html": "which segmentation network to start from",
    "paper.pdf": "all figures and tables, with captions",
    "paper.tex": "all figures and tables, with captions, for LaTeX",
}


def run_summary(results: str | Path, runs: Collection[str], started: float, now: float) -> str:
    """The pages of these `runs` below `results` that were written since `started` (seconds since 1970), the answer of such a run,
    and the time until `now`; "" where no page was written."""
    pages = [Path(results) / run / name for name in PAGES for run in sorted(runs)]
    made = [path for path in pages if path.exists() and path.stat().st_mtime >= started]
    if not made:
        return ""
    answers = [path.with_name("answer.txt") for path in made if path.name == "index.html"]
    heads = [path.read_text().partition("\n\n")[0] for path in answers if path.exists()]
    width = max(len(str(path)) for path in made)
    lines = [f"open  {str(path):{width}}  {PAGES[path.name]}" for path in made]
    return "\n".join(["", *heads, f"Made in {timedelta(seconds=round(now - started))}:", *lines])
