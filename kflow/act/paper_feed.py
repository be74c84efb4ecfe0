"""What a feed says of books and trades, as the paper venue reads it: by the rules of `replay.stretches`."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from kflow.act.paper_tape import Event, HeldTape
from kflow.market.events import BookDelta, BookSnapshot, FeedEvent, Level, Side, Trade
from kflow.market.grid import Grid
from kflow.market.times import venue_us
from kflow.sim.tape import LEVEL_LIMIT
from kflow.units import DOLLAR, Price

_log = logging.getLogger(__name__)

Levels = list[int]  # sizes by column


class Word(NamedTuple):
    """What one event means. us: its own time, 0 where it has none."""

    us: int = 0
    over: list[Event] | None = None  # the book was whole up to here, and this is what was held back of it
    begins: tuple[int, Levels, Levels] | None = None  # a book begins: µs, bids, asks


_NOTHING: Final = Word()


class _Fed:
    """One market."""

    def __init__(self, grid: Grid, hold_us: int) -> None:
        self.grid = grid
        self.held = HeldTape(hold_us)
        self.live = False
        self.book: tuple[Levels, Levels] = ([], [])

    def levels(self, side: Side, levels: Iterable[Level]) -> Levels:
        sizes = [0] * len(self.grid)
        for price, size in levels:
            sizes[self.column(side, price)] = size
        return sizes

    def column(self, side: int, price: int) -> int:
        """Raises Unrepresentable."""
        return self.grid.index(Price(DOLLAR - price if side else price))


class PaperFeed:
    """Follows books and trades, and gives back what is certain of them."""

    def __init__(self, grids: Mapping[str, Grid], hold_us: int) -> None:
        self._markets: Final = {name: _Fed(grid, hold_us) for name, grid in grids.items()}

    @property
    def late(self) -> int:
        """Changes that came after their time was told."""
        return sum(market.held.late for market in self._markets.values())

    def take(self, event: FeedEvent, now_us: int) -> Word:
        """An event of one of the markets, of `now_us` where it has no time. Raises Unrepresentable off the grid."""
        market = self._markets[str(event.market)]
        if isinstance(event, BookSnapshot):
            return self._snapshot(market, event, now_us)
        if isinstance(event, BookDelta):
            return self._delta(market, event)
        if isinstance(event, Trade):
            return self._trade(market, event)
        return _NOTHING

    def release(self, name: str, now_us: int) -> list[Event]:
        """What is certain of a market at a moment."""
        return self._markets[name].held.release(now_us)

    def end(self, name: str) -> list[Event] | None:
        """A market's book is not followed any more: what was held of it; None where it was not followed before."""
        return self._end(self._markets[name])

    @staticmethod
    def _end(market: _Fed) -> list[Event] | None:
        if not market.live:
            return None
        market.live = False
        return market.held.finish()

    def _snapshot(self, market: _Fed, event: BookSnapshot, now_us: int) -> Word:
        us = now_us if event.venue_ms is None else event.venue_ms * 1000
        book = market.levels(Side.YES, event.yes), market.levels(Side.NO, event.no)
        if market.live and book == market.book:
            return Word(us)  # no news
        over = self._end(market)
        if not event.yes and not event.no:
            return Word(us, over)  # what the venue sends when a market has closed
        market.book, market.live = book, True
        market.held.begin(us)
        return Word(us, over, (us, book[0], book[1]))

    def _delta(self, market: _Fed, event: BookDelta) -> Word:
        if not market.live:
            return _NOTHING
        if event.size is None:
            return Word(0, self._end(market))
        column = market.column(event.side, event.price)
        levels = market.book[event.side]
        if not 0 <= levels[column] + event.change < LEVEL_LIMIT:
            _log.warning("%s: a level would hold %d: its book is not followed", event.market, event.change)
            return Word(0, self._end(market))
        levels[column] += event.change
        us = venue_us(event.venue_ts, event.venue_ms)
        market.held.change(us, event.side, column, event.change)
        return Word(us or 0)

    @staticmethod
    def _trade(market: _Fed, event: Trade) -> Word:
        if not market.live or event.is_block or event.taker is None:
            return _NOTHING
        us = None if event.venue_ms is None else event.venue_ms * 1000
        market.held.trade(us, 1 - event.taker, market.grid.index(event.price), event.size)
        return Word(us or 0)
