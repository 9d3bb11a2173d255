"""Draw images of a target as networks see them."""

from pathlib import Path

from workflow.lib.gallery.sheets import draw_images
from workflow.lib.job.run import start_job

start_job(snakemake.log[0])
draw_images(
    data=Path(snakemake.input.data).parent,
    names=snakemake.params.names,
    pdf=snakemake.output.pdf,
    png=snakemake.output.png,
    csv=snakemake.output.csv,
)
