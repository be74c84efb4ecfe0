"""Trades, tickers and lifecycle: from the records of the wire to events. Pure."""

from __future__ import annotations

from typing import Final

import msgspec

from kflow.kalshi import wire
from kflow.kalshi.livebook import Ranges, valid_prices
from kflow.market.events import Side, Ticker, Trade
from kflow.units import PRICES, SIZES, Price, Size

_TAKERS: Final = {"yes": int(Side.YES), "no": int(Side.NO), None: None}


class Lifecycle(msgspec.Struct):
    """`msg` of a market_lifecycle_v2, as far as a book depends on it."""

    market_ticker: wire.Text
    event_type: str
    price_ranges: Ranges | None = None


_LIFECYCLE: Final = msgspec.json.Decoder(Lifecycle)


def lifecycle_of(message: wire.Envelope) -> Lifecycle | None:
    """None for a message of another type. Raises MsgspecError, and Unrepresentable for ranges that are no grid."""
    if message.type != "market_lifecycle_v2":
        return None
    news = _LIFECYCLE.decode(message.msg)
    if news.price_ranges:
        valid_prices(news.price_ranges)
    return news


def trade_of(message: wire.TradeMessage) -> Trade:
    """Raises Unrepresentable for a number, KeyError for a side that is none."""
    body = message.msg
    return Trade(
        body.market_ticker,
        message.sid,
        message.seq,
        body.trade_id,
        PRICES[body.yes_price_dollars],
        SIZES[body.count_fp],
        _TAKERS[body.taker_outcome_side or body.taker_side],
        body.is_block_trade,
        body.ts_ms,
    )


def ticker_of(message: wire.TickerMessage) -> Ticker:
    """Raises Unrepresentable for a number that is none."""
    body = message.msg
    return Ticker(
        body.market_ticker,
        message.sid,
        message.seq,
        _price(body.price_dollars),
        _price(body.yes_bid_dollars),
        _price(body.yes_ask_dollars),
        _size(body.yes_bid_size_fp),
        _size(body.yes_ask_size_fp),
        _size(body.volume_fp),
        _size(body.open_interest_fp),
        body.ts_ms,
    )


def _price(text: str | None) -> Price | None:
    return None if text is None else PRICES[text]


def _size(text: str | None) -> Size | None:
    return None if text is None else SIZES[text]
