"""Draw the untrained weights of length 0."""

from pathlib import Path
from typing import TYPE_CHECKING

from workflow.lib.pretrain.classification import random_weights
from workflow.lib.run import start_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

start_job(snakemake.log[0], snakemake.output)
random_weights(
    weights=Path(snakemake.output.weights),
    seed=int(snakemake.wildcards.pretrain_seed),
    **snakemake.params,
)
