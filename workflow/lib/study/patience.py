"""Early stopping by patience, for pretrainings that stop and for finished curves on which stopping is replayed."""

import math
from collections.abc import Callable, Sequence


def followed(values: Sequence[float], improves: Callable[[int, int], bool]) -> list[tuple[int | None, int]]:
    """After each check in order: which was the best so far (None: none has a value), and how many in a row were no improvement.

    improves: whether check i is better than the best so far, from the numbers of both (best, i). A check without a value (nan)
    is no improvement.
    """
    found: list[tuple[int | None, int]] = []
    best, missed = None, 0
    for i, value in enumerate(values):
        if math.isfinite(value) and (best is None or improves(best, i)):
            best, missed = i, 0
        else:
            missed += 1
        found.append((best, missed))
    return found
