"""Fetch the study's encoder weights."""

from workflow.lib.data.record import fetch_released
from workflow.lib.job.run import start_job

start_job(snakemake.log[0])
fetch_released(files=snakemake.output.files, **snakemake.params)
