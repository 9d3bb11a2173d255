"""Apply stopping rules to finished curves."""

from typing import TYPE_CHECKING

from workflow.lib.run import start_job
from workflow.lib.stats.replay import write_replay

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

start_job(snakemake.log[0])
write_replay(
    downstream=snakemake.input.downstream,
    robustness=snakemake.input.robustness,
    transferability=snakemake.input.get("transferability"),
    patients=snakemake.input.get("patients"),
    output=snakemake.output.table,
    means=snakemake.output.means,
)
