"""Check the raw data of a target."""

from workflow.lib.data.verify import verify_target
from workflow.lib.job.run import start_job

start_job(snakemake.log[0], snakemake.output)
verify_target(
    source=snakemake.input.source,
    cases=snakemake.output.cases,
    registry=snakemake.input.registry,
    target=snakemake.wildcards.target,
    classes=snakemake.params.classes,
    group=snakemake.params.group,
    sources=snakemake.params.sources,
)
