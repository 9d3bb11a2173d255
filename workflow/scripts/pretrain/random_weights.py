"""Draw the untrained weights of length 0."""

from pathlib import Path

from workflow.lib.job.run import start_job
from workflow.lib.pretrain.pretrain import random_weights

start_job(snakemake.log[0], snakemake.output)
random_weights(
    weights=dict(zip(snakemake.config["study"]["finetune_seeds"], map(Path, snakemake.output.weights), strict=True)),
    **snakemake.params,
)
