"""Export the encoder that a ranking chose."""

from pathlib import Path

from workflow.lib.job.run import start_job
from workflow.lib.rank.export import export_choice

start_job(snakemake.log[0])
export_choice(
    facts=snakemake.input.facts,
    weights=snakemake.input.weights,
    folder=Path(snakemake.output.folder),
    **snakemake.params,
)
