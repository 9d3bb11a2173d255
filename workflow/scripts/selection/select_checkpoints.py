"""Judge the selectors of checkpoints."""

from workflow.lib.job.run import start_job
from workflow.lib.paper.tables import set_table
from workflow.lib.selection.summary import write_selection

start_job(snakemake.log[0])
write_selection(
    downstream=snakemake.input.downstream,
    robustness=snakemake.input.robustness,
    output=snakemake.output.table,
    means=snakemake.output.means,
)
set_table("selection", csv=snakemake.output.table, tex=snakemake.output.tex)
set_table("selection_summary", csv=snakemake.output.means, tex=snakemake.output.means_tex)
