"""Draw every claim with its interval, the margins and its verdict."""

from typing import TYPE_CHECKING

from workflow.lib.paper.forest import claims_forest
from workflow.lib.run import start_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

start_job(snakemake.log[0])
claims_forest(
    claims=snakemake.input.claims,
    pdf=snakemake.output.pdf,
    png=snakemake.output.png,
    csv=snakemake.output.csv,
)
