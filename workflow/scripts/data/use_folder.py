"""Use a data set where it lies."""

from typing import TYPE_CHECKING

from workflow.lib.data.fetch import use_folder
from workflow.lib.run import start_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

start_job(snakemake.log[0], snakemake.output)
use_folder(
    dataset=snakemake.wildcards.dataset,
    layout=snakemake.params.layout,
    folder=snakemake.params.folder,
    source=snakemake.output.source,
    registry=snakemake.input.registry,
)
