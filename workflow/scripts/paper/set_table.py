"""Set a table in LaTeX."""

from typing import TYPE_CHECKING

from workflow.lib.paper.tables import set_table
from workflow.lib.run import start_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

start_job(snakemake.log[0])
set_table(snakemake.wildcards.table, csv=snakemake.input.csv, tex=snakemake.output.tex)
