"""Set the table of the best pretraining length against the last."""

from typing import TYPE_CHECKING

from workflow.lib.paper.tables import length_effect_table
from workflow.lib.run import start_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

start_job(snakemake.log[0])
length_effect_table(
    length_effect=snakemake.input.length_effect,
    csv=snakemake.output.csv,
    tex=snakemake.output.tex,
)
