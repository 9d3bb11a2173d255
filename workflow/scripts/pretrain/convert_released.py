"""Make a checkpoint of one file of the study's weights."""

from pathlib import Path

from workflow.lib.job.run import start_job
from workflow.lib.pretrain.released import convert_released

start_job(snakemake.log[0], snakemake.output)
convert_released(
    registry=snakemake.input.registry,
    weights=Path(snakemake.output.weights),
    scheme=snakemake.wildcards.scheme,
    epochs=int(snakemake.wildcards.epochs),
    **snakemake.params,
)
