"""A live market as the kernel's tape: changes are held back until nothing that comes later can alter how they read.

A feed tells of trades and of the removals they caused in messages of their own, in either order and up to 100 ms apart.
Which removal was whose trade is found as for a recording (`kflow.sim.trades`), which needs all that lies near: so what
happened is told `hold_us` later, and then exactly as a tape of the same recording has it.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

import numpy as np

from kflow.errors import UsageError
from kflow.sim.tape import ADD, CANCEL, PRINT, TRADE
from kflow.sim.trades import NEAR_US, lay_trades

_US_PER_MS: Final = 1000
# A trade looks this far ahead for its removal, and a removal waits for trades that do.
_LOOK_US: Final = NEAR_US + _US_PER_MS
_LEAST_US: Final = 2 * _LOOK_US
# What is left of it is how late a trade's message may come.
HOLD_US: Final = 250_000


class Event(NamedTuple):
    """As in `sim.tape`: what happened to a level. side 0 YES bids, 1 YES asks, by column of the YES axis."""

    us: int
    kind: int
    side: int
    column: int
    size: int


class HeldTape:
    """One market's latest changes and trades, in the order of receipt. Times µs of the venue, sizes 1e-2 contract."""

    def __init__(self, hold_us: int = HOLD_US) -> None:
        if hold_us < _LEAST_US:
            raise UsageError(f"trades need {_LEAST_US // 1000} ms to find what they removed, not {hold_us // 1000}")
        self._hold_us: Final = hold_us
        self.late = 0  # changes whose time had been told already; they count as of the present
        self._changes: deque[list[int]] = deque()  # µs, side, column, change, how much of it was traded
        self._trades: deque[tuple[int, int, int, int]] = deque()  # µs, side, column, size
        self._prints: list[tuple[int, int, int, int, int]] = []  # µs behind which they stand, then as trades
        self._told_us = self._last_us = 0

    def begin(self, us: int) -> None:
        """A book begins; what was held of the one before is forgotten."""
        self._changes.clear()
        self._trades.clear()
        self._prints.clear()
        self._told_us = self._last_us = us - 1

    def change(self, us: int | None, side: int, column: int, change: int) -> None:
        """A level changed by a signed size. Without a time of its own it is of the last one's."""
        now = self._last_us if us is None else us
        if now <= self._told_us:
            self.late += now < self._told_us
            now = self._told_us + 1
        self._last_us = max(self._last_us, now)
        self._changes.append([self._last_us, side, column, change, 0])

    def trade(self, us: int | None, side: int, column: int, size: int) -> None:
        """Takers took of a side. Its removal, if any shows, is told by `change`."""
        self._trades.append((self._last_us if us is None else us, side, column, size))

    def release(self, now_us: int) -> list[Event]:
        """What is certain at a moment of the feed: all up to the end of a millisecond, which is `told_us` then."""
        self._lay(now_us)
        told_us = (now_us - self._hold_us) // _US_PER_MS * _US_PER_MS - 1
        if told_us <= self._told_us:
            return []
        return self._tell(told_us)

    def finish(self) -> list[Event]:
        """All the rest: no more will come."""
        self._lay(None)
        last_us = max([self._last_us, *[behind for behind, *_ in self._prints]])
        return self._tell(last_us)

    def _lay(self, now_us: int | None) -> None:
        """Lay trades on their removals, in the order of receipt, as far as their surroundings are known."""
        ready: list[tuple[int, int, int, int]] = []
        while self._trades and (now_us is None or self._trades[0][0] + _LOOK_US <= now_us):
            ready.append(self._trades.popleft())
        if not ready:
            return
        us, side, column, change, traded = np.array(self._changes, np.int64).reshape(-1, 5).T
        open_ = np.where(change < 0, change + traded, change)  # what of a removal no trade has explained yet
        laid = lay_trades(us, side, column.astype(np.int32), open_, np.array(ready, np.int64))
        for row, more in zip(self._changes, laid.traded.tolist(), strict=True):
            row[4] += more
        for _, at, of, where, size in laid.prints.tolist():
            self._prints.append((at // _US_PER_MS * _US_PER_MS + _US_PER_MS - 1, at, of, where, size))

    def _tell(self, told_us: int) -> list[Event]:
        keyed: list[tuple[int, int, int, list[Event]]] = []
        while self._changes and self._changes[0][0] <= told_us:
            us, side, column, change, traded = self._changes.popleft()
            keyed.append((us, 0, len(keyed), _events(us, side, column, change, traded)))
        # A print stands behind the changes of its millisecond.
        due = [row for row in self._prints if row[0] <= told_us]
        self._prints = [row for row in self._prints if row[0] > told_us]
        for behind, us, side, column, size in due:
            keyed.append((behind, 1, len(keyed), [Event(us, PRINT, side, column, size)]))
        keyed.sort(key=lambda entry: entry[:3])
        events = [event for *_, several in keyed for event in several]
        now = self._told_us
        for place, event in enumerate(events):
            now = max(now, event.us)
            events[place] = event._replace(us=now)
        self._told_us = max(self._told_us, told_us)
        return events


def _events(us: int, side: int, column: int, change: int, traded: int) -> list[Event]:
    """A change in the kernel's words: a removal that was partly traded is a trade and a withdrawal."""
    if change > 0:
        return [Event(us, ADD, side, column, change)]
    if not traded:
        return [Event(us, CANCEL, side, column, -change)]
    trade = Event(us, TRADE, side, column, traded)
    return [trade] if traded == -change else [trade, Event(us, CANCEL, side, column, -change - traded)]
