"""Compare a run with the release."""

from workflow.lib.claims.reproduction import write_reproduction
from workflow.lib.job.run import start_job
from workflow.lib.paper.tables import set_table

start_job(snakemake.log[0])
write_reproduction(
    ours=snakemake.input.ours,
    theirs=snakemake.input.theirs,
    output=snakemake.output.table,
)
set_table("reproduction", csv=snakemake.output.table, tex=snakemake.output.tex)
