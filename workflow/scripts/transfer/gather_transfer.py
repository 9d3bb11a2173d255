"""Gather the table of tasks, transfers and numbers of patients."""

from pathlib import Path

from workflow.lib.job.run import read_json, start_job
from workflow.lib.tables.transfer import gather_transfer

start_job(snakemake.log[0])
gather_transfer(
    cards=snakemake.input.cards,
    checkpoints={
        name: read_json(path) for name, path in zip(snakemake.params.names, snakemake.input.checkpoints, strict=True)
    },
    networks=snakemake.params.networks,
    tasks=snakemake.params.tasks,
    seeds=snakemake.params.seeds,
    output=Path(snakemake.output.table),
)
