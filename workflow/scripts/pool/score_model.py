"""Score one segmentation network on a target."""

from pathlib import Path

from workflow.lib.job.run import start_job
from workflow.lib.pool.score_model import score_model

start_job(snakemake.log[0], snakemake.output)
score_model(
    data_folder=Path(snakemake.input.data).parent,
    weights=Path(snakemake.input.weights),
    output=Path(snakemake.output.scores),
    device=snakemake.config["device"],
    threads=snakemake.threads,
    **{name: value for name, value in snakemake.params.items() if name != "made_of"},
)
