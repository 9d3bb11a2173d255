"""Rank the candidates of one target."""

from workflow.lib.job.run import start_job
from workflow.lib.rank.rank import rank_target

start_job(snakemake.log[0])
rank_target(
    target=snakemake.wildcards.target,
    scores=snakemake.input.scores,
    by_group=snakemake.input.by_group,
    card=snakemake.input.data,
    table=snakemake.output.table,
    facts=snakemake.output.facts,
    pdf=snakemake.output.pdf,
    png=snakemake.output.png,
    text=snakemake.output.text,
    snippet=snakemake.output.snippet,
    **snakemake.params,
)
