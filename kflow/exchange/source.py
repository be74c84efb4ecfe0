"""Where an exchange's messages come from. A source lists its markets, then sends through the hub until it ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from kflow.exchange.control import Control
from kflow.exchange.hub import Hub
from kflow.exchange.listing import Listing
from kflow.exchange.matching import OrderBook
from kflow.exchange.orders import Order
from kflow.exchange.writer import Writer
from kflow.market.events import Level, Side
from kflow.units import complement


class Source(Protocol):
    """What feeds an exchange."""

    @property
    def sids(self) -> Mapping[str, int]:
        """Sids that its channels must get on every socket."""

    def prepare(self, control: Control, now_us: int) -> None:
        """List the markets, and give those that have begun their books.

        A market that is to be matched gets its engine here (`control.clearing.open_market`); the others follow their
        published books. A source that lives in another time than the clock's sets `control.clearing.time`.
        """

    async def run(self, hub: Hub) -> None:
        """Send everything, at its pace. Returns when there is no more."""


class ManualSource:
    """Lists markets and sends nothing: whoever holds the hub publishes, message by message."""

    def __init__(
        self, listings: Sequence[Listing], books: Mapping[str, tuple[Sequence[Level], Sequence[Level]]]
    ) -> None:
        """`books`: the levels each market starts with, by ticker; markets without one have not begun."""
        self._listings, self._books = tuple(listings), dict(books)
        self.sids: Mapping[str, int] = {}

    def prepare(self, control: Control, now_us: int) -> None:  # noqa: ARG002 - its listings have their own times
        venue = control.clearing.venue
        control.clearing.time = lambda: venue.now_us
        venue.list_markets(self._listings)
        for listing in self._listings:
            if listing.ticker in self._books:
                venue.apply([Writer(listing, venue.style).snapshot(self._books[listing.ticker], listing.open_us)])

    async def run(self, hub: Hub) -> None:
        """Nothing of its own to send."""


class MatchedSource:
    """Lists markets that are matched, and sends nothing: only orders move them. Their first levels belong to nobody."""

    def __init__(
        self, listings: Sequence[Listing], books: Mapping[str, tuple[Sequence[Level], Sequence[Level]]]
    ) -> None:
        """`books`: the levels each market starts with, one order each, by ticker; the others start empty."""
        self._listings, self._books = tuple(listings), dict(books)
        self.sids: Mapping[str, int] = {}

    def prepare(self, control: Control, now_us: int) -> None:
        clearing = control.clearing
        clearing.venue.list_markets(self._listings)
        for listing in self._listings:
            engine = OrderBook(listing.grid)
            for side, levels in zip(Side, self._books.get(listing.ticker, ((), ())), strict=True):
                for own_price, size in levels:
                    price = own_price if side == Side.YES else complement(own_price)
                    engine.submit(Order(side, price, size))
            market = clearing.open_market(listing, engine)
            clearing.venue.apply([market.writer.snapshot(engine.book(), now_us)])

    async def run(self, hub: Hub) -> None:
        """Nothing of its own to send."""
