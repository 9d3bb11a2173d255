"""Score the checkpoints of one pretraining on one target."""

from pathlib import Path

from workflow.lib.job.run import start_job
from workflow.lib.score.score import score_checkpoints

start_job(snakemake.log[0], snakemake.output)
score_checkpoints(
    data_folder=Path(snakemake.input.data).parent,
    weights=[Path(path) for path in snakemake.input.weights],
    output=Path(snakemake.output.scores),
    by_group=Path(snakemake.output.by_group),
    target=snakemake.wildcards.target,
    device=snakemake.config["device"],
    threads=snakemake.threads,
    **{name: value for name, value in snakemake.params.items() if name != "made_of"},
)
