"""Messages of one market: what happened in, bodies out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from kflow.exchange.accounts import UserOrder
from kflow.exchange.listing import Listing
from kflow.exchange.market import Quote, ticker_body
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
from kflow.exchange.orders import Order
from kflow.market.events import Level
from kflow.market.times import format_rfc3339_us


class Writer:
    """Makes messages of one market."""

    def __init__(self, listing: Listing, style: Style) -> None:
        self.listing: Final = listing
        self._style, self._legacy = style, style.legacy
        self._texts = price_texts()
        self._prefix = delta_prefix(listing.ticker, listing.market_id)

    def deltas(self, changes: Iterable[tuple[int, int, int]], venue_us: int) -> list[Message]:
        """One group: changes (side, price, signed size) that share an exchange µs."""
        return self.changes([(side, price, change, None) for side, price, change in changes], venue_us)

    def changes(self, changes: Iterable[tuple[int, int, int, Order | None]], venue_us: int) -> list[Message]:
        """One group of an engine's changes; those that an account caused are marked for it (protocol section 4.1)."""
        market, prefix, texts = self.listing.ticker, self._prefix, self._texts
        suffix = delta_suffix(venue_us, format_rfc3339_us(venue_us))
        messages = []
        for side, price, change, order in changes:
            body = delta_body(prefix, side, texts[price], change, suffix)
            if self._legacy:
                body = legacy_delta(body, price, change)
            message = Message(ORDERBOOK, DELTA_TYPE, market, body, venue_us, side, price, change)
            messages.append(_marked(message, order) if isinstance(order, UserOrder) else message)
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


def _marked(message: Message, order: UserOrder) -> Message:
    """A delta that the sockets of the order's account see with its ids."""
    ids: dict[str, object] = {"subaccount": order.account.subaccount}
    if order.client_order_id is not None:
        ids = {"client_order_id": order.client_order_id, **ids}
    own_body = f"{message.body[:-1]},{msgspec.json.encode(ids).decode()[1:]}"
    return msgspec.structs.replace(
        message, account=order.account.user_id, subaccount=order.account.subaccount, own_body=own_body
    )
