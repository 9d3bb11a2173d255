"""Compare the lengths with seed noise."""

from workflow.lib.curves.noise import write_noise_ceiling
from workflow.lib.job.run import start_job
from workflow.lib.paper.tables import set_table

start_job(snakemake.log[0])
write_noise_ceiling(
    downstream=snakemake.input.downstream,
    output=snakemake.output.table,
)
set_table("noise_ceiling", csv=snakemake.output.table, tex=snakemake.output.tex)
