"""Index the images of a pretraining source."""

from typing import TYPE_CHECKING

from workflow.lib.data.index import index_source
from workflow.lib.run import start_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

start_job(snakemake.log[0], snakemake.output)
index_source(
    source=snakemake.input.source,
    index=snakemake.output.index,
    registry=snakemake.input.registry,
)
