"""Fine-tune one network."""

from pathlib import Path
from typing import TYPE_CHECKING

from workflow.lib.finetune.finetune import finetune_network
from workflow.lib.run import start_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

start_job(snakemake.log[0], snakemake.output)
finetune_network(
    data_folder=Path(snakemake.input.data).parent,
    weights=Path(snakemake.input.weights),
    output_folder=Path(snakemake.output.card).parent,
    names=dict(snakemake.wildcards.items()),
    device=snakemake.config["device"],
    threads=snakemake.threads,
    **snakemake.params,
)
