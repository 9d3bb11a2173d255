"""Copy or download the two tables of a run that was done elsewhere, and check them."""

from workflow.lib.job.run import start_job
from workflow.lib.tables.deposit import fetch_tables

start_job(snakemake.log[0])
fetch_tables(
    folder=snakemake.params.folder,
    url=snakemake.params.url,
    downstream_sha256=snakemake.params.downstream_sha256,
    robustness_sha256=snakemake.params.robustness_sha256,
    downstream=snakemake.output.downstream,
    robustness=snakemake.output.robustness,
)
