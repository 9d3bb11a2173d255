"""Split a target's patients anew for one fold of a cross-validation."""

from pathlib import Path
from typing import TYPE_CHECKING

from workflow.lib.rank.confirm import write_fold
from workflow.lib.run import start_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

start_job(snakemake.log[0])
write_fold(
    data=Path(snakemake.input.data).parent,
    output=Path(snakemake.output.data),
    fold=int(snakemake.wildcards.fold),
    **snakemake.params,
)
