"""Gather the run's tables."""

from pathlib import Path

from workflow.lib.job.run import start_job
from workflow.lib.tables.gather import gather_tables

start_job(snakemake.log[0])
gather_tables(
    cards=snakemake.input.cards,
    scores=snakemake.input.scores,
    downstream=Path(snakemake.output.downstream),
    robustness=Path(snakemake.output.robustness),
    transferability=Path(snakemake.output.transferability),
    patients=Path(snakemake.output.patients),
    items=dict(zip(snakemake.config["study"]["targets"], snakemake.input.groups, strict=True)),
    schemes=snakemake.params.schemes,
    networks=snakemake.params.networks,
    score=snakemake.params.score,
    seeds=snakemake.params.seeds,
)
