"""Make a checkpoint of the weights that an encoder brings along."""

from pathlib import Path

from workflow.lib.job.run import start_job
from workflow.lib.pretrain.released import adopt_weights

start_job(snakemake.log[0], snakemake.output)
adopt_weights(
    weights=Path(snakemake.output.weights),
    epochs=int(snakemake.wildcards.epochs),
    **snakemake.params,
)
