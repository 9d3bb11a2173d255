"""Draw segmentations of several starts."""

from pathlib import Path

from workflow.lib.gallery.sheets import draw_segmentations
from workflow.lib.job.run import start_job

start_job(snakemake.log[0])
draw_segmentations(
    data=Path(snakemake.input.data).parent,
    answer=snakemake.input.answer,
    cards=snakemake.input.cards,
    names=snakemake.params.names,
    pdf=snakemake.output.pdf,
    png=snakemake.output.png,
    csv=snakemake.output.csv,
)
