"""Draw Dice against one setting of the robustness score, deepest level, per target and network."""

from typing import TYPE_CHECKING

from workflow.lib.paper.robustness import robustness_vs_dice
from workflow.lib.run import start_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

start_job(snakemake.log[0])
robustness_vs_dice(
    robustness=snakemake.input.robustness,
    downstream=snakemake.input.downstream,
    noise_ceiling=snakemake.input.noise_ceiling,
    metric=snakemake.params.metric,
    margin=snakemake.params.margin,
    pooled=snakemake.params.pooled,
    pdf=snakemake.output.pdf,
    png=snakemake.output.png,
    csv=snakemake.output.csv,
)
