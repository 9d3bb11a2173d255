"""Audit the two tables of a run."""

from typing import TYPE_CHECKING

from workflow.lib.run import start_job
from workflow.lib.stats.audit import write_audit

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

start_job(snakemake.log[0])
write_audit(
    downstream=snakemake.input.downstream,
    robustness=snakemake.input.robustness,
    output=snakemake.output.table,
    text=snakemake.output.text,
)
