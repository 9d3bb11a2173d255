"""The learning rate of a scheme: the one with the highest mean Dice over development targets."""

from pathlib import Path

import pytest

from workflow.lib.job.run import read_json, write_json
from workflow.lib.transfer.learning_rates import choose_rate


@pytest.mark.parametrize(
    "dice, chosen, at_the_end",
    [
        ({0.001: (0.5, 0.7), 0.01: (0.9, 0.5), 0.1: (0.8, 0.3)}, 0.01, False),
        ({0.001: (0.5, 0.7), 0.01: (0.9, 0.1), 0.1: (0.8, 0.3)}, 0.001, True),  # the best on one target, not on both
    ],
)
def test_the_highest_mean_over_targets_is_chosen(
    tmp_path: Path, dice: dict[float, tuple[float, float]], chosen: float, at_the_end: bool
) -> None:
    cards, rates = [], []
    for rate, targets in dice.items():
        for target, value in zip(("a", "b"), targets, strict=True):
            cards.append(tmp_path / f"{rate}-{target}/card.json")
            rates.append(rate)
            runs = [{"names": {"target": target}, "metrics": {"dice index": value + shift}} for shift in (-0.1, 0.1)]
            write_json(cards[-1], {"runs": runs})
    choose_rate(cards=cards, rates=rates, output=tmp_path / "rate.json")
    found = read_json(tmp_path / "rate.json")
    assert (found["chosen"], found["at_the_end"]) == (chosen, at_the_end)
    assert found["dice"]["0.01"] == {"a": 0.9, "b": pytest.approx(dice[0.01][1])}
