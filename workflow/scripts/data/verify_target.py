"""Check the raw data of a target."""

from typing import TYPE_CHECKING

from workflow.lib.data.verify import verify_target
from workflow.lib.run import start_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

start_job(snakemake.log[0], snakemake.output)
verify_target(
    source=snakemake.input.source,
    cases=snakemake.output.cases,
    registry=snakemake.input.registry,
    target=snakemake.wildcards.target,
    classes=snakemake.params.classes,
    group=snakemake.params.group,
)
