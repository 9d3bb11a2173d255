"""Pretrain one encoder until a score stops it, on as many processes as the job has GPUs."""

from pathlib import Path
from typing import TYPE_CHECKING

from workflow.lib.distributed import run_on
from workflow.lib.run import start_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

start_job(snakemake.log[0], snakemake.output)
nodes = snakemake.resources.get("nodes", 1)
per_node = snakemake.resources.get("tasks_per_node") or max(1, snakemake.resources.get("gpu", 1) // nodes)
run_on(
    nodes * per_node,
    nodes,
    "workflow.lib.pretrain.stopping:pretrain_until",
    snakemake.log[0],
    {
        "folder": str(Path(snakemake.output.weights).parent),
        "names": dict(snakemake.wildcards.items()),
        "seed": int(snakemake.wildcards.pretrain_seed),
        "device": snakemake.config["device"],
        "threads": max(1, snakemake.threads // per_node),
        **snakemake.params,
    },
)
