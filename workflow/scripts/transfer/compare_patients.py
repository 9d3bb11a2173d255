"""Compare numbers of training patients."""

from workflow.lib.job.run import start_job
from workflow.lib.paper.tables import set_table
from workflow.lib.transfer.patients import write_learning_curves

start_job(snakemake.log[0])
write_learning_curves(snakemake.input.table, snakemake.output.table)
set_table("learning_curves", csv=snakemake.output.table, tex=snakemake.output.tex)
