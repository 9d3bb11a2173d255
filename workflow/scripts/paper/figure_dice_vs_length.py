"""Draw Dice against pretraining length per target and network."""

from typing import TYPE_CHECKING

from workflow.lib.paper.curves import dice_vs_length
from workflow.lib.run import start_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

start_job(snakemake.log[0])
dice_vs_length(
    downstream=snakemake.input.downstream,
    noise_ceiling=snakemake.input.noise_ceiling,
    pdf=snakemake.output.pdf,
    png=snakemake.output.png,
    csv=snakemake.output.csv,
)
