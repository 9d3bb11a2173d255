"""Finish the schedule of a pretraining that was stopped, on as many processes as the job has GPUs."""

from pathlib import Path
from typing import TYPE_CHECKING

from workflow.lib.distributed import run_training
from workflow.lib.run import start_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

start_job(snakemake.log[0], snakemake.output)
run_training(
    "workflow.lib.pretrain.stopping:cool_down",
    snakemake.log[0],
    snakemake.resources,
    snakemake.threads,
    {
        "folder": str(Path(snakemake.output.weights).parent),
        "epochs": int(snakemake.wildcards.epochs),
        "seed": int(snakemake.wildcards.pretrain_seed),
        "device": snakemake.config["device"],
        **snakemake.params,
    },
)
