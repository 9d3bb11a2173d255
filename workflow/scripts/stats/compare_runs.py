"""Compare a run with the release."""

from typing import TYPE_CHECKING

from workflow.lib.run import start_job
from workflow.lib.stats.reproduction import write_reproduction

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

start_job(snakemake.log[0])
write_reproduction(
    ours=snakemake.input.ours,
    theirs=snakemake.input.theirs,
    output=snakemake.output.table,
)
