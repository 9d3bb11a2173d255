"""Compare the lengths with seed noise."""

from typing import TYPE_CHECKING

from workflow.lib.run import start_job
from workflow.lib.stats.noise import write_noise_ceiling

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

start_job(snakemake.log[0])
write_noise_ceiling(
    downstream=snakemake.input.downstream,
    output=snakemake.output.table,
)
