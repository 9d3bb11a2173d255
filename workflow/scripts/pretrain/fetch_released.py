"""Fetch the study's encoder weights."""

from typing import TYPE_CHECKING

from workflow.lib.data.record import fetch_released
from workflow.lib.run import start_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

start_job(snakemake.log[0])
fetch_released(files=snakemake.output.files, **snakemake.params)
