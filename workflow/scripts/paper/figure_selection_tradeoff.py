"""Draw what stopping early gains or loses against the epochs that it saves, for every selector."""

from typing import TYPE_CHECKING

from workflow.lib.paper.selection import selection_tradeoff
from workflow.lib.run import start_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

start_job(snakemake.log[0])
selection_tradeoff(
    selection_summary=snakemake.input.selection_summary,
    pdf=snakemake.output.pdf,
    png=snakemake.output.png,
    csv=snakemake.output.csv,
)
