"""Recorded trades laid on the removals they caused: which of a market's removals takers made."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from typing import Final, NamedTuple

import numpy as np

from kflow.sim.tape import I32, I64

# A trade and its removals may be stamped this far apart and still be one; the venue stamps trades to the millisecond.
NEAR_US: Final = 100_000


class Laid(NamedTuple):
    """Where trades went. Sizes are 1e-2 contracts."""

    traded: I64  # [E] of each delta's removal
    prints: I64  # [P, 5] trades, or parts of them, that no removal shows
    laid: int  # contracts that found their removal
    printed: int  # contracts that did not


def lay_trades(us: I64, side: np.ndarray, price: I32, change: I64, trades: I64) -> Laid:
    """Lay trades on removals of the same side and price.

    us, side, price, change: [E] deltas in the venue's order, as in `tape.Stretch`. trades: [T, 4] rows of (its µs, of
    which only the millisecond counts, maker's side, maker's own price, size).

    Removals of its millisecond come first, of those one of its very size; then the nearest within NEAR_US. What finds
    none stands behind the deltas of its millisecond.
    """
    left = np.maximum(-change, 0)
    whole = left.copy()
    by_level: dict[tuple[int, int], list[int]] = defaultdict(list)
    removals = np.flatnonzero(change < 0)
    for delta, s, p in zip(removals.tolist(), side[removals].tolist(), price[removals].tolist(), strict=True):
        by_level[s, p].append(delta)
    times = {level: [int(us[delta]) for delta in deltas] for level, deltas in by_level.items()}
    prints = []
    for at, s, p, size in trades.tolist():
        for delta in _candidates(by_level.get((s, p), []), times.get((s, p), []), at, size, left):
            part = min(size, int(left[delta]))
            left[delta] -= part
            size -= part
            if not size:
                break
        if size:
            prints.append((int(np.searchsorted(us, at // 1000 * 1000 + 999, side="right")), at, s, p, size))
    traded = whole - left
    rows = np.array(prints, np.int64).reshape(-1, 5)
    return Laid(traded, rows, int(traded.sum()), int(rows[:, -1].sum()))


def _candidates(deltas: list[int], times: list[int], at: int, size: int, left: I64) -> list[int]:
    """Removals that a trade may have made, the likeliest first."""
    moment = at // 1000
    first, behind = bisect_left(times, at - NEAR_US), bisect_right(times, at + 999 + NEAR_US)

    def unlikely(place: int) -> tuple[int, bool, int]:
        distance = abs(times[place] // 1000 - moment)
        return distance, int(left[deltas[place]]) != size, place

    places = [place for place in range(first, behind) if left[deltas[place]] > 0]
    return [deltas[place] for place in sorted(places, key=unlikely)]
