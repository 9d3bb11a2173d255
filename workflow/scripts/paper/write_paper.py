"""Write all figures and tables of a run as one LaTeX document."""

from workflow.lib.job.run import start_job
from workflow.lib.paper.document import write_document

start_job(snakemake.log[0])
write_document(
    run=snakemake.wildcards.run,
    captions=snakemake.input.captions,
    output=snakemake.output.tex,
    **snakemake.params,
)
