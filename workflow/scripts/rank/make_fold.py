"""Split a target's patients for one fold of a cross-validation."""

from pathlib import Path

from workflow.lib.job.run import start_job
from workflow.lib.rank.confirm import write_fold

start_job(snakemake.log[0])
write_fold(
    data=Path(snakemake.input.data).parent,
    output=Path(snakemake.output.data),
    fold=int(snakemake.wildcards.fold),
    **snakemake.params,
)
