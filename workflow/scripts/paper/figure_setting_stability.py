"""Draw whether the same settings of the score are good on all targets."""

from typing import TYPE_CHECKING

from workflow.lib.paper.stability import setting_stability
from workflow.lib.run import start_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

start_job(snakemake.log[0])
setting_stability(
    selection=snakemake.input.selection,
    pdf=snakemake.output.pdf,
    png=snakemake.output.png,
    csv=snakemake.output.csv,
)
