"""Bring a target to the size of the networks."""

from workflow.lib.data.prepare import prepare_target
from workflow.lib.job.run import start_job

start_job(snakemake.log[0], snakemake.output)
prepare_target(
    source=snakemake.input.source,
    cases=snakemake.input.cases,
    split=snakemake.input.split,
    images=snakemake.output.images,
    masks=snakemake.output.masks,
    truth=snakemake.output.truth,
    items=snakemake.output.table,
    card=snakemake.output.card,
    target=snakemake.wildcards.target,
    protocol=snakemake.params.protocol,
    image_size=snakemake.params.image_size,
    classes=snakemake.params.classes,
    group=snakemake.params.group,
    crop=snakemake.params.crop,
    **(snakemake.params.volumes or {}),
)
