"""Measure how fast the device trains."""

from workflow.lib.job.run import start_job
from workflow.lib.overview.calibrate import calibrate

start_job(snakemake.log[0], snakemake.output)
calibrate(output=snakemake.output[0], threads=snakemake.threads, **snakemake.params)
