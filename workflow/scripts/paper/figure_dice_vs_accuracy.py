"""Draw Dice against pretraining accuracy per target."""

from typing import TYPE_CHECKING

from workflow.lib.paper.curves import dice_vs_accuracy
from workflow.lib.run import start_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

start_job(snakemake.log[0])
dice_vs_accuracy(
    downstream=snakemake.input.downstream,
    noise_ceiling=snakemake.input.noise_ceiling,
    pdf=snakemake.output.pdf,
    png=snakemake.output.png,
    csv=snakemake.output.csv,
)
