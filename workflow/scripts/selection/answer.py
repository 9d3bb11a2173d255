"""Answer the study's question."""

from workflow.lib.job.run import start_job
from workflow.lib.selection.answer import write_answer

start_job(snakemake.log[0])
write_answer(
    downstream=snakemake.input.downstream,
    means=snakemake.input.means,
    warnings=snakemake.params.warnings,
    output=snakemake.output.table,
    text=snakemake.output.text,
)
