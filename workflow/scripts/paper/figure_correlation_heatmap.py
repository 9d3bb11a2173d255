"""Draw how well every setting of the robustness score ranks the lengths."""

from typing import TYPE_CHECKING

from workflow.lib.paper.heatmap import correlation_heatmap
from workflow.lib.run import start_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

start_job(snakemake.log[0])
correlation_heatmap(
    correlations=snakemake.input.correlations,
    noise_ceiling=snakemake.input.noise_ceiling,
    pdf=snakemake.output.pdf,
    png=snakemake.output.png,
    csv=snakemake.output.csv,
)
