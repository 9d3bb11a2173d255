"""Pretrain one encoder."""

from pathlib import Path
from typing import TYPE_CHECKING

from workflow.lib.pretrain.classification import pretrain_encoder
from workflow.lib.run import start_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

start_job(snakemake.log[0])
pretrain_encoder(
    folder=Path(snakemake.output.history).parent,
    history_path=Path(snakemake.output.history),
    seed=int(snakemake.wildcards.pretrain_seed),
    device=snakemake.config["device"],
    threads=snakemake.threads,
    **snakemake.params,
)
