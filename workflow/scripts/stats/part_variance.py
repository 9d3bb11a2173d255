"""Part the variance of Dice."""

from typing import TYPE_CHECKING

from workflow.lib.run import start_job
from workflow.lib.stats.noise import write_variance

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

start_job(snakemake.log[0])
write_variance(
    downstream=snakemake.input.downstream,
    output=snakemake.output.table,
)
