"""A book on a live connection: its subscription, its grid, and its state at the end of the last whole group."""

from __future__ import annotations

from collections.abc import Container
from functools import lru_cache

import msgspec

from kflow.market.book import Book, BookView
from kflow.market.events import Side
from kflow.market.grid import Grid
from kflow.units import Price, Size

Ranges = list[dict[str, str]]


@lru_cache(maxsize=256)
def _prices_of(ranges: bytes) -> frozenset[Price]:
    """Valid prices of a grid; markets share a handful of grids."""
    return frozenset(Grid.parse(msgspec.json.decode(ranges, type=Ranges)).prices())


def valid_prices(ranges: Ranges | None) -> Container[Price] | None:
    """Prices on the grid, or None where it is not known."""
    return None if ranges is None else _prices_of(msgspec.json.encode(ranges))


class LiveBook(Book):
    """A book and what the connection knows of it."""

    __slots__ = ("grid", "sid", "started")

    def __init__(self, market: str, sid: int, grid: Container[Price] | None) -> None:
        super().__init__(market)
        self.sid = sid
        # A snapshot has come on this sid.
        self.started = False
        # Valid prices, where they are known.
        self.grid = grid


Change = tuple[LiveBook, int, Price, Size]


def view_without(book: LiveBook, half: list[Change]) -> BookView:
    """The book as it was before the changes of a group that may not be whole."""
    sides = (dict(book.levels(Side.YES)), dict(book.levels(Side.NO)))
    for _, side, price, change in half:
        before = sides[side].get(price, 0) - change
        if before:
            sides[side][price] = Size(before)
        else:
            sides[side].pop(price, None)
    return BookView(
        book.market,
        book.version,
        book.live,
        tuple(sorted(sides[Side.YES].items())),
        tuple(sorted(sides[Side.NO].items())),
    )
