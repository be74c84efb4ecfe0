"""Where an exchange's messages come from. A source lists its markets, then sends through the hub until it ends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

from kflow.exchange.hub import Hub
from kflow.exchange.listing import Listing
from kflow.exchange.market import Quote, Venue, ticker_body
from kflow.exchange.messages import (
    DELTA_TYPE,
    ORDERBOOK,
    SNAPSHOT_TYPE,
    TICKER,
    TRADE,
    Message,
    Style,
    delta_body,
    delta_prefix,
    delta_suffix,
    legacy_delta,
    price_texts,
    snapshot_body,
    trade_body,
)
from kflow.market.events import Level
from kflow.market.times import format_rfc3339_us


class Source(Protocol):
    """What feeds an exchange."""

    @property
    def sids(self) -> Mapping[str, int]:
        """Sids that its channels must get on every socket."""

    def prepare(self, venue: Venue, now_us: int) -> None:
        """List the markets, and give those that have begun their books."""

    async def run(self, hub: Hub) -> None:
        """Send everything, at its pace. Returns when there is no more."""


class Writer:
    """Makes messages of one market."""

    def __init__(self, listing: Listing, style: Style) -> None:
        self.listing: Final = listing
        self._style = style
        self._prefix = delta_prefix(listing.ticker, listing.market_id)

    def deltas(self, changes: Iterable[tuple[int, int, int]], venue_us: int) -> list[Message]:
        """One group: changes (side, price, signed size) that share an exchange µs."""
        market, prefix, texts = self.listing.ticker, self._prefix, price_texts()
        suffix = delta_suffix(venue_us, format_rfc3339_us(venue_us))
        messages = []
        for side, price, change in changes:
            body = delta_body(prefix, side, texts[price], change, suffix)
            if self._style.legacy:
                body = legacy_delta(body, price, change)
            messages.append(Message(ORDERBOOK, DELTA_TYPE, market, body, venue_us, side, price, change))
        return messages

    def snapshot(self, levels: tuple[Sequence[Level], Sequence[Level]], venue_us: int) -> Message:
        book = (tuple(levels[0]), tuple(levels[1]))
        body = snapshot_body(self.listing.ticker, self.listing.market_id, book, style=self._style)
        return Message(ORDERBOOK, SNAPSHOT_TYPE, self.listing.ticker, body, venue_us, levels=book)

    def trade(self, trade_id: str, fill: tuple[int, int, int], venue_us: int) -> Message:
        """`fill`: YES price, size, side the taker bought."""
        price, size, taker = fill
        body = trade_body(self.listing.ticker, trade_id, price, size, taker, venue_us)
        return Message(TRADE, TRADE, self.listing.ticker, body, venue_us, taker, price, size)

    def ticker(self, quote: Quote, venue_us: int) -> Message:
        return Message(TICKER, TICKER, self.listing.ticker, ticker_body(self.listing, quote, venue_us), venue_us)


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
