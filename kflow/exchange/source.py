"""Where an exchange's messages come from. A source lists its markets, then sends through the hub until it ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from kflow.exchange.hub import Hub
from kflow.exchange.listing import Listing
from kflow.exchange.market import Venue
from kflow.exchange.writer import Writer
from kflow.market.events import Level


class Source(Protocol):
    """What feeds an exchange."""

    @property
    def sids(self) -> Mapping[str, int]:
        """Sids that its channels must get on every socket."""

    def prepare(self, venue: Venue, now_us: int) -> None:
        """List the markets, and give those that have begun their books."""

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

    def prepare(self, venue: Venue, now_us: int) -> None:  # noqa: ARG002 - its listings have their own times
        venue.list_markets(self._listings)
        for listing in self._listings:
            if listing.ticker in self._books:
                venue.apply([Writer(listing, venue.style).snapshot(self._books[listing.ticker], listing.open_us)])

    async def run(self, hub: Hub) -> None:
        """Nothing of its own to send."""
