"""One market's order book: two bid sides as the venue sends them; asks are complements, derived on read.

A side is a dict of levels beside a list of its prices kept in order by bisection: measured twice as fast as a sorted
dict under real deltas, and the best bid is the list's last entry (docs/decisions/0001-book-structure.md).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from typing import Final

import msgspec

from kflow.errors import BookError
from kflow.market.events import Level, Side
from kflow.units import DOLLAR, Price, Size

MAX_SIZE: Final = 2**63 - 1  # what a table's bigint holds


class BookView(msgspec.Struct, frozen=True):
    """An immutable copy of a book at one version. Levels ascend by price: the best bid is the last."""

    market: str
    version: int
    live: bool  # False: between a gap and its snapshot; the levels are the last known, not the present ones
    yes: tuple[Level, ...]
    no: tuple[Level, ...]

    @property
    def best_yes_bid(self) -> Level | None:
        return self.yes[-1] if self.yes else None

    @property
    def best_no_bid(self) -> Level | None:
        return self.no[-1] if self.no else None

    @property
    def best_yes_ask(self) -> Level | None:
        """The complement of the best NO bid; None where nobody offers."""
        return (Price(DOLLAR - self.no[-1][0]), self.no[-1][1]) if self.no else None

    @property
    def spread(self) -> int | None:
        """Best YES ask - best YES bid, in Price units; None where a side is empty."""
        if not self.yes or not self.no:
            return None
        return DOLLAR - self.no[-1][0] - self.yes[-1][0]


class Book:
    """A mutable book with one owner. Readers elsewhere take a `view`."""

    __slots__ = ("_levels", "_prices", "live", "market", "version")

    def __init__(self, market: str) -> None:
        self.market: Final = market
        # Rises whenever the book may be looked at anew: at the end of each exchange-µs group (design 1.5).
        self.version = 0
        # True from a snapshot until the next gap. Levels of a book that is not live are stale.
        self.live = False
        # Indexed by Side: size of each level, and its prices in ascending order.
        self._levels: tuple[dict[Price, Size], dict[Price, Size]] = ({}, {})
        self._prices: tuple[list[Price], list[Price]] = ([], [])

    def apply(self, side: int, price: Price, change: Size) -> Size:
        """Change one level and return its new size. Raises BookError, changing nothing, if it is none."""
        levels = self._levels[side]
        before = levels.get(price)
        if before is None:
            if change <= 0:
                if change == 0:
                    return Size(0)
                raise BookError(f"{self.market}: {change} at {Side(side).name} {price}, where nothing rests")
            levels[price] = change
            insort(self._prices[side], price)
            return change
        after: Size = before + change  # type: ignore[assignment]  # a call of Size would cost as much as all this
        if 0 < after <= MAX_SIZE:
            levels[price] = after
            return after
        if after > MAX_SIZE:
            raise BookError(f"{self.market}: {change} at {Side(side).name} {price} makes more than can be counted")
        if after < 0:
            raise BookError(f"{self.market}: {change} at {Side(side).name} {price}, where only {before} rests")
        del levels[price]
        prices = self._prices[side]
        del prices[bisect_left(prices, price)]
        return after

    def replace(self, yes: Iterable[Level], no: Iterable[Level]) -> None:
        """Become the snapshot. Raises BookError, changing nothing, for a repeated price or a size that is not > 0."""
        sides = []
        for levels in (tuple(yes), tuple(no)):
            side = dict(levels)
            if len(side) != len(levels) or any(size <= 0 for size in side.values()):
                raise BookError(f"{self.market}: a snapshot repeats a price or holds a level of no size")
            sides.append(side)
        self._levels = (sides[0], sides[1])
        self._prices = (sorted(sides[0]), sorted(sides[1]))

    @property
    def crossed(self) -> bool:
        """Somebody bids more than $1 for the pair. Meaningful only at the end of an exchange-µs group."""
        yes, no = self._prices
        return yes[-1] + no[-1] > DOLLAR if yes and no else False

    def best(self, side: Side) -> Level | None:
        """Highest bid of a side and its size."""
        prices = self._prices[side]
        return (prices[-1], self._levels[side][prices[-1]]) if prices else None

    def size_at(self, side: Side, price: Price) -> Size:
        return self._levels[side].get(price, Size(0))

    def levels(self, side: Side) -> tuple[Level, ...]:
        """Every level of a side, ascending by price."""
        sizes = self._levels[side]
        return tuple([(price, sizes[price]) for price in self._prices[side]])

    def view(self) -> BookView:
        return BookView(self.market, self.version, self.live, self.levels(Side.YES), self.levels(Side.NO))
