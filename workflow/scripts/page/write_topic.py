"""Write the page of a topic."""

from workflow.lib.job.run import start_job
from workflow.lib.page.topic import write_topic

start_job(snakemake.log[0])
write_topic(
    run=snakemake.wildcards.get("run", snakemake.config["run"]),
    files=snakemake.input.files,
    captions=snakemake.input.captions,
    template=snakemake.input.template,
    output=snakemake.output.page,
    **snakemake.params,
)
