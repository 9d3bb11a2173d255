"""Generate a data set."""

from workflow.lib.data.fetch import generate_dataset
from workflow.lib.job.run import start_job

start_job(snakemake.log[0], snakemake.output)
generate_dataset(
    dataset=snakemake.wildcards.dataset,
    layout=snakemake.params.layout,
    image_size=snakemake.params.image_size,
    source=snakemake.output.source,
)
