"""Score one checkpoint on one target."""

from pathlib import Path
from typing import TYPE_CHECKING

from workflow.lib.run import start_job
from workflow.lib.score.score import score_checkpoint

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

start_job(snakemake.log[0], snakemake.output)
score_checkpoint(
    data_folder=Path(snakemake.input.data).parent,
    weights=Path(snakemake.input.weights),
    output=Path(snakemake.output.scores),
    by_group=Path(snakemake.output.by_group),
    names=dict(snakemake.wildcards.items()),
    device=snakemake.config["device"],
    threads=snakemake.threads,
    **snakemake.params,
)
