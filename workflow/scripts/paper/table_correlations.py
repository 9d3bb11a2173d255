"""Set the table of what is known before fine-tuning against Dice."""

from typing import TYPE_CHECKING

from workflow.lib.paper.tables import correlations_table
from workflow.lib.run import start_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

start_job(snakemake.log[0])
correlations_table(
    correlations=snakemake.input.correlations,
    csv=snakemake.output.csv,
    tex=snakemake.output.tex,
)
