"""Rank the candidates of one target."""

from typing import TYPE_CHECKING

from workflow.lib.rank.rank import rank_target
from workflow.lib.run import start_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

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
