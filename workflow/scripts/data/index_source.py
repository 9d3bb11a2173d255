"""Index the images of a pretraining source."""

from workflow.lib.data.index import index_source
from workflow.lib.job.run import start_job

start_job(snakemake.log[0], snakemake.output)
index_source(
    source=snakemake.input.source,
    index=snakemake.output.index,
    registry=snakemake.input.registry,
    targets=snakemake.params.targets,
)
