"""Summarise Dice per checkpoint."""

from typing import TYPE_CHECKING

from workflow.lib.run import start_job
from workflow.lib.stats.summary import write_downstream

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

start_job(snakemake.log[0])
write_downstream(
    downstream=snakemake.input.downstream,
    output=snakemake.output.table,
)
