"""The cash that an account's resting orders hold back in one market.

Of each side the best prices trade first, and they close an opposite position first, which needs no cash; what opens one
needs its own price (a bid p, an ask 1 - p) and the fee a maker may be charged. Sums are kept by price, so that a change
costs the same however many orders rest.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import msgspec

from kflow.market.events import Side
from kflow.market.fees import FeeSchedule
from kflow.units import DOLLAR, Money, Price, Size

if TYPE_CHECKING:
    from kflow.exchange.accounts import UserOrder


class Claim(msgspec.Struct, frozen=True):
    """What an order that rests, or would, may use. `price` is of YES."""

    side: Side
    price: Price
    size: Size

    @property
    def own_price(self) -> Price:
        return self.price if self.side == Side.YES else Price(DOLLAR - self.price)


class _Stack:
    """Claims of one side by own price: what they would cost, and price x (1 - price) x size for fees."""

    __slots__ = ("cost", "prices", "sizes", "variance")

    def __init__(self) -> None:
        self.sizes: dict[Price, int] = {}
        self.prices: list[Price] = []
        self.cost = self.variance = 0

    def move(self, own_price: Price, change: int) -> None:
        before = self.sizes.get(own_price, 0)
        if not before:
            insort(self.prices, own_price)
        self.sizes[own_price] = before + change
        if not before + change:
            del self.sizes[own_price], self.prices[bisect_left(self.prices, own_price)]
        self.cost += own_price * change
        self.variance += own_price * (DOLLAR - own_price) * change

    def opening(self, cover: int) -> tuple[int, int]:
        """Cost and variance of what is left after the best `cover` contracts."""
        cost, variance = self.cost, self.variance
        for own_price in reversed(self.prices):
            if cover <= 0:
                break
            size = min(cover, self.sizes[own_price])
            cover -= size
            cost -= own_price * size
            variance -= own_price * (DOLLAR - own_price) * size
        return cost, variance


class OpenOrders:
    """Orders of one account that rest in one market, oldest first."""

    __slots__ = ("_claims", "_orders", "_stacks", "reserved")

    def __init__(self) -> None:
        self._orders: Final[dict[str, UserOrder]] = {}
        self._claims: Final[dict[str, Claim]] = {}
        self._stacks: Final = (_Stack(), _Stack())  # by Side
        self.reserved = Money(0)  # as it was worked out last

    def __len__(self) -> int:
        return len(self._orders)

    def __iter__(self) -> Iterator[UserOrder]:
        return iter(self._orders.values())

    def track(self, order: UserOrder) -> None:
        """Note how an order rests now, or that it does not any more."""
        known = self._claims.pop(order.order_id, None)
        if known is not None:
            self._stacks[known.side].move(known.own_price, -known.size)
        if order.resting:
            claim = Claim(order.side, order.price, order.remaining)
            self._claims[order.order_id] = claim
            self._orders[order.order_id] = order
            self._stacks[claim.side].move(claim.own_price, claim.size)
        else:
            self._orders.pop(order.order_id, None)

    def collateral(
        self, held: int, schedule: FeeSchedule, *, instead: UserOrder | None = None, claim: Claim | None = None
    ) -> Money:
        """Cash needed with a position of `held`; with `claim` as if it rested too, or `instead` of another order."""
        moves = [(claim, 1)] if claim is not None and claim.size else []
        if instead is not None:
            moves.insert(0, (self._claims[instead.order_id], -1))
        for moved, sign in moves:
            self._stacks[moved.side].move(moved.own_price, sign * moved.size)
        cost = variance = 0
        for side in Side:
            opening, risk = self._stacks[side].opening(-held if side == Side.YES else held)
            cost, variance = cost + opening, variance + risk
        for moved, sign in reversed(moves):
            self._stacks[moved.side].move(moved.own_price, -sign * moved.size)
        return Money(cost + schedule.fee_on(variance, taker=False))
