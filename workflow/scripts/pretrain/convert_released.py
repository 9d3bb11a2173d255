"""Make a checkpoint of one file of the study's weights."""

from pathlib import Path
from typing import TYPE_CHECKING

from workflow.lib.pretrain.released import convert_released
from workflow.lib.run import start_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

start_job(snakemake.log[0], snakemake.output)
convert_released(
    registry=snakemake.input.registry,
    weights=Path(snakemake.output.weights),
    scheme=snakemake.wildcards.scheme,
    epochs=int(snakemake.wildcards.epochs),
    **snakemake.params,
)
