"""Part the variance of Dice."""

from workflow.lib.curves.noise import write_variance
from workflow.lib.job.run import start_job
from workflow.lib.paper.tables import set_table

start_job(snakemake.log[0])
write_variance(
    downstream=snakemake.input.downstream,
    output=snakemake.output.table,
)
set_table("variance", csv=snakemake.output.table, tex=snakemake.output.tex)
