"""Compare tasks and transfers."""

from workflow.lib.job.run import start_job
from workflow.lib.paper.tables import set_table
from workflow.lib.transfer.effects import write_effects

start_job(snakemake.log[0])
write_effects(snakemake.input.table, snakemake.output.table)
set_table("transfer_effects", csv=snakemake.output.table, tex=snakemake.output.tex)
