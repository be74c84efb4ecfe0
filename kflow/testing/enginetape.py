"""The exchange's own truth beside its tape: own orders lie in a real engine's queues, and what others do is taped.

So an order that is simulated on the tape and the one that was really filled lived in the very same flow.

    tape = EngineTape(book, start_us)
    own = Order(Side.YES, price, size, owner="us", post_only=True)
    at_us = tape.submit(own, now_us)
    for execution in crowd.act(event):
        tape.note(execution, now_us)
    compile_tape(market, [tape.stretch()], book.grid, {}), tape.fills

Own is every order that has an owner; the crowd's have none. The tape leaves out what own orders add and withdraw. What
a taker took from one is a trade that no removal shows (`Stretch.prints`). What an own order took from others left their
levels for good, and is a trade of the tape: who simulates the same order takes it once more.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final, NamedTuple

import numpy as np

from kflow.exchange.crowd import Crowd
from kflow.exchange.matching import OrderBook
from kflow.exchange.orders import Execution, Order
from kflow.exchange.presets import PRESETS
from kflow.market.events import Level, Side
from kflow.market.times import US_PER_S
from kflow.sim.tape import Stretch, compile_tape
from kflow.testing.fifo import Probes
from kflow.testing.venue import MARKET, START_US, listing
from kflow.units import CONTRACT, DOLLAR, Price, Size

_PROBE: Final = Size(CONTRACT)
_LOOK_S: Final = 0.5


class OwnFill(NamedTuple):
    """One fill of an own order. `us`: the venue's time, that of the tape's event; `price`: YES, 1e-4 dollar."""

    us: int
    order: Order
    price: Price
    size: Size
    taker: bool


class EngineTape:
    """Records one market's engine. Everything that happens in its book has to be noted, in order."""

    def __init__(self, book: OrderBook, start_us: int) -> None:
        self._book: Final = book
        self._start: Final = _others(book)
        self._last_us = start_us
        self._deltas: list[tuple[int, int, int, int, int]] = []  # µs, side, own price, change, traded
        self._prints: list[tuple[int, int, int, int, int]] = []
        self.fills: Final[list[OwnFill]] = []

    def submit(self, order: Order, now_us: int) -> int:
        """Place an own order; the µs at which it entered. One that was killed does not rest and has no fills."""
        return self.note(self._book.submit(order), now_us, order)

    def cancel(self, order: Order, now_us: int) -> int:
        """Take an own order out, if it still rests; the µs at which that was."""
        return self.note(self._book.cancel(order) if order.resting else Execution(), now_us)

    def note(self, execution: Execution, now_us: int, incoming: Order | None = None) -> int:
        """Take what one command did; `incoming` is the order it brought, if that is an own one.

        The µs it is taped at: now, or the one behind the last, for what is done in one µs cannot be told apart.
        """
        us = self._last_us = max(self._last_us + 1, now_us)
        matches = iter(execution.matches)
        match = next(matches, None)
        for side, own_price, change, order in execution.changes:
            matched = match is not None and change < 0 and match[0] is order
            if match is not None and matched:
                self._fill(us, order, incoming, match[1], match[2])
                match = next(matches, None)
            if order.owner is None:
                self._deltas.append((us, int(side), own_price, change, -change if matched else 0))
            elif matched and incoming is None:
                self._prints.append((len(self._deltas), us, int(side), own_price, -change))
        return us

    def _fill(self, us: int, maker: Order, incoming: Order | None, price: Price, size: Size) -> None:
        if maker.owner is not None:
            self.fills.append(OwnFill(us, maker, price, size, taker=False))
        if incoming is not None:
            self.fills.append(OwnFill(us, incoming, price, size, taker=True))

    def stretch(self, ends: str = "the recording's end") -> Stretch:
        """All that was noted."""
        us, side, price, change, traded = np.array(self._deltas, np.int64).reshape(-1, 5).T
        return Stretch(
            start=self._start,
            us=us.copy(),
            side=side.astype(np.int8),
            price=price.astype(np.int32),
            change=change.copy(),
            traded=traded.copy(),
            prints=np.array(self._prints, np.int64).reshape(-1, 5),
            ends=ends,
        )


def _others(book: OrderBook) -> tuple[list[Level], list[Level]]:
    """The book without own orders."""
    levels: tuple[list[Level], list[Level]] = ([], [])
    for side in Side:
        for price in book.prices(side):
            left = sum([order.remaining for order in book.orders_at(side, price) if order.owner is None])
            if left:
                levels[side].append((price, Size(left)))
    return levels


def crowd_probes(
    seed: int, *, preset: str = "busy", seconds: float = 120.0, every_s: float = 4, hold_s: float = 20
) -> Probes:
    """A market of the synthetic crowd, and what became of orders of one contract that joined either touch.

    One every `every_s` on each side, there for `hold_s`; so small that they are hardly in each other's way.
    """
    rng = np.random.default_rng((seed, 7))
    entry, crowd, now_us = listing(), Crowd(PRESETS[preset], rng), START_US
    book = OrderBook(entry.grid)
    market = crowd.add(entry, float(rng.uniform(0.2, 0.8)), book, seconds_left=math.inf)
    tape = EngineTape(book, now_us)
    waiting: deque[tuple[Order, int]] = deque()
    ended: list[tuple[Order, int, int]] = []
    for look in range(round(seconds / _LOOK_S)):
        while waiting and now_us - waiting[0][1] >= hold_s * US_PER_S:
            order, start_us = waiting.popleft()
            ended.append((order, start_us, tape.cancel(order, now_us)))
        for side in Side if look % round(every_s / _LOOK_S) == 0 else ():
            touch = market.find_touch(side)
            order = Order(side, Price(DOLLAR - touch if side else touch), _PROBE, owner=tape, post_only=True)
            start_us = tape.submit(order, now_us) if touch else now_us
            if order.resting:
                waiting.append((order, start_us))
        for event in crowd.plan(_LOOK_S):
            for execution in crowd.act(event):
                tape.note(execution, now_us + int(event.at * _LOOK_S * US_PER_S))
        now_us += round(_LOOK_S * US_PER_S)
    done_us = {fill.order: fill.us for fill in tape.fills if fill.order.filled == _PROBE}
    rows = [
        (start_us, until_us, order.side, entry.grid.index(order.price), _PROBE, done_us.get(order, -1))
        for order, start_us, until_us in ended
    ]
    columns = np.array(rows, np.int64).reshape(-1, 6).T
    return Probes(compile_tape(MARKET, [tape.stretch()], entry.grid, {}), *[column.copy() for column in columns])
