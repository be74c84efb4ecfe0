"""One market as the policy sits before it: what it sees, what it may do, and the order that its choice becomes.

The observation and the codec are those of training (`policy.features`, `policy.actions`). Own resting orders are taken
out of the book first, since in training nobody's orders but others' stand there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kflow.act.live import LiveMarket
from kflow.act.orders import Order, State
from kflow.act.purse import Purse
from kflow.act.strategies import Chosen
from kflow.policy import actions
from kflow.policy.actions import Action
from kflow.policy.features import FEATURES
from kflow.units import DOLLAR, Price

F32 = NDArray[np.float32]


class Seen(NamedTuple):
    """An observation, and what may be done on it. `digest`: its SHA-256, 16 hex digits."""

    observation: F32
    mask: NDArray[np.bool_]
    digest: str
    finite: bool
    us: int  # the venue's time it is of
    version: int


class Wish(NamedTuple):
    """An order as the codec has it; `refusal` says why it is none, empty where it is one."""

    side: int
    price: int
    size: int
    immediate: bool
    reduce_only: bool
    rest_us: int
    refusal: str


@dataclass(slots=True)
class Queue:
    """How many contracts stand before an own order, as far as can be known: trades eat them, and none are invented."""

    ahead: int
    since_us: int


class Seat:
    """A policy before one market."""

    def __init__(self, market: LiveMarket, chosen: Chosen, purse: Purse) -> None:
        self.market: Final = market
        self.purse: Final = purse
        self.numbers = 0  # decisions that became orders
        self.queues: dict[str, Queue] = {}
        self._chosen: Final = chosen
        rates = market.fees.whole()
        self._fees: Final = (rates.dearer, rates.unit, rates.step, rates.precision)
        limits = chosen.limits
        self._bounds: Final = (limits.max_order, limits.max_position, limits.max_open)
        self._table: Final = chosen.actions.table

    def look(self, orders: Sequence[Order], mono_ns: int) -> Seen:
        """What the policy sees now. `orders`: its open ones in this market."""
        market, view = self.market, self.market.view
        now_us = market.now_us(mono_ns)
        out = [0.0] * len(FEATURES)
        with self._without(orders):
            self.purse.look(view)
            view.encode(now_us, out)
            view.encode_own(
                self.purse.position,
                self.purse.equity(view, market.prices),
                max(self.purse.free(orders), 0),
                self.purse.cash_at_start,
                self._chosen.limits.max_position,
                self._chosen.limits.max_order,
                self._flat(orders, now_us),
                len(orders),
                out,
            )
            mask = [False] * len(self._chosen.actions.actions)
            book, own = self._book(), self._own(orders)
            actions.mask(self._table, book, own, market.prices, self._fees, self._bounds, mask)
        observation = np.array(out, np.float32)
        finite = bool(np.isfinite(observation).all())
        digest = hashlib.sha256(observation.tobytes()).hexdigest()[:16]
        return Seen(observation, np.array(mask), digest, finite, now_us, market.version)

    def decide(self, seen: Seen) -> Action:
        """The policy's choice. Raises what the policy raises."""
        number = int(self._chosen.decide(seen.observation, seen.mask))
        return self._chosen.actions.actions[number]

    def wish(self, action: Action, orders: Sequence[Order]) -> Wish:
        """What the training decodes the action to, on the book as it stands now."""
        prices = self.market.prices
        with self._without(orders):
            book, own = self._book(), self._own(orders)
            reason = actions.refused(
                action.op,
                action.side,
                action.pricing,
                action.size,
                action.reduce_only,
                book,
                own,
                prices,
                self._fees,
                self._bounds,
            )
            column = actions.price_column(action.side, action.pricing, *book)
            size = actions.size_now(action.side, action.size, action.reduce_only, own)
        price = 0
        if 0 <= column < len(prices):
            price = prices[column] if action.side == 0 else int(DOLLAR) - prices[column]
        return Wish(
            side=action.side,
            price=price,
            size=size,
            immediate=action.rest_us == 0,
            reduce_only=bool(action.reduce_only) and action.rest_us == 0,
            rest_us=action.rest_us,
            refusal=actions.REASONS.get(reason, "") if reason else "",
        )

    def joined(self, order: Order, orders: Sequence[Order], now_us: int) -> None:
        """An order came to rest beside the others: whoever stands at its price stands before it."""
        self.purse.rests(order, orders)
        side = order.intent.side
        shown = self.market.view.book[side][self._column(order)]
        self.queues[order.intent.client_order_id] = Queue(shown, now_us)

    def traded(self, side: int, yes: int, size: int, orders: Sequence[Order]) -> None:
        """A taker took of a level: who stands first in it is served first."""
        for order in orders:
            queue = self.queues.get(order.intent.client_order_id)
            if queue is not None and order.intent.side == side and self._yes(order) == yes:
                queue.ahead = max(queue.ahead - size, 0)

    # How.

    @contextmanager
    def _without(self, orders: Sequence[Order]) -> Iterator[None]:
        """The book without own orders, while the block lasts."""
        view = self.market.view
        before = view.bid, view.ask
        taken: list[tuple[int, int, int]] = []
        for order in orders:
            if order.state is not State.RESTING:
                continue
            side, column = order.intent.side, self._column(order)
            mine = min(order.left, view.book[side][column])
            view.book[side][column] -= mine
            taken.append((side, column, mine))
        bids, asks = view.book
        while view.bid >= 0 and not bids[view.bid]:
            view.bid -= 1
        while view.ask < len(asks) and not asks[view.ask]:
            view.ask += 1
        try:
            yield
        finally:
            for side, column, mine in taken:
                view.book[side][column] += mine
            view.bid, view.ask = before

    def _yes(self, order: Order) -> int:
        return order.intent.price if order.intent.side == 0 else int(DOLLAR) - order.intent.price

    def _column(self, order: Order) -> int:
        return self.market.grid.index(Price(self._yes(order)))

    def _book(self) -> tuple[int, int, int]:
        view = self.market.view
        return view.bid, view.ask, len(self.market.prices)

    def _own(self, orders: Sequence[Order]) -> tuple[int, ...]:
        """As `actions.refused` reads it."""
        columns = [[self._column(order) for order in orders if order.intent.side == side] for side in (0, 1)]
        left = [sum(order.left for order in orders if order.intent.side == side) for side in (0, 1)]
        highest = max(columns[0], default=-1)
        lowest = min(columns[1], default=len(self.market.prices))
        return (self.purse.position, self.purse.free(orders), left[0], left[1], len(orders), highest, lowest)

    def _flat(self, orders: Sequence[Order], now_us: int) -> list[int]:
        """As `features.encode_own` reads them: side, column, left, ahead, age."""
        flat: list[int] = []
        for order in orders:
            column = self._column(order)
            shown = self.market.view.book[order.intent.side][column]
            queue = self.queues.get(order.intent.client_order_id)
            # What is not resting yet would join behind all that is shown.
            ahead = shown if queue is None else min(queue.ahead, shown)
            since = now_us if queue is None else queue.since_us
            flat += [order.intent.side, column, order.left, ahead, max(now_us - since, 0)]
        return flat
