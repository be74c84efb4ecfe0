"""A market as a policy sees it live: the plain counterpart of `kflow.rl.columns`, bit for bit.

It follows a book that is known to be whole (`kflow.market.book` checks that) and keeps what `features.observe`
remembers. Lists of whole numbers, prices by column of the YES axis; loads neither numba nor NumPy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kflow.policy import features
from kflow.units import DOLLAR

_YES: Final = 0


class MarketView:
    """One market, from a book on. Sizes 1e-2 contract, prices 1e-4 dollar, times µs of the venue.

    Of each µs of the venue: every `change` and `trade`, then one `end_group`. `encode` between two groups only.
    """

    __slots__ = (
        "_bought", "_close_us", "_found", "_memory", "_prices", "_sold", "_taker_rate", "_trades", "ask", "bid", "book",
    )  # fmt: skip

    def __init__(self, prices: Sequence[int], *, close_us: int, taker_rate: float) -> None:
        """`prices`: [C] of the grid, ascending. close_us: -1 where it is not known. Nothing is seen before `begin`."""
        self._prices: Final = list(prices)
        self._close_us, self._taker_rate = close_us, taker_rate
        self._memory, self._found = [0.0] * features.MEMORY, [0.0] * 6
        self.book: list[list[int]] = [[0] * len(self._prices), [0] * len(self._prices)]  # YES bids, YES asks
        self.bid, self.ask = -1, len(self._prices)  # columns of the touch; these where nobody quotes
        self._bought = self._sold = self._trades = 0

    def closes(self, us: int) -> None:
        """The venue has moved the market's close."""
        self._close_us = us

    def begin(self, now_us: int, bids: Sequence[int], asks: Sequence[int]) -> None:
        """A book without a gap begins, sizes by column [C]; what was before is forgotten."""
        self.book = [list(bids), list(asks)]
        self.bid, self.ask = -1, len(self._prices)
        self._find_bid(len(self._prices) - 1)
        self._find_ask(0)
        self._bought = self._sold = self._trades = 0
        features.begin(self._memory, now_us, *self._touch())

    def change(self, side: int, column: int, delta: int) -> None:
        """A level became larger or smaller, and no taker took of it. side: 0 YES bids, 1 YES asks."""
        levels = self.book[side]
        size = levels[column] + delta
        levels[column] = size
        if side == _YES:
            if size and column > self.bid:
                self.bid = column
            elif not size and column == self.bid:
                self._find_bid(column)
        elif size and column < self.ask:
            self.ask = column
        elif not size and column == self.ask:
            self._find_ask(column)

    def trade(self, side: int, column: int, size: int, *, removes: bool) -> None:
        """A taker took of a level of `side`. removes: the level shrank by it, and no `change` tells so."""
        self._trades += 1
        if side == _YES:
            self._sold += size
        else:
            self._bought += size
        if removes:
            self.change(side, column, -size)

    def end_group(self, now_us: int) -> None:
        """All that happened in this µs was told."""
        features.observe(self._memory, now_us, self._bought, self._sold, self._trades, *self._touch())
        self._bought = self._sold = self._trades = 0

    def encode(self, now_us: int, out: features.Floats) -> None:
        """Write the market's features as of a moment to the front of `out`."""
        bids, asks = self.book
        features.encode_market(
            self._memory,
            now_us,
            bids,
            asks,
            self._prices,
            self.bid,
            self.ask,
            self._close_us,
            self._taker_rate,
            self._found,
            out,
        )

    def encode_own(
        self,
        position: int,
        equity: int,
        free: int,
        cash: int,
        max_position: int,
        max_order: int,
        orders: Sequence[int],
        count: int,
        out: features.Floats,
        at: int = len(features.MARKET),
    ) -> None:
        """Write what a policy has itself behind them: `features.encode_own` at this market's prices."""
        prices, bid, ask = self._prices, self.bid, self.ask
        features.encode_own(
            position, equity, free, cash, max_position, max_order, prices, bid, ask, orders, count, out, at
        )

    def _find_bid(self, column: int) -> None:
        levels = self.book[0]
        while column >= 0 and not levels[column]:
            column -= 1
        self.bid = column

    def _find_ask(self, column: int) -> None:
        levels, columns = self.book[1], len(self._prices)
        while column < columns and not levels[column]:
            column += 1
        self.ask = column

    def _touch(self) -> tuple[int, int, int, int]:
        """Best bid and its size, best ask and its size; 0 and a dollar, without size, where nobody quotes."""
        bids, asks = self.book
        bid, bid_size = (self._prices[self.bid], bids[self.bid]) if self.bid >= 0 else (0, 0)
        ask, ask_size = (self._prices[self.ask], asks[self.ask]) if self.ask < len(asks) else (int(DOLLAR), 0)
        return bid, bid_size, ask, ask_size
