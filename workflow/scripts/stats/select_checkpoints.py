"""Judge the selectors of checkpoints."""

from typing import TYPE_CHECKING

from workflow.lib.run import start_job
from workflow.lib.stats.selection import write_selection

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

start_job(snakemake.log[0])
write_selection(
    downstream=snakemake.input.downstream,
    robustness=snakemake.input.robustness,
    output=snakemake.output.table,
    means=snakemake.output.means,
)
