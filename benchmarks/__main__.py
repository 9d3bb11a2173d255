"""`make bench`: a table and a figure of how fast this project is beside others. `--gpu` where there is one; `--quick`: small.

Others' seconds / our seconds, in turns in one process, one thread: the median over rounds, and the smallest and largest. Times
are of the CPU, so that other load on the machine hardly matters.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib
import pandas as pd
import torch
from threadpoolctl import threadpool_limits

from benchmarks import inputs, networks
from benchmarks.measure import Row

ROOT = Path(__file__).parents[1]
OPEN = [
    "GPU: fine-tuning step, each network",
    "GPU: input of pretraining against what the network takes",
    "GPU: seeds side by side",
]

# In a small process of its own, as the peak of a process begins with that of the one that started it.
MEASURED = """\
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, capture_output=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss)
"""


def dry_runs() -> list[Row]:
    """`snakemake -n` of the study, and of three and ten times its grid: CPU seconds and peak memory; nothing beside them."""
    rows = []
    for times in (1, 3, 10):
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as grid:  # numbers in --config arrive as text
            grid.write(f"run: bench{times}\nstudy: {{pretrain_seeds: {list(range(1, times + 1))}}}\n")
            grid.flush()
            command = [sys.executable, "-m", "snakemake", "-n", "--quiet", "all", "--configfile", grid.name]
            run = subprocess.run([sys.executable, "-c", MEASURED, *command], cwd=ROOT, check=True, capture_output=True)
        seconds, kilobytes = map(float, run.stdout.split())
        name = "the study" if times == 1 else f"{times} times its grid"
        rows.append({"what": f"snakemake -n, {name}", "our seconds": seconds, "our MB": kilobytes / 1000})
    return rows


def draw(table: pd.DataFrame, path: Path) -> None:
    """Ratios with their spread; at 1 both sides take the same time."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = table.dropna(subset="ratio")[::-1]
    labels = [f"{what}\nbeside {beside}" for what, beside in zip(shown["what"], shown["beside"], strict=True)]
    figure, axes = pyplot.subplots(figsize=(8, 0.5 * len(shown) + 1), layout="constrained")
    spread = [shown["ratio"] - shown["low"], shown["high"] - shown["ratio"]]
    axes.errorbar(shown["ratio"], labels, xerr=spread, fmt="o", capsize=3)
    axes.axvline(1, color="grey", linewidth=1)
    axes.set_xscale("log")
    axes.set_xlabel("their seconds / our seconds (right of 1: this project is faster)")
    axes.tick_params(axis="y", labelsize=7)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Measure, print, and write results/bench/bench.csv and .png."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--gpu", action="store_true")
    options.add_argument(
        "--quick", action="store_true", help="small networks' inputs and two rounds, to see that it runs"
    )
    options.add_argument("--output", type=Path, default=ROOT / "results/bench")
    asked = options.parse_args()
    torch.set_num_threads(1)
    threadpool_limits(1)  # of NumPy and SciPy
    size, rounds = (128, 2) if asked.quick else (224, 3)
    with tempfile.TemporaryDirectory() as folder:
        rows = inputs.rows(Path(folder) / "images", rounds)
    rows += networks.robustness(rounds, size)
    rows += networks.steps(rounds, size, 2, "cpu")
    if not asked.quick:
        rows += networks.other_scores(size)
    if asked.gpu:
        rows += [row | {"what": f"GPU: {row['what']}"} for row in networks.steps(rounds, size, 24, "cuda")]
    rows += dry_runs()
    asked.output.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(rows)
    table.to_csv(asked.output / "bench.csv", index=False)
    draw(table, asked.output / "bench.png")
    print(table.to_string(index=False, float_format="%.3g", na_rep=""))
    for name in OPEN[asked.gpu :]:
        print(f"open: {name}, not measured")
    print(f"written: {asked.output}/bench.csv, bench.png")


if __name__ == "__main__":
    main()
