"""Write the page of a run."""

from workflow.lib.job.run import start_job
from workflow.lib.page.page import write_page

start_job(snakemake.log[0])
write_page(
    run=snakemake.wildcards.run,
    files=snakemake.input.files,
    cards=snakemake.input.cards,
    template=snakemake.input.template,
    captions=snakemake.input.captions,
    titles=snakemake.params.titles,
    gallery=snakemake.params.gallery,
    protocol=snakemake.params.protocol,
    output=snakemake.output.page,
)
