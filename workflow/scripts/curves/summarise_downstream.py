"""Summarise Dice per checkpoint."""

from workflow.lib.curves.summary import write_downstream
from workflow.lib.job.run import start_job
from workflow.lib.paper.tables import set_table

start_job(snakemake.log[0])
write_downstream(
    downstream=snakemake.input.downstream,
    output=snakemake.output.table,
)
set_table("downstream", csv=snakemake.output.table, tex=snakemake.output.tex)
