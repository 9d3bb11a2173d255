"""List the training images of a target as a pretraining source."""

from pathlib import Path

from workflow.lib.data.training_images import list_training_images
from workflow.lib.job.run import start_job

start_job(snakemake.log[0], snakemake.output)
list_training_images(
    data_folder=Path(snakemake.input.data).parent,
    images=snakemake.output.images,
    source=snakemake.output.source,
    index=snakemake.output.index,
    others=list(zip(snakemake.input.sources, snakemake.input.cases, snakemake.input.splits, strict=True)),
)
