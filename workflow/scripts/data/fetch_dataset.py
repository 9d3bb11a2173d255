"""Download, check and unpack a public data set."""

from workflow.lib.data.fetch import fetch_dataset
from workflow.lib.job.run import start_job

start_job(snakemake.log[0])
fetch_dataset(
    dataset=snakemake.wildcards.dataset,
    layout=snakemake.params.layout,
    source=snakemake.output.source,
    registry=snakemake.input.registry,
    downloads=snakemake.params.downloads,
)
