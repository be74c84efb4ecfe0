"""Simple strategies that trade one made-up market from its beginning to its settlement, and what they are left with."""

from __future__ import annotations

import math
import random
import statistics
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import numpy as np

from kflow.exchange.accounts import Account, Ticket, UserOrder
from kflow.exchange.belief import FAIR, Edge
from kflow.exchange.crowd import Crowd
from kflow.exchange.matching import OrderBook
from kflow.exchange.orders import TimeInForce
from kflow.exchange.presets import PRESETS
from kflow.exchange.terms import OrderRefused
from kflow.market.events import Side
from kflow.market.times import US_PER_S
from kflow.testing.pit import Pit
from kflow.testing.venue import MARKET, START_US, listing
from kflow.units import CONTRACT, DOLLAR, Money, Price, Size

# How often a strategy looks at the market, and what it may hold.
LOOK_S: Final = 0.5
MOST: Final = Size(50 * CONTRACT)
LOT: Final = Size(5 * CONTRACT)


class Seat:
    """What a strategy sees and can do: the public book, and its own account."""

    def __init__(self, pit: Pit, account: Account, rng: random.Random) -> None:
        self._pit, self.account, self.random = pit, account, rng

    def touch(self) -> tuple[int, int, int, int]:
        """YES bid, its size, YES ask, its size; 0 and $1 where nobody quotes."""
        return self._pit.venue.markets[MARKET].touch()

    @property
    def held(self) -> int:
        return self.account.held(MARKET)

    def take(self, side: Side) -> None:
        """Buy or sell a lot at the touch, at once or not at all; no more than may be held."""
        bid, _, ask, _ = self.touch()
        price = ask if side == Side.YES else bid
        if 0 < price < DOLLAR and abs(self.held + (LOT if side == Side.YES else -LOT)) <= MOST:
            self._place(side, price, post_only=False)

    def rest(self, side: Side, price: int) -> UserOrder | None:
        """Quote a lot."""
        return self._place(side, price, post_only=True) if 0 < price < DOLLAR else None

    def _place(self, side: Side, price: int, *, post_only: bool) -> UserOrder | None:
        in_force = TimeInForce.GTC if post_only else TimeInForce.IOC
        ticket = Ticket(
            ticker=MARKET, side=side, price=Price(price), size=LOT, time_in_force=in_force, post_only=post_only
        )
        try:
            return self._pit.desk.create(self.account, ticket)
        except OrderRefused:
            return None

    def drop(self, order: UserOrder) -> None:
        if order.resting:
            self._pit.desk.cancel(self.account, order.order_id)

    def next_price(self, price: int, ticks: int) -> int:
        """A price of the grid so many ticks further, or 0."""
        grid = self._pit.engine().grid
        position = grid.index(Price(price)) + ticks
        return grid.prices()[position] if 0 <= position < len(grid) else 0


class Strategy(Protocol):
    """Looks at the market every half second."""

    def look(self, seat: Seat) -> None: ...


class RandomTaker:
    """Buys or sells by the toss of a coin."""

    def look(self, seat: Seat) -> None:
        if seat.random.random() < 0.2:
            seat.take(Side.YES if seat.random.random() < 0.5 else Side.NO)


class TrendTaker:
    """Takes in the direction of the last two seconds (or against it)."""

    def __init__(self, direction: int = 1) -> None:
        self._direction, self._mids = direction, deque[int](maxlen=4)

    def look(self, seat: Seat) -> None:
        bid, _, ask, _ = seat.touch()
        self._mids.append(bid + ask)
        moved = self._direction * (self._mids[-1] - self._mids[0])
        if abs(moved) >= 200:
            seat.take(Side.YES if moved > 0 else Side.NO)


class PressureTaker:
    """Takes from the thinner side of a lopsided touch."""

    def look(self, seat: Seat) -> None:
        _, bid_size, _, ask_size = seat.touch()
        if bid_size > 4 * ask_size > 0:
            seat.take(Side.YES)
        elif ask_size > 4 * bid_size > 0:
            seat.take(Side.NO)


class Maker:
    """Quotes both sides: joins the touch, or improves it by a tick where there is room."""

    def __init__(self, *, improves: bool) -> None:
        self._improves = improves
        self._quotes: dict[Side, UserOrder] = {}

    def look(self, seat: Seat) -> None:
        bid, _, ask, _ = seat.touch()
        for side, price in ((Side.YES, bid), (Side.NO, ask)):
            self._quote(seat, side, price, (bid, ask))

    def _quote(self, seat: Seat, side: Side, price: int, touch: tuple[int, int]) -> None:
        quote = self._quotes.get(side)
        if quote is not None and quote.resting:
            if quote.price == price:
                return
            seat.drop(quote)
        if not 0 < price < DOLLAR or abs(seat.held + (LOT if side == Side.YES else -LOT)) > MOST:
            return
        if self._improves:
            better = seat.next_price(price, 1 if side == Side.YES else -1)
            price = better if touch[0] < better < touch[1] else price
        placed = seat.rest(side, price)
        if placed is not None:
            self._quotes[side] = placed


class Buyer:
    """Buys YES and holds it."""

    def look(self, seat: Seat) -> None:
        seat.take(Side.YES)


STRATEGIES: Final[Mapping[str, Callable[[], Strategy]]] = {
    "random taker": RandomTaker,
    "trend taker": TrendTaker,
    "pressure taker": PressureTaker,
    "touch maker": lambda: Maker(improves=False),
    "improving maker": lambda: Maker(improves=True),
}


def profit(
    strategy: Strategy, seed: int, *, edge: Edge = FAIR, preset: str = "busy", seconds: float = 30.0, fees: bool = True
) -> Money:
    """Let a strategy trade one market to its settlement. What it has more then than before, after fees."""
    rng = np.random.default_rng((seed, 1))
    pit, crowd = Pit(markets=()), Crowd(PRESETS[preset], rng, edge)
    now_us = START_US + 1
    pit.clearing.time = lambda: now_us
    entry, engine = listing(), OrderBook(listing().grid)
    pit.venue.list_markets([entry])
    market = crowd.add(entry, float(rng.uniform(0.1, 0.9)), engine, seconds_left=math.inf)
    writer = pit.clearing.open_market(entry, engine).writer
    pit.clearing.queue(writer.snapshot(engine.book(), now_us))
    if not fees:
        pit.control.charge(entry.event, "quadratic", 0)
    pit.desk.flush()
    seat = Seat(pit, pit.account("1000"), random.Random(seed))  # noqa: S311 - a game
    for _ in range(round(seconds / LOOK_S)):
        strategy.look(seat)
        for event in crowd.plan(LOOK_S):
            for execution in crowd.act(event):
                pit.desk.executed(MARKET, execution, pit.clearing.stamp())
        now_us += round(LOOK_S * US_PER_S)
        pit.desk.flush()
        pit.messages.clear()
    won = crowd.settle(market) == Side.YES
    pit.settle(DOLLAR if won else Price(0))
    return Money(seat.account.cash[0] - 1000 * 1_000_000)


def lower_bound(profits: Sequence[int], tried: int) -> float:
    """Lower 99 % bound of the mean, one-sided, for one of `tried` strategies (Bonferroni), by the normal limit."""
    z = statistics.NormalDist().inv_cdf(1 - 0.01 / tried)
    return statistics.fmean(profits) - z * statistics.stdev(profits) / math.sqrt(len(profits))
