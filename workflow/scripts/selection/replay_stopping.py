"""Apply stopping rules to finished curves."""

from workflow.lib.job.run import start_job
from workflow.lib.paper.tables import set_table
from workflow.lib.selection.replay import write_replay

start_job(snakemake.log[0])
write_replay(
    downstream=snakemake.input.downstream,
    robustness=snakemake.input.robustness,
    transferability=snakemake.input.get("transferability"),
    patients=snakemake.input.get("patients"),
    output=snakemake.output.table,
    means=snakemake.output.means,
)
set_table("replay_summary", csv=snakemake.output.means, tex=snakemake.output.means_tex)
