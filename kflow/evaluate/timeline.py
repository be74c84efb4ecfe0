"""Best prices of all spans in one table, so that any number of moments is looked up in one search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kflow.rl.dataset import Span
from kflow.sim.tape import Tape

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]

# A span's events follow the one before it: keys are its number and the time since it began, which is below 12 days.
_SPAN = 2**40


class Touch(NamedTuple):
    """Best prices of the YES axis, 1e-4 dollar; -1 where nobody quotes or nothing is recorded."""

    bid: I64
    ask: I64

    @property
    def twice_mid(self) -> F64:
        """NaN where a side does not quote."""
        return np.where((self.bid >= 0) & (self.ask >= 0), (self.bid + self.ask).astype(np.float64), np.nan)


class Timeline:
    """Of a data set's spans."""

    def __init__(self, spans: Sequence[Span], tapes: Sequence[Tape], where: Sequence[tuple[int, int]]) -> None:
        """`where`: of each span its tape and stretch."""
        keys, bids, asks = [], [], []
        self._starts = np.zeros(len(spans), np.int64)
        self._ends = np.zeros(len(spans), np.int64)
        for number, (tape_number, stretch) in enumerate(where):
            tape = tapes[tape_number]
            first, behind = tape.arrays.bounds[stretch]
            us, top = tape.arrays.us[first:behind], tape.arrays.top[first:behind].astype(np.int64)
            price = tape.arrays.price.astype(np.int64)
            last = len(price) - 1
            self._starts[number], self._ends[number] = us[0], us[-1]
            keys.append(number * _SPAN + (us - us[0]))
            bids.append(np.where(top[:, 0] >= 0, price[np.maximum(top[:, 0], 0)], -1))
            asks.append(np.where(top[:, 1] <= last, price[np.minimum(top[:, 1], last)], -1))
        self._keys, self._bid, self._ask = (np.concatenate(column) for column in (keys, bids, asks))

    def at(self, span: I64, us: I64) -> Touch:
        """What stood at some moments, of the spans [N]; nothing behind a span's end."""
        starts, ends = self._starts[span], self._ends[span]
        found = np.searchsorted(self._keys, span * _SPAN + np.clip(us - starts, 0, _SPAN - 1), side="right") - 1
        known = (us >= starts) & (us <= ends)
        return Touch(np.where(known, self._bid[found], -1), np.where(known, self._ask[found], -1))
