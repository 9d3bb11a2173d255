"""Correlate predictors with Dice."""

from workflow.lib.curves.correlation import write_correlations
from workflow.lib.job.run import start_job
from workflow.lib.paper.tables import set_table

start_job(snakemake.log[0])
write_correlations(
    downstream=snakemake.input.downstream,
    robustness=snakemake.input.robustness,
    output=snakemake.output.table,
)
set_table("correlations", csv=snakemake.output.table, tex=snakemake.output.tex)
