"""Make a smaller copy of a pretraining source."""

from pathlib import Path

from workflow.lib.data.shrink import shrink_source
from workflow.lib.job.run import start_job

start_job(snakemake.log[0], snakemake.output)
shrink_source(
    source=Path(snakemake.input.source),
    index=Path(snakemake.input.index),
    side=int(snakemake.wildcards.side),
    threads=snakemake.threads,
    output=Path(snakemake.output.source).parent,
)
