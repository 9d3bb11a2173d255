"""Make a PDF of the LaTeX document of a run."""

from workflow.lib.job.run import start_job
from workflow.lib.paper.document import compile_document

start_job(snakemake.log[0])
compile_document(snakemake.input.tex, snakemake.output.pdf)
