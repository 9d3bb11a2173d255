"""Which learning rate a scheme of pretraining takes: that of the highest Dice on targets which judge nothing else."""

import logging
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from workflow.lib.job.run import read_json, write_json
from workflow.lib.tables.transfer import dice_of

log = logging.getLogger("medseg")


def choose_rate(*, cards: Sequence[str | Path], rates: Sequence[float], output: str | Path) -> None:
    """Write the rates that were tried with the Dice (0..1, test split) they reach on each development target, a mean over
    fine-tuning seeds; and as `chosen` the one of the highest mean over targets.

    cards: of the fine-tuning jobs; rates: the learning rate of the pretraining behind each. `at_the_end` says that the chosen one
    is the lowest or highest that was tried, so that the best may lie beyond.
    """
    rows = [
        {"rate": rate, "target": run["names"]["target"], "dice": dice_of(run)}
        for path, rate in zip(cards, rates, strict=True)
        for run in read_json(path)["runs"]
    ]
    dice = pd.DataFrame(rows).pivot_table(index="rate", columns="target", values="dice")
    chosen = float(dice.mean(axis=1).idxmax())
    at_the_end = chosen in (min(rates), max(rates))
    tried = {f"{rate:g}": row.round(6).to_dict() for rate, row in dice.iterrows()}
    write_json(output, {"chosen": chosen, "at_the_end": at_the_end, "dice": tried})
    log.info("learning rate %g of %s", chosen, ", ".join(tried))
    if at_the_end:
        log.warning("%g is the end of the rates that were tried: the best may lie beyond", chosen)
