"""Write the page of rankings."""

from workflow.lib.job.run import start_job
from workflow.lib.page.topic import write_rank

start_job(snakemake.log[0])
write_rank(
    run=snakemake.config["run"],
    targets=snakemake.params.targets,
    warnings=snakemake.params.warnings,
    files=snakemake.input.files,
    captions=snakemake.input.captions,
    template=snakemake.input.template,
    output=snakemake.output.page,
)
