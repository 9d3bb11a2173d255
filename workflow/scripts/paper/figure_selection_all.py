"""Draw what each selector takes among all checkpoints."""

from typing import TYPE_CHECKING

from workflow.lib.paper.selection import selection_all
from workflow.lib.run import start_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

start_job(snakemake.log[0])
selection_all(
    selection=snakemake.input.selection,
    pdf=snakemake.output.pdf,
    png=snakemake.output.png,
    csv=snakemake.output.csv,
)
