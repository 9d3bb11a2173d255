"""Compare the lengths of every curve."""

from typing import TYPE_CHECKING

from workflow.lib.run import start_job
from workflow.lib.stats.effect import write_length_effect

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

start_job(snakemake.log[0])
write_length_effect(
    downstream=snakemake.input.downstream,
    output=snakemake.output.table,
)
