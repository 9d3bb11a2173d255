"""Download, check and unpack a public data set."""

from typing import TYPE_CHECKING

from workflow.lib.data.fetch import fetch_dataset
from workflow.lib.run import start_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

start_job(snakemake.log[0])
fetch_dataset(
    dataset=snakemake.wildcards.dataset,
    layout=snakemake.params.layout,
    source=snakemake.output.source,
    registry=snakemake.input.registry,
    downloads=snakemake.params.downloads,
)
