"""One market as the crowd sees it: what it is worth, where its best quotes are, what the grid allows."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Final

from kflow.exchange.belief import Belief
from kflow.exchange.listing import Listing
from kflow.exchange.matching import OrderBook
from kflow.market.events import Side
from kflow.market.grid import Grid
from kflow.units import DOLLAR

# The other side. The enum's own constructor costs more than what is done with it.
OTHER: Final = (Side.NO, Side.YES)


class CrowdMarket:
    """One market as the crowd sees it. Prices of a side are its own bid prices, as in the engine; 0 stands for none."""

    def __init__(self, listing: Listing, belief: Belief, book: OrderBook, seconds_left: float) -> None:
        self.listing: Final = listing
        self.belief: Final = belief
        self.book: Final = book
        # Set to False when trading ends or halts: nothing happens then.
        self.open = True
        # Counted down by `plan`. A source whose clock is not the crowd's may set it before each.
        self.seconds_left = seconds_left
        # This market's events in relation to the preset's.
        self.weight = 1.0
        self.regrid(listing.grid)
        # The crowd's best prices when the current event began.
        self.touch = [0, 0]
        # How far quotes keep from m, and how much more than usual one event may tell (a factor of variance).
        self.margin = 0.0
        self.urgency = 1.0
        # Whether the last event was a taker's.
        self.swept = False

    def regrid(self, grid: Grid) -> None:
        """Quote on this grid from now on. Orders that rest stay where they are."""
        yes = [int(price) for price in grid.prices()]
        self.prices = (yes, [DOLLAR - price for price in reversed(yes)])
        # The touch that was last asked about, and the price above it.
        self._passed, self._next = [-1, -1], [0, 0]

    def worth(self, side: Side) -> float:
        """What the crowd believes that one contract of a side is worth, in Price units."""
        value = self.belief.value
        return value if side == Side.YES else DOLLAR - value

    def openness(self) -> float:
        """How undecided the market is: 1 at 50 %, 0 at either end. Prices move and spread in proportion."""
        p = self.belief.value / DOLLAR
        return 4 * p * (1 - p)

    def find_touch(self, side: Side) -> int:
        """The best price of a side at which an order of the crowd rests."""
        book = self.book
        for price in reversed(book.prices(side)):
            first = book.pick(side, price, 0.0)
            if first is not None and first.owner is None:
                return price
            if any(order.owner is None for order in book.orders_at(side, price)):
                return price
        return 0

    def passed(self, by: float) -> bool:
        """Whether m lies beyond a best quote of the crowd, by more than this much."""
        value = self.belief.value
        return self.touch[0] - by > value or DOLLAR - self.touch[1] + by < value

    def at_or_below(self, side: Side, own_price: float) -> int:
        """The highest price of the grid up to this one."""
        prices = self.prices[side]
        position = bisect_right(prices, own_price)
        return prices[position - 1] if position else 0

    def at_or_beyond(self, taker: Side, price: int) -> int:
        """The YES price of the grid nearest to one that a taker meets, on the far side of it; 0 where there is none."""
        if taker == Side.NO:
            return self.at_or_below(Side.YES, price)
        beyond = self.at_or_below(Side.NO, DOLLAR - price)
        return DOLLAR - beyond if beyond else 0

    def moved(self, side: Side, own_price: int, ticks: int) -> int:
        """The price so many ticks higher, within the grid."""
        prices = self.prices[side]
        position = bisect_left(prices, own_price) + ticks
        return prices[min(max(position, 0), len(prices) - 1)]

    def lags(self, side: Side, margin: float) -> bool:
        """Whether there is a better price than the touch that keeps a margin from m."""
        touch = self.touch[side]
        if touch != self._passed[side]:
            prices = self.prices[side]
            position = bisect_right(prices, touch)
            self._passed[side] = touch
            self._next[side] = prices[position] if position < len(prices) else DOLLAR
        if self._next[side] > self.worth(side) - margin:
            return False
        return self.ceiling(side, margin) > touch

    def ceiling(self, side: Side, margin: float) -> int:
        """The best price that keeps a margin from m and meets no order of the other side."""
        highest = self.worth(side) - margin
        other = self.book.best(OTHER[side])
        if other is not None and DOLLAR - other <= highest:
            highest = DOLLAR - other - 1
        return self.at_or_below(side, highest)
