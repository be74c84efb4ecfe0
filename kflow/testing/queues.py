"""Queueing models of the touch, played in a matching engine: worlds in which the probability of a fill is known.

Two queues lie one tick apart. Every event is one order of one contract: it joins a queue, takes from its front, or is
canceled. The lengths of the queues and everybody's place are the engine's; only the rates are the model's.
`queue_tables` has what must come out.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from kflow.exchange.matching import OrderBook
from kflow.exchange.orders import Order, TimeInForce
from kflow.market.events import Side
from kflow.market.grid import Grid
from kflow.units import CONTRACT, DOLLAR, Price

_GRID: Final = Grid.named("linear_cent")
_BID, _ASK = Price(5000), Price(5100)
# By Side: the YES price of its queue, and the price as the book names it.
_PRICE: Final = (_BID, _ASK)
_OWN_PRICE: Final = (_BID, Price(DOLLAR - _ASK))
_OWNER: Final = "own"


@dataclass(frozen=True)
class Rates:
    """Of each queue: events per unit of time, whatever the unit."""

    arrival: float
    trade: float
    cancel: float  # of each order, but the own one, which is never canceled
    whole: bool = False  # `cancel` is the rate of the queue as a whole, however long it is


class Touch:
    """The two queues. An own order, where one is asked for, is the last of its queue when the play begins."""

    def __init__(self, bids: int, asks: int, rates: Rates, rng: random.Random, own: Collection[Side] = ()) -> None:
        self.book: Final = OrderBook(_GRID)
        self.rates, self._rng = rates, rng
        self._own: dict[Side, Order] = {}
        for side, count in ((Side.YES, bids), (Side.NO, asks)):
            for _ in range(count - (side in own)):
                self._join(side)
            if side in own:
                self._own[side] = self._join(side, _OWNER)

    def length(self, side: Side) -> int:
        """Orders in a queue."""
        return self.book.size_at(side, _OWN_PRICE[side]) // CONTRACT

    def filled(self, side: Side) -> bool:
        """Whether the own order of a side was filled."""
        return self._own[side].remaining == 0

    def step(self) -> None:
        """The next event."""
        arrival, trade = self.rates.arrival, self.rates.trade
        cancels = [self._cancel_rate(side) for side in Side]
        draw = self._rng.random() * (2 * (arrival + trade) + cancels[0] + cancels[1])
        for side in Side:
            if draw < arrival:
                self._join(side)
                return
            draw -= arrival
            if draw < trade:
                self._take(side)
                return
            draw -= trade
            if draw < cancels[side]:
                self._cancel(side)
                return
            draw -= cancels[side]

    def _cancel_rate(self, side: Side) -> float:
        if self.rates.whole:
            return self.rates.cancel
        own = self._own.get(side)
        return self.rates.cancel * (self.length(side) - (own is not None and own.resting))

    def _join(self, side: Side, owner: str | None = None) -> Order:
        order = Order(side, _PRICE[side], CONTRACT, owner=owner)
        self.book.submit(order)
        return order

    def _take(self, side: Side) -> None:
        """A market order takes the first order of a queue."""
        self.book.submit(Order(Side(1 - side), _PRICE[side], CONTRACT, time_in_force=TimeInForce.IOC))

    def _cancel(self, side: Side) -> None:
        """Somebody in the queue leaves, all alike; not the own order."""
        others = [order for order in self.book.orders_at(side, _OWN_PRICE[side]) if order.owner is None]
        self.book.cancel(others[int(self._rng.random() * len(others))])


def mid_rises(touch: Touch, most: int = 20_000) -> float:
    """Whether the asks are gone before the bids: 1 or 0.

    ½ where neither happened in `most` events: with balanced rates the time until then has no finite mean, and a state
    that long survived has forgotten which queue was the longer.
    """
    for _ in range(most):
        if touch.book.best(Side.NO) is None:
            return 1.0
        if touch.book.best(Side.YES) is None:
            return 0.0
        touch.step()
    return 0.5


def bid_fills(touch: Touch) -> float:
    """1 where the own bid is filled before the asks are gone, else 0. (Before the bids are gone it is, in any case.)"""
    while not touch.filled(Side.YES):
        if touch.book.best(Side.NO) is None:
            return 0.0
        touch.step()
    return 1.0


def spread_made(touch: Touch) -> float:
    """1 where both own orders are filled before either queue is gone, else 0."""
    while not (touch.filled(Side.YES) and touch.filled(Side.NO)):
        if touch.book.best(Side.NO) is None or touch.book.best(Side.YES) is None:
            return 0.0
        touch.step()
    return 1.0


Play = Callable[[Touch], float]
# Which orders are our own in each play.
OWN: Final[dict[Play, tuple[Side, ...]]] = {
    mid_rises: (),
    bid_fills: (Side.YES,),
    spread_made: (Side.YES, Side.NO),
}


@dataclass(frozen=True)
class Cell:
    """Mean outcome of many plays from the same queues."""

    bids: int
    asks: int
    runs: int
    mean: float

    def z(self, expected: float) -> float:
        """Distance from an expected probability in its standard errors."""
        return (self.mean - expected) / self.error(expected)

    def error(self, expected: float) -> float:
        """Standard error of `mean`, were `expected` true."""
        return float((expected * (1 - expected) / self.runs) ** 0.5)


def cell(
    play: Play, start: tuple[int, int], rates: Rates, *, runs: int, seed: int, touch: Callable[..., Touch] = Touch
) -> Cell:
    """Play `runs` times from queues of these lengths, bids first."""
    bids, asks = start
    rng = random.Random(f"{seed} {play.__name__} {bids} {asks}")  # noqa: S311 - a model, no secret
    own = OWN[play]
    total = sum(play(touch(bids, asks, rates, rng, own)) for _ in range(runs))
    return Cell(bids, asks, runs, total / runs)
