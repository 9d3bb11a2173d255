"""Draw what every score gains or loses as a selector, beside the baselines."""

from typing import TYPE_CHECKING

from workflow.lib.paper.judgement import score_selection
from workflow.lib.run import start_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

start_job(snakemake.log[0])
score_selection(
    score_selection_summary=snakemake.input.score_selection_summary,
    pdf=snakemake.output.pdf,
    png=snakemake.output.png,
    csv=snakemake.output.csv,
)
