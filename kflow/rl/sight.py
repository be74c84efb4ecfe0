"""What an account has before it at a moment, for who draws it: the ladder, its own orders, and what takers did."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kflow.errors import UsageError
from kflow.rl import stepping
from kflow.rl.batch import Batch
from kflow.sim import kernel
from kflow.sim.tape import TRADE
from kflow.units import CONTRACT, DOLLAR

LEVELS: Final = 7  # of a side, at most
_FLOW_US: Final = 10_000_000
_LAST_US: Final = 60_000_000


class Own(NamedTuple):
    """An own order: contracts left, and ahead of it in the queue (-1: it has not arrived)."""

    left: float
    ahead: float


class Level(NamedTuple):
    """Of a ladder: price of YES in dollars, contracts that others hold there, own orders."""

    price: float
    size: float
    own: tuple[Own, ...]


class Last(NamedTuple):
    """The latest trade: whether takers bought YES, contracts, price of YES in dollars, seconds ago."""

    bought: bool
    size: float
    price: float
    ago: float


class Sight(NamedTuple):
    """All that is drawn of a moment. Dollars, contracts; levels from the touch outwards."""

    market: str
    at_us: int
    decision: int
    decisions: int
    seconds: float  # that the episode lasts
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    position: float
    cash: float
    equity: float
    profit: float
    fees: float
    bought: float  # by takers, in the last 10 s
    sold: float
    last: Last | None  # of the last minute

    @property
    def touch(self) -> tuple[float | None, float | None]:
        """Best bid and offer of others."""
        bid, ask = (next((level.price for level in side if level.size), None) for side in (self.bids, self.asks))
        return bid, ask


def look(batch: Batch, account: int) -> Sight:
    """What an account has before it now, or had when its episode ended. Raises UsageError before its first."""
    episode = batch.episode(account)
    if episode is None:
        raise UsageError("there is no episode to draw", hint="reset() begins one")
    span = batch.dataset.spans[episode.span]
    market = batch.dataset.groups[span.group].market
    row, seat = batch.state.account[account], batch.desk.seat[account]
    at_us = int(seat[stepping.START_US] + seat[stepping.ROW] * batch.dataset.every_us)
    bought, sold, last = _trades(market, span.stretch, int(row[kernel.CURSOR]), at_us)
    return Sight(
        market=span.market,
        at_us=at_us,
        decision=int(seat[stepping.STEPS]),
        decisions=int(seat[stepping.LAST] - seat[stepping.FIRST]),
        seconds=int(seat[stepping.LAST] - seat[stepping.FIRST]) * batch.dataset.every_us / 1e6,
        bids=_levels(batch, account, market.price, 0),
        asks=_levels(batch, account, market.price, 1),
        position=int(row[kernel.POSITION]) / CONTRACT,
        cash=int(row[kernel.CASH]) / 1e6,
        equity=int(seat[stepping.EQUITY]) / 1e6,
        profit=int(seat[stepping.EQUITY] - seat[stepping.CASH]) / 1e6,
        fees=int(row[kernel.FEES]) / 1e6,
        bought=bought,
        sold=sold,
        last=last,
    )


def _levels(batch: Batch, account: int, price: NDArray[np.int32], side: int) -> tuple[Level, ...]:
    """Nearest levels of a side; those of own orders always."""
    own: dict[int, list[Own]] = {}
    for order in batch.state.orders[account].tolist():
        travels, rests = order[kernel.STATUS] == kernel.TRAVELS, order[kernel.STATUS] == kernel.RESTS
        if (travels or rests) and order[kernel.SIDE] == side and 0 <= order[kernel.COL] < len(price):
            ahead = -1.0 if travels else order[kernel.AHEAD] / CONTRACT
            own.setdefault(order[kernel.COL], []).append(Own(order[kernel.LEFT] / CONTRACT, ahead))
    depth = batch.state.depth[account, side, : len(price)]
    others = [int(column) for column in np.flatnonzero(depth) if column not in own]
    nearest = sorted(others, reverse=side == 0)[: max(LEVELS - len(own), 0)]
    columns = sorted([*nearest, *own], reverse=side == 0)
    return tuple(
        Level(int(price[column]) / DOLLAR, int(depth[column]) / CONTRACT, tuple(own.get(column, ())))
        for column in columns[:LEVELS]
    )


def _trades(market: kernel.Market, stretch: int, cursor: int, at_us: int) -> tuple[float, float, Last | None]:
    """Contracts that takers bought and sold in the last 10 s, and the latest trade, of events before `cursor`."""
    first = int(market.bounds[stretch, 0])
    since = first + int(np.searchsorted(market.us[first:cursor], at_us - _LAST_US, side="right"))
    us, code, size = (column[since:cursor] for column in (market.us, market.code, market.size))
    traded, offers, lately = code & 3 >= TRADE, code >> 2 & 1 == 1, us > at_us - _FLOW_US
    bought, sold = (float(size[traded & side & lately].sum()) / CONTRACT for side in (offers, ~offers))
    every = np.flatnonzero(traded)
    if not len(every):
        return bought, sold, None
    at = int(every[-1])
    price = int(market.price[market.col[since + at]]) / DOLLAR
    return bought, sold, Last(bool(offers[at]), int(size[at]) / CONTRACT, price, (at_us - int(us[at])) / 1e6)
