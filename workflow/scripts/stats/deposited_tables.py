"""Copy or download the two tables of a run that was done elsewhere, and check them."""

from typing import TYPE_CHECKING

from workflow.lib.run import start_job
from workflow.lib.stats.deposited import fetch_tables

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

start_job(snakemake.log[0])
fetch_tables(
    folder=snakemake.params.folder,
    url=snakemake.params.url,
    downstream_sha256=snakemake.params.downstream_sha256,
    robustness_sha256=snakemake.params.robustness_sha256,
    downstream=snakemake.output.downstream,
    robustness=snakemake.output.robustness,
)
