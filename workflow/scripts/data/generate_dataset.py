"""Generate a data set."""

from typing import TYPE_CHECKING

from workflow.lib.data.fetch import generate_dataset
from workflow.lib.run import start_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

start_job(snakemake.log[0], snakemake.output)
generate_dataset(
    dataset=snakemake.wildcards.dataset,
    layout=snakemake.params.layout,
    image_size=snakemake.params.image_size,
    source=snakemake.output.source,
)
