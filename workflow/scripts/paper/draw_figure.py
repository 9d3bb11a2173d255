"""Draw one figure."""

from workflow.lib.job.run import start_job
from workflow.lib.paper.figures import draw_figure

start_job(snakemake.log[0])
draw_figure(
    snakemake.params.figure,
    snakemake.input.tables,
    pdf=snakemake.output.pdf,
    png=snakemake.output.png,
    csv=snakemake.output.csv,
)
