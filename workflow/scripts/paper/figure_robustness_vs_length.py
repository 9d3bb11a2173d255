"""Draw one setting of the robustness score against pretraining length per target, encoder and level."""

from typing import TYPE_CHECKING

from workflow.lib.paper.robustness import robustness_vs_length
from workflow.lib.run import start_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

start_job(snakemake.log[0])
robustness_vs_length(
    robustness=snakemake.input.robustness,
    metric=snakemake.params.metric,
    margin=snakemake.params.margin,
    pooled=snakemake.params.pooled,
    pdf=snakemake.output.pdf,
    png=snakemake.output.png,
    csv=snakemake.output.csv,
)
