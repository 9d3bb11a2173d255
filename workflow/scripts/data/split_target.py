"""Split a target by patient."""

from typing import TYPE_CHECKING

from workflow.lib.data.split import split_target
from workflow.lib.run import start_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

start_job(snakemake.log[0], snakemake.output)
split_target(
    cases=snakemake.input.cases,
    split=snakemake.output.split,
    target=snakemake.wildcards.target,
    validation=snakemake.params.validation,
    split_seed=snakemake.params.split_seed,
    test_fraction=snakemake.params.test_fraction,
    validation_fraction=snakemake.params.validation_fraction,
    train_cases=snakemake.params.train_cases,
)
