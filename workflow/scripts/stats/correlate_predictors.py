"""Correlate predictors with Dice."""

from typing import TYPE_CHECKING

from workflow.lib.run import start_job
from workflow.lib.stats.correlation import write_correlations

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

start_job(snakemake.log[0])
write_correlations(
    downstream=snakemake.input.downstream,
    robustness=snakemake.input.robustness,
    output=snakemake.output.table,
)
