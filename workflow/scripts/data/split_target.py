"""Split a target by patient."""

from workflow.lib.data.split import split_target
from workflow.lib.job.run import start_job

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
    classes=snakemake.params.classes,
)
