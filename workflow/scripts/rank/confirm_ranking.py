"""Say whether a ranking held."""

from typing import TYPE_CHECKING

from workflow.lib.rank.confirm import confirm_ranking
from workflow.lib.run import start_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

start_job(snakemake.log[0])
confirm_ranking(
    facts=snakemake.input.facts,
    cases=snakemake.input.cases,
    items=snakemake.input.patients,
    table=snakemake.output.table,
    text=snakemake.output.text,
    **snakemake.params,
)
