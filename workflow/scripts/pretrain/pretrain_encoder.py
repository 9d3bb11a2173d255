"""Pretrain one encoder, on as many processes as the job has GPUs."""

from pathlib import Path

from workflow.lib.job.run import start_job
from workflow.lib.training.distributed import run_training

start_job(snakemake.log[0], snakemake.output)
run_training(
    "workflow.lib.pretrain.pretrain:pretrain_encoder",
    snakemake.log[0],
    snakemake.resources,
    snakemake.threads,
    {
        "folder": str(Path(snakemake.output.history).parent),
        "seed": int(snakemake.wildcards.pretrain_seed),
        "device": snakemake.config["device"],
        **snakemake.params,
    },
)
