"""Judge the claims on tasks and transfers."""

from workflow.lib.claims.transfer import write_transfer_claims
from workflow.lib.job.run import start_job
from workflow.lib.paper.tables import set_table

start_job(snakemake.log[0])
write_transfer_claims(snakemake.input.table, snakemake.output.table, snakemake.input.registry)
set_table("transfer_claims", csv=snakemake.output.table, tex=snakemake.output.tex)
