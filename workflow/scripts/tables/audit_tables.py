"""Audit the two tables of a run."""

from workflow.lib.job.run import start_job
from workflow.lib.paper.tables import set_table
from workflow.lib.tables.audit import write_audit

start_job(snakemake.log[0])
write_audit(
    downstream=snakemake.input.downstream,
    robustness=snakemake.input.robustness,
    output=snakemake.output.table,
    text=snakemake.output.text,
)
set_table("data_quality", csv=snakemake.output.table, tex=snakemake.output.tex)
