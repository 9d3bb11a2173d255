"""Compare the lengths of every curve."""

from workflow.lib.curves.effect import write_length_effect
from workflow.lib.job.run import start_job
from workflow.lib.paper.tables import set_table

start_job(snakemake.log[0])
write_length_effect(
    downstream=snakemake.input.downstream,
    output=snakemake.output.table,
)
set_table("length_effect", csv=snakemake.output.table, tex=snakemake.output.tex)
