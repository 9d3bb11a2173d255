"""Say whether a ranking held."""

from workflow.lib.job.run import start_job
from workflow.lib.rank.confirm import confirm_ranking

start_job(snakemake.log[0])
confirm_ranking(
    facts=snakemake.input.facts,
    cases=snakemake.input.cases,
    items=snakemake.input.patients,
    table=snakemake.output.table,
    text=snakemake.output.text,
)
