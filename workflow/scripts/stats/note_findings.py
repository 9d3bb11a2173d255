"""List what was found in the tables (duplicates, missing cells, repeated blocks) and how it is treated."""

from typing import TYPE_CHECKING

from workflow.lib.run import start_job
from workflow.lib.stats.tidy import write_notes

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

start_job(snakemake.log[0])
write_notes(
    downstream=snakemake.input.downstream,
    robustness=snakemake.input.robustness,
    output=snakemake.output.notes,
)
