"""Use a data set in place."""

from workflow.lib.data.fetch import use_folder
from workflow.lib.job.run import start_job

start_job(snakemake.log[0], snakemake.output)
use_folder(
    dataset=snakemake.wildcards.dataset,
    layout=snakemake.params.layout,
    folder=snakemake.params.folder,
    source=snakemake.output.source,
    registry=snakemake.input.registry,
)
