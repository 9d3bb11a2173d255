"""Answer the study's question."""

from typing import TYPE_CHECKING

from workflow.lib.run import start_job
from workflow.lib.stats.answer import write_answer

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

start_job(snakemake.log[0])
write_answer(
    downstream=snakemake.input.downstream,
    means=snakemake.input.means,
    output=snakemake.output.table,
    text=snakemake.output.text,
)
