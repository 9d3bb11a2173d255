"""Judge every score as a selector of checkpoints."""

from workflow.lib.job.run import start_job
from workflow.lib.paper.tables import set_table
from workflow.lib.selection.score_selection import write_score_selection

start_job(snakemake.log[0])
write_score_selection(
    downstream=snakemake.input.downstream,
    robustness=snakemake.input.robustness,
    transferability=snakemake.input.get("transferability"),
    patients=snakemake.input.get("patients"),
    output=snakemake.output.table,
    means=snakemake.output.means,
)
set_table("score_selection_summary", csv=snakemake.output.means, tex=snakemake.output.means_tex)
