"""Make a checkpoint of the weights that an encoder brings along."""

from pathlib import Path
from typing import TYPE_CHECKING

from workflow.lib.pretrain.released import adopt_weights
from workflow.lib.run import start_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

start_job(snakemake.log[0], snakemake.output)
adopt_weights(
    weights=Path(snakemake.output.weights),
    epochs=int(snakemake.wildcards.epochs),
    **snakemake.params,
)
