"""Fine-tune one network."""

from pathlib import Path

from workflow.lib.finetune.finetune import finetune_network
from workflow.lib.job.run import start_job
from workflow.lib.study.checkpoints import Finetuning

start_job(snakemake.log[0], snakemake.output)
finetune_network(
    data_folder=Path(snakemake.input.data).parent,
    weights=[Path(path) for path in snakemake.input.weights],
    output_folder=Path(snakemake.output.card).parent,
    job=Finetuning.of(snakemake.wildcards),
    source=snakemake.config["pretraining"]["source"],  # no param: runs that do not know it are not repeated
    device=snakemake.config["device"],
    threads=snakemake.threads,
    **snakemake.params,
)
