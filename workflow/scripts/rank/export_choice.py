"""Export the encoder that a ranking chose."""

from pathlib import Path
from typing import TYPE_CHECKING

from workflow.lib.rank.export import export_choice
from workflow.lib.run import start_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

start_job(snakemake.log[0])
export_choice(
    facts=snakemake.input.facts,
    weights=snakemake.input.weights,
    folder=Path(snakemake.output.folder),
    **snakemake.params,
)
