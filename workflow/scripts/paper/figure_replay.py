"""Draw epochs saved against Dice lost, for every stopping rule."""

from typing import TYPE_CHECKING

from workflow.lib.paper.replay import replay
from workflow.lib.run import start_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

start_job(snakemake.log[0])
replay(
    replay_summary=snakemake.input.replay_summary,
    pdf=snakemake.output.pdf,
    png=snakemake.output.png,
    csv=snakemake.output.csv,
)
