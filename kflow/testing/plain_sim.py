"""The rules of docs/simulation.md once more, slowly: dicts and lists, one account on one tape, every event.

The oracle of `kflow.sim.kernel`, which tests hold to it to the byte, and the baseline of its speed bench. The kernel
lends its numbers for kinds, states and reasons, and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from kflow.sim import kernel as k
from kflow.sim.accounts import Limits
from kflow.sim.fills import Assumptions
from kflow.sim.tape import Tape
from kflow.testing.plain_account import Draws, PlainAccount, PlainOrder
from kflow.testing.tapes import first_book, moments
from kflow.units import CONTRACT, DOLLAR, Price, Size

_CENT: Final = 100
_RAMP_US: Final = 30_000_000
_ACTIVITY_US, _BUSY, _LOOK_BACK_US = 60_000_000.0, 60.0, 180_000_000


@dataclass(slots=True)
class _Taken:
    size: int
    us: int


class PlainSimulator(PlainAccount):
    """One account on one tape; its methods are the kernel's functions of the same names."""

    def __init__(
        self,
        tape: Tape,
        assumptions: Assumptions,
        limits: Limits,
        *,
        seed: int = 0,
        number: int = 0,
        verbose: bool = False,
    ) -> None:
        super().__init__(tape.arrays.price.tolist(), assumptions.fees, limits)
        self.tape, self.assumptions, self.verbose = tape, assumptions, verbose
        self.draws = Draws(seed, number)
        self.last_us = self.traded_us = self.lived_us = 0
        self.activity = 0.0
        self.last_best = [-1, -1]  # of each side, where it quoted last before it was empty
        self.book: tuple[dict[int, int], dict[int, int]] = ({}, {})
        self.taken: dict[tuple[int, int], _Taken] = {}
        self._events: Iterator[tuple[int, list[tuple[int, int, int, int]]]] = iter(())
        self._next: tuple[int, list[tuple[int, int, int, int]]] | None = None

    # The tape.

    def seat(self, stretch: int, us: int) -> None:
        """Begin at a moment of a stretch: all up to and including it has happened, and nothing is carried over."""
        self._end_all(k.GONE)
        self.taken.clear()
        bids, asks = first_book(self.tape, stretch)
        self.book = ({c: size for c, size in enumerate(bids) if size}, {c: size for c, size in enumerate(asks) if size})
        self.last_us = self.tape.span_us(stretch)[1]
        self._events = moments(self.tape, stretch)
        self._next = next(self._events, None)
        self.activity, self.traded_us = 0.0, us - _LOOK_BACK_US
        while self._next is not None and self._next[0] <= us:
            self.now = self._next[0]
            for kind, side, col, size in self._next[1]:
                self._change(kind, side, col, size)
            if self.now > us - _LOOK_BACK_US:
                self._count(self._next[1])
            self._next = next(self._events, None)
        self.now = self.lived_us = us
        self.last_best = [-1, -1]

    def run(self, until_us: int) -> None:
        """All that happens up to and including a moment. Orders act between the venue's µs, never within."""
        while self._next is not None and self._next[0] <= until_us:
            us, changes = self._next
            self._act(us)
            self.now = us
            for kind, side, col, size in changes:
                if kind != k.ADD and self.assumptions.model.kind != k.HAZARD:
                    self._queues(kind, side, col, size)
                self._change(kind, side, col, size)
            if self.assumptions.model.kind == k.HAZARD:
                self._count(changes)
                self._live()
            else:
                self._meet()
            self._next = next(self._events, None)
        self._act(min(until_us, self.last_us) + 1)
        if until_us > self.last_us:  # what follows is not known
            self._end_all(k.GONE)
        self.now = max(until_us, self.now)

    def _change(self, kind: int, side: int, col: int, size: int) -> None:
        """Follow the book. A level that shrinks below what was taken of it counts as taken whole."""
        if kind == k.PRINT or not size:
            return
        book = self.book[side]
        shown = book.get(col, 0) + (size if kind == k.ADD else -size)
        if shown:
            book[col] = shown
        else:
            book.pop(col, None)
            if not book:
                self.last_best[side] = col
            self.taken.pop((side, col), None)
            for order in self._at(side, col):
                order.ahead = 0
        taken = self.taken.get((side, col))
        if taken is not None:
            taken.size = min(taken.size, shown)

    # The book as the account sees it.

    @property
    def bid(self) -> int:
        return max(self.book[0], default=-1)

    @property
    def ask(self) -> int:
        return min(self.book[1], default=len(self.prices))

    def _at(self, side: int, col: int) -> list[PlainOrder]:
        return [order for order in self.queue if order.side == side and order.col == col]

    def _facing(self, side: int, col: int) -> list[int]:
        """Levels of the other side at or beyond a price, best first."""
        if side == 0:
            return sorted(c for c in self.book[1] if c <= col)
        return sorted((c for c in self.book[0] if c >= col), reverse=True)

    def _available(self, side: int, col: int) -> int:
        """What a level shows, less what the account took of it and has not come back."""
        shown = self.book[side].get(col, 0)
        taken = self.taken.get((side, col))
        if taken is None:
            return shown
        if self.now - taken.us >= self.assumptions.back_us:
            del self.taken[side, col]
            return shown
        return max(shown - taken.size, 0)

    def _consume(self, side: int, col: int, size: int) -> None:
        taken = self.taken.setdefault((side, col), _Taken(0, 0))
        taken.size += size
        taken.us = self.now

    def liquidation(self) -> int:
        """What the position would bring at once, level by level, less fees; the rest at the worst or last price."""
        left, side = abs(self.position), 0 if self.position > 0 else 1
        worth, rest = 0, self.last_best[side]
        if rest >= 0:  # no better than a tick inside what the other side quotes
            rest = min(rest, self.ask - 1) if side == 0 else max(rest, self.bid + 1)
        for col in sorted(self.book[side], reverse=side == 0):
            if not left:
                break
            rest = col
            size = min(self._available(side, col), left)
            worth += self._sold(side, col, size)
            left -= size
        return worth + (self._sold(side, rest, left) if 0 <= rest < len(self.prices) else 0)

    def _sold(self, side: int, col: int, size: int) -> int:
        fee = self.fee_schedule.trade_fee(Price(self.prices[col]), Size(size), taker=True)
        return max(self._own(side, col) * size - fee, 0)

    # Resting orders.

    def _queues(self, kind: int, side: int, col: int, size: int) -> None:
        before = [(order, order.ahead) for order in self.queue]
        if kind == k.CANCEL:
            self._withdrawn(side, col, size)
        else:
            self._traded(side, col, size)
        for order, ahead in before if self.verbose else ():
            if order.status == k.RESTS and order.ahead != ahead:
                self._note(
                    k.QUEUE_CANCELLED if kind == k.CANCEL else k.QUEUE_TRADED, order, col, ahead - order.ahead, 0
                )

    def _withdrawn(self, side: int, col: int, size: int) -> None:
        level = self.book[side].get(col, 0)
        for order in self._at(side, col):
            front = min(order.ahead, level)
            order.ahead = front - self._part_ahead(size, front, level - front)

    def _part_ahead(self, size: int, front: int, behind: int) -> int:
        """How much of a cancellation lay ahead: by odds, but no more on either side than is there."""
        omega, power = float(self.assumptions.model.ahead), float(self.assumptions.model.power)
        if front == 0 or behind == 0:
            return min(size, front)
        curve = self.assumptions.model.curve
        if curve:
            at = float(front) / float(front + behind) * float(len(curve) - 1)
            low = min(int(at), len(curve) - 2)
            part = int(size * (curve[low] + (at - low) * (curve[low + 1] - curve[low])))
        elif omega == 0.5 and power == 1.0:
            part = size * front // (front + behind)
        elif omega in (0.0, 1.0):
            part = size if omega else 0
        else:
            weight = omega * float(front) ** power
            part = int(size * (weight / (weight + (1.0 - omega) * float(behind) ** power)))
        return min(max(part, size - behind), front)

    def _traded(self, side: int, col: int, size: int) -> None:
        """A trade meets the better orders first, then what is ahead of those at its price, then them."""
        better = [o for o in self.queue if o.side == side and (o.col > col if side == 0 else o.col < col)]
        better.sort(key=lambda order: -order.col if side == 0 else order.col)
        if self.assumptions.model.kind == k.TOUCH:
            for order in better + self._at(side, col):
                self._fill(order, order.col, order.left, taker=False)
            return
        for order in better:
            size -= self._fill(order, order.col, min(size, order.left), taker=False)
        own = 0
        for order in self._at(side, col):
            reaches = size - own
            front = min(order.ahead, reaches)
            order.ahead -= front
            own += self._fill(order, col, min(reaches - front, order.left), taker=False)

    def _meet(self) -> None:
        """The other side has come to resting orders: it fills them, as makers at their own price."""
        for order in list(self.queue):
            for col in self._facing(order.side, order.col):
                if order.status != k.RESTS:
                    break
                filled = self._fill(
                    order, order.col, min(self._available(1 - order.side, col), order.left), taker=False
                )
                if filled:
                    self._consume(1 - order.side, col, filled)

    # The probabilistic model.

    def _count(self, changes: list[tuple[int, int, int, int]]) -> None:
        """Trades of the last minute, those longer ago counting less."""
        trades = sum(kind in (k.TRADE, k.PRINT) for kind, *_ in changes)
        if trades:
            self.activity = self.activity * math.exp(-(self.now - self.traded_us) / _ACTIVITY_US) + trades
            self.traded_us = self.now

    def _live(self) -> None:
        """Let resting orders live through the time since the last µs of the venue."""
        elapsed_us, self.lived_us = self.now - self.lived_us, self.now
        for order in list(self.queue):
            since = min(elapsed_us, self.now - order.rested_us)
            order.lived -= math.log(1.0 - self._chance(order)) * since / self.assumptions.horizon_us
            if order.lived >= order.lives:
                self._take(order)
                if order.status == k.RESTS:
                    self._fill(order, order.col, order.left, taker=False)

    def _chance(self, order: PlainOrder) -> float:
        """Chance of a fill within 30 s: price, age, size, activity, spread."""
        near, far = (self.bid, self.ask) if order.side == 0 else (self.ask, self.bid)
        has_near, has_far = 0 <= near < len(self.prices), 0 <= far < len(self.prices)
        limit = self._own(order.side, order.col)
        own = self._own(order.side, near) if has_near else limit
        cross = self._own(order.side, far) if has_far else int(DOLLAR)
        spread = cross - own
        if has_far and limit >= cross:
            chance = 0.99 if limit > cross else 0.95
        elif limit >= own:
            chance = 0.40 + (0.40 * (limit - own) / spread if has_far and spread > 0 else 0.0)
        else:
            chance = max(0.10, 0.30 - 0.05 * (own - limit) / _CENT)
        chance += -0.10 + 0.15 * (min(self.now - order.rested_us, _RAMP_US) / _RAMP_US)
        contracts = order.size / CONTRACT
        chance += 0.05 if contracts < 10 else 0.0 if contracts <= 50 else -0.03 if contracts <= 100 else -0.10
        chance += 0.2 * min(self.activity / _BUSY, 1.0) - 0.1
        if has_near and has_far and spread > 5 * _CENT:
            chance -= 0.1 * min((spread - 5 * _CENT) / (10.0 * _CENT), 1.0)
        return min(max(chance, 0.01), 0.99)

    # What orders do.

    def place(self, side: int, col: int, size: int, flags: int = 0, ttl_us: int = 0) -> int:
        """Send an order; its number, or -1 where as many are open as may be."""
        number = self.placed
        self.placed += 1
        slot = next((n for n, order in enumerate(self.slots) if order is None or order.status == k.DONE), -1)
        if slot < 0:
            return -1
        seen = self.now + self.draws.among(self.assumptions.latency.data)
        arrives = seen + self.draws.among(self.assumptions.latency.place)
        expires = seen + ttl_us if ttl_us > 0 else k.NEVER
        fees = self.fee_schedule.order()
        order = PlainOrder(number, side, col, size, size, flags, self.now, arrives, expires, fees)
        self.orders[number] = self.slots[slot] = order
        self._note(k.SENT, order, col, size, 0)
        if not 0 <= col < len(self.prices):
            self._end(order, k.NO_PLACE)
        return number

    def cancel(self, number: int) -> None:
        """Ask for an order's cancellation."""
        order = self.orders.get(number)
        if order is not None and order.status != k.DONE:
            seen = self.now + self.draws.among(self.assumptions.latency.data)
            order.cancels = min(order.cancels, seen + self.draws.among(self.assumptions.latency.cancel))

    def amend(self, number: int, col: int, size: int) -> None:
        """Ask for another price or remaining size."""
        order = self.orders.get(number)
        if order is not None and order.status != k.DONE and 0 <= col < len(self.prices):
            seen = self.now + self.draws.among(self.assumptions.latency.data)
            order.amends = seen + self.draws.among(self.assumptions.latency.place)
            order.amend_to = (col, size)

    def _act(self, before_us: int) -> None:
        """Let what is due before a moment happen, in its order; of one moment the lowest slot first."""
        while True:
            order = min((order for order in self.slots if order is not None), key=lambda o: o.due, default=None)
            if order is None or order.due >= before_us:
                return
            due = order.due
            self.now = max(due, self.now)
            if order.status == k.TRAVELS:
                self._enter(order)
            elif due == order.cancels:
                self._end(order, k.CANCELLED)
            elif due == order.expires:
                self._end(order, k.EXPIRED)
            else:
                self._amended(order)

    def _enter(self, order: PlainOrder) -> None:
        order.arrives = k.NEVER
        touch = self.ask if order.side == 0 else self.bid
        crosses = bool(self._facing(order.side, order.col))
        if crosses and order.flags & k.POST_ONLY:
            self._end(order, k.WOULD_CROSS)
            return
        if crosses and order.left < self.assumptions.walk_from:
            order.col = touch
        reason = self._refusal(order)
        if reason:
            self._end(order, reason)
            return
        order.rested_us = self.now
        if self.assumptions.model.kind == k.HAZARD:
            order.lived, order.lives = 0.0, -math.log(self.draws.uniform())
            crosses = crosses and self.draws.uniform() < self._chance(order)
        if crosses:
            self._take(order)
        if order.status == k.DONE:
            return
        if order.flags & k.IOC:
            self._end(order, k.NO_REST)
            return
        order.ahead = self._available(order.side, order.col)
        order.status = k.RESTS
        self.queue.append(order)
        self._note(k.ARRIVED, order, order.col, order.left, 0)

    def _take(self, order: PlainOrder) -> None:
        for col in self._facing(order.side, order.col):
            if order.status == k.DONE:
                return
            filled = self._fill(order, col, min(self._available(1 - order.side, col), order.left), taker=True)
            if filled:
                self._consume(1 - order.side, col, filled)

    def _amended(self, order: PlainOrder) -> None:
        col, size = order.amend_to
        order.amends = k.NEVER
        if col == order.col and size <= order.left:
            order.opens, order.left = min(order.opens, size), size
            self._note(k.AMENDED, order, col, size, 0)
            if size <= 0:
                self._end(order, k.CANCELLED)
            return
        self.queue.remove(order)
        self._reserve(order, 0)
        order.status, order.col, order.left = k.TRAVELS, col, size
        self._note(k.AMENDED, order, col, size, 0)
        self._enter(order)
