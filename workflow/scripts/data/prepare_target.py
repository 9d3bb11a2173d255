"""Bring a target to the size of the networks."""

from typing import TYPE_CHECKING

from workflow.lib.data.prepare import prepare_target
from workflow.lib.run import start_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

start_job(snakemake.log[0], snakemake.output)
prepare_target(
    source=snakemake.input.source,
    cases=snakemake.input.cases,
    split=snakemake.input.split,
    images=snakemake.output.images,
    masks=snakemake.output.masks,
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
