"""Judge every score as a selector of checkpoints."""

from typing import TYPE_CHECKING

from workflow.lib.run import start_job
from workflow.lib.stats.judgement import write_judgement

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

start_job(snakemake.log[0])
write_judgement(
    downstream=snakemake.input.downstream,
    robustness=snakemake.input.robustness,
    transferability=snakemake.input.get("transferability"),
    patients=snakemake.input.get("patients"),
    output=snakemake.output.table,
    means=snakemake.output.means,
)
