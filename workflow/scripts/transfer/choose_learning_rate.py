"""Choose a learning rate of pretraining."""

from workflow.lib.job.run import start_job
from workflow.lib.transfer.learning_rates import choose_rate

start_job(snakemake.log[0])
choose_rate(cards=snakemake.input.cards, output=snakemake.output.chosen, **snakemake.params)
