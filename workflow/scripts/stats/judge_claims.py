"""Judge the claims."""

from typing import TYPE_CHECKING

from workflow.lib.run import start_job
from workflow.lib.stats.claims import write_claims

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

start_job(snakemake.log[0])
write_claims(
    downstream=snakemake.input.downstream,
    robustness=snakemake.input.robustness,
    output=snakemake.output.table,
)
