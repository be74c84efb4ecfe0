"""Money and orders of one account by docs/simulation.md, in plain Python: what `plain_sim` fills and charges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from kflow.market.fees import FeeSchedule, OrderFees
from kflow.sim import kernel as k
from kflow.sim.accounts import Limits
from kflow.units import DOLLAR, Price, Size

_WORD: Final = 2**64 - 1


class Draws:
    """An account's random numbers: splitmix64 of a counter that begins where (seed, number) says."""

    def __init__(self, seed: int, number: int) -> None:
        self._counter = _mixed(number + seed * 0xD1342543DE82EF95)

    def uniform(self) -> float:
        """The next number in (0, 1)."""
        self._counter = (self._counter + 0x9E3779B97F4A7C15) & _WORD
        return (float(_mixed(self._counter) >> 11) + 0.5) / 2.0**53

    def among(self, samples: tuple[int, ...]) -> int:
        """One of the samples; nothing is drawn where there is no choice."""
        return samples[0] if len(samples) == 1 else samples[int(self.uniform() * len(samples))]


def _mixed(word: int) -> int:
    word &= _WORD
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 & _WORD
    word = (word ^ word >> 27) * 0x94D049BB133111EB & _WORD
    return word ^ word >> 31


@dataclass(slots=True, eq=False)
class PlainOrder:
    """One order, from its sending to its end."""

    number: int
    side: int
    col: int
    size: int
    left: int
    flags: int
    sent_us: int
    arrives: int
    expires: int
    fees: OrderFees
    status: int = k.TRAVELS
    cancels: int = k.NEVER
    amends: int = k.NEVER
    amend_to: tuple[int, int] = (0, 0)  # column, remaining size
    ahead: int = 0
    opens: int = 0  # of what is left: what would open a position
    reserve: int = 0
    notional: int = 0
    fee: int = 0
    rested_us: int = 0
    first_us: int = 0
    last_us: int = 0
    reason: int = 0
    lived: float = 0.0  # hazard it has lived through
    lives: float = 0.0  # hazard at which it fills

    @property
    def due(self) -> int:
        """When something happens to it by itself. What would reach it under way waits until it rests."""
        if self.status == k.TRAVELS:
            return self.arrives
        return min(self.cancels, self.amends, self.expires) if self.status == k.RESTS else k.NEVER


class PlainAccount:
    """Cash, position, open orders and what they hold back. A subclass says when they fill."""

    def __init__(self, prices: list[int], fees: FeeSchedule, limits: Limits) -> None:
        self.prices, self.fee_schedule, self.limits = prices, fees, limits
        self.now = 0
        self.cash, self.position, self.fees, self.reserved, self.volume = int(limits.cash), 0, 0, 0, 0
        self.orders: dict[int, PlainOrder] = {}
        self.slots: list[PlainOrder | None] = [None] * limits.orders
        self.queue: list[PlainOrder] = []  # those that rest, earliest first
        self.placed = 0
        self.log: list[tuple[int, ...]] = []

    def _own(self, side: int, col: int) -> int:
        return self.prices[col] if side == 0 else DOLLAR - self.prices[col]

    def _held(self, side: int) -> int:
        """What is held of the other side: an order of this one closes it first."""
        return self.position if side == 1 else -self.position

    def _most_fees(self, price: int, size: int) -> int:
        fees: FeeSchedule = self.fee_schedule
        dearest = max(fees.trade_fee(Price(price), Size(size), taker=taker) for taker in (True, False))
        return dearest + fees.balance_precision

    def _fill(self, order: PlainOrder, col: int, size: int, *, taker: bool) -> int:
        """Book a fill and return its size: 0 where cash does not pay for it, which ends the order."""
        if size <= 0:
            return 0
        price = self._own(order.side, col)
        carried = order.fees.carried
        fee = order.fees.fill(Price(price), Size(size), buy=True, taker=taker).total
        pairs = min(max(self._held(order.side), 0), size)
        paid = price * size + fee - pairs * DOLLAR
        if paid > self.cash:
            order.fees.carried = carried
            self._end(order, k.NO_CASH)
            return 0
        self.cash -= paid
        self.fees += fee
        self.volume += size
        self.position += size if order.side == 0 else -size
        closes = order.left - order.opens
        order.opens -= size - min(size, closes)
        order.left -= size
        limit = self._own(order.side, order.col)
        needed = limit * order.opens + self._most_fees(limit, order.left) if order.left else 0
        self._reserve(order, min(needed, order.reserve))
        order.notional += price * size
        order.fee += fee
        order.first_us = order.first_us or self.now
        order.last_us = self.now
        self._note(k.TOOK if taker else k.MADE, order, col, size, fee)
        if order.left == 0:
            self._end(order, k.FILLED)
        return size

    def _reserve(self, order: PlainOrder, amount: int) -> None:
        self.reserved += amount - order.reserve
        order.reserve = amount

    def settle(self, value: int) -> None:
        """End every order and pay out, `value` of a YES contract."""
        self._end_all(k.SETTLED)
        self.cash += self.position * value if self.position > 0 else -self.position * (DOLLAR - value)
        self.position = 0

    def _refusal(self, order: PlainOrder) -> int:
        """Why it may not enter, or 0 and its reserve is held back."""
        if not 0 < order.left <= self.limits.max_order:
            return k.OVER_SIZE
        held = self._held(order.side)
        if order.flags & k.REDUCE_ONLY:
            if held <= 0:
                return k.OVER_POSITION
            order.left = min(order.left, held)
        for other in self.queue:
            if other.side != order.side and (other.col <= order.col if order.side == 0 else other.col >= order.col):
                return k.SELF_TRADE
        fellows = [other for other in self.queue if other.side == order.side]
        if sum(other.left for other in fellows) + order.left - held > self.limits.max_position:
            return k.OVER_POSITION
        promised = sum(other.left - other.opens for other in fellows)
        opens = order.left - min(max(held - promised, 0), order.left)
        own = self._own(order.side, order.col)
        reserve = own * opens + self._most_fees(own, order.left)
        if reserve > self.cash - self.reserved:
            return k.NO_CASH
        order.opens = opens
        self._reserve(order, reserve)
        return 0

    def _end(self, order: PlainOrder, reason: int) -> None:
        if order.status == k.RESTS:
            self.queue.remove(order)
        self._reserve(order, 0)
        order.status, order.reason = k.DONE, reason
        self._note(k.ENDED, order, order.col, reason, 0)

    def _end_all(self, reason: int) -> None:
        for order in self.slots:
            if order is not None and order.status != k.DONE:
                self._end(order, reason)

    def _note(self, kind: int, order: PlainOrder, col: int, size: int, fee: int) -> None:
        self.log.append((kind, self.now, order.number, order.side, col, size, order.ahead, order.left, fee))
