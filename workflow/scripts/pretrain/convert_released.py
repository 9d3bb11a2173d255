"""Make a checkpoint of one file of the study's weights."""

from pathlib import Path
from typing import TYPE_CHECKING

from workflow.lib.pretrain.released import convert_released
from workflow.lib.run import start_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

start_job(snakemake.log[0])
encoder, scheme = snakemake.wildcards.released.split("/")
convert_released(
    files=snakemake.input.files,
    registry=snakemake.input.registry,
    weights=Path(snakemake.output.weights),
    encoder=snakemake.params.encoder,
    scheme=scheme,
    epochs=int(snakemake.wildcards.epochs),
)
