"""Compare scores of a pool with Dice."""

from workflow.lib.job.run import start_job
from workflow.lib.paper.tables import set_table
from workflow.lib.pool.judge import write_pool

start_job(snakemake.log[0])
write_pool(
    transfer=snakemake.input.transfer,
    decoders=dict(zip(snakemake.params.names, snakemake.input.decoders, strict=True)),
    encoders=snakemake.input.encoders,
    output=snakemake.output.table,
    matrix=snakemake.output.members,
)
set_table("pool", csv=snakemake.output.table, tex=snakemake.output.tex)
