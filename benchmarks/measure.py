"""How this project's work is timed against others': in turns, in one process, as ratios with their spread."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

Row = dict[str, Any]


def seconds_of(work: Callable[[], Any], device: str) -> float:
    """Seconds of one call: of this process's CPU time, which other load on the machine hardly changes; on a GPU of the clock."""
    if device == "cpu":
        start = time.process_time()
        work()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def compare(
    what: str, ours: Callable[[], Any], others: Mapping[str, Callable[[], Any]], *, rounds: int, device: str = "cpu"
) -> list[Row]:
    """A row for each of `others`: what one call takes, ours and theirs, and theirs / ours (above 1: ours is faster), in turns.

    ratio: the median over rounds; low, high: the smallest and the largest. The first round warms up and does not count.
    """
    works = {"ours": ours, **others}
    taken = [{name: seconds_of(work, device) for name, work in works.items()} for _ in range(rounds + 1)][1:]
    rows = []
    for name in others:
        ratios = [turn[name] / turn["ours"] for turn in taken]
        row = {"what": what, "beside": name, "ratio": np.median(ratios), "low": min(ratios), "high": max(ratios)}
        rows.append(
            row
            | {
                f"{key} seconds": np.median([turn[of] for turn in taken])
                for key, of in (("our", "ours"), ("its", name))
            }
        )
    for row in rows:
        print(f"{what}, beside {row['beside']}: {row['ratio']:.2f} [{row['low']:.2f}, {row['high']:.2f}]", flush=True)
    return rows
