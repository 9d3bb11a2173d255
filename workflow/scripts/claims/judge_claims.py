"""Judge the claims."""

from workflow.lib.claims.claims import write_claims
from workflow.lib.job.run import start_job
from workflow.lib.paper.tables import set_table

start_job(snakemake.log[0])
write_claims(
    downstream=snakemake.input.downstream,
    robustness=snakemake.input.robustness,
    length_effect=snakemake.input.length_effect,
    correlations=snakemake.input.correlations,
    selection=snakemake.input.selection,
    output=snakemake.output.table,
    registry=snakemake.input.registry,
    released=snakemake.params.released,
)
set_table("claims", csv=snakemake.output.table, tex=snakemake.output.tex)
