"""Draw pretraining accuracy against pretraining length."""

from typing import TYPE_CHECKING

from workflow.lib.paper.curves import accuracy_vs_length
from workflow.lib.run import start_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

start_job(snakemake.log[0])
accuracy_vs_length(
    downstream=snakemake.input.downstream,
    pdf=snakemake.output.pdf,
    png=snakemake.output.png,
    csv=snakemake.output.csv,
)
