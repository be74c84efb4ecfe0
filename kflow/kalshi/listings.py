"""What REST says of series, events, markets and books, as frozen records in our units (kalshi-protocol section 5.4).

Fields that kflow does not use stay in `raw`. Times are microseconds since 1970. None means that the venue did not say.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final, TypeVar

import msgspec

from kflow.errors import MalformedFrame
from kflow.market.events import Level
from kflow.market.grid import Grid
from kflow.market.times import parse_rfc3339_us
from kflow.units import Price, Size, parse_price, parse_size

Json = dict[str, Any]


class MarketInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One market."""

    ticker: str
    event_ticker: str
    title: str
    yes_sub_title: str
    status: str  # initialized, active, inactive, closed, determined, disputed, amended, finalized
    open_us: int
    close_us: int
    price_level_structure: str
    price_ranges: tuple[dict[str, str], ...]
    floor_strike: Decimal | None
    cap_strike: Decimal | None
    volume: Size | None
    result: str | None  # yes, no, scalar
    settlement_value: Price | None  # what YES paid
    settled_us: int | None
    fee_waiver_until_us: int | None
    exchange_index: int | None
    raw: Json

    @property
    def active(self) -> bool:
        """Whether it trades, so that its book moves."""
        return self.status == "active"

    @property
    def grid(self) -> Grid:
        """Its prices. Raises Unrepresentable for ranges that make none."""
        return Grid.parse(self.price_ranges)


class EventInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One question and, where they were asked for, its markets."""

    ticker: str
    series_ticker: str
    title: str
    sub_title: str
    mutually_exclusive: bool
    fee_type_override: str | None
    fee_multiplier_override: Decimal | None
    exchange_index: int | None
    markets: tuple[MarketInfo, ...]
    raw: Json


class SeriesInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A family of events. Its fees hold for every market whose event does not override them."""

    ticker: str
    title: str
    frequency: str
    category: str
    fee_type: str
    fee_multiplier: Decimal
    exchange_index: int | None
    raw: Json


class RestBook(msgspec.Struct, frozen=True):
    """A whole book at the moment it was asked for, in prices of each side; levels ascend."""

    ticker: str
    yes: tuple[Level, ...]
    no: tuple[Level, ...]


class ExchangeStatus(msgspec.Struct, frozen=True):
    """Whether the venue is open; it says so even in the body of a 503."""

    exchange_active: bool
    trading_active: bool
    exchange_estimated_resume_time: str | None = None


class TokenBucket(msgspec.Struct, frozen=True):
    """Tokens that come back each second, and how many can be saved up."""

    refill_rate: int
    bucket_capacity: int


class AccountLimits(msgspec.Struct, frozen=True):
    """How often the account may ask; a request costs 10 tokens unless the venue says else."""

    usage_tier: str
    read: TokenBucket
    write: TokenBucket


class _Market(msgspec.Struct):
    ticker: str
    event_ticker: str
    status: str
    open_time: str
    close_time: str
    price_ranges: tuple[dict[str, str], ...]
    title: str = ""
    yes_sub_title: str = ""
    price_level_structure: str = ""
    floor_strike: Decimal | None = None
    cap_strike: Decimal | None = None
    volume_fp: str | None = None
    result: str | None = None
    settlement_value_dollars: str | None = None
    settlement_ts: str | None = None
    fee_waiver_expiration_time: str | None = None
    exchange_index: int | None = None


class _Event(msgspec.Struct):
    event_ticker: str
    series_ticker: str
    title: str = ""
    sub_title: str = ""
    mutually_exclusive: bool = False
    fee_type_override: str | None = None
    fee_multiplier_override: Decimal | None = None
    exchange_index: int | None = None
    markets: list[msgspec.Raw] | None = None


class _Series(msgspec.Struct):
    ticker: str
    fee_type: str
    fee_multiplier: Decimal
    title: str = ""
    frequency: str = ""
    category: str = ""
    exchange_index: int | None = None


class _Sides(msgspec.Struct):
    # Prices and sizes are texts; some servers send numbers.
    yes_dollars: list[tuple[Any, Any]] | None = None
    no_dollars: list[tuple[Any, Any]] | None = None


class OneMarket(msgspec.Struct):
    market: msgspec.Raw


class OneEvent(msgspec.Struct):
    event: msgspec.Raw
    # Deprecated place of the nested markets; read where the event itself has none.
    markets: list[msgspec.Raw] | None = None


class OneSeries(msgspec.Struct):
    series: msgspec.Raw


class OneBook(msgspec.Struct):
    orderbook_fp: _Sides


class _BookEntry(msgspec.Struct):
    ticker: str
    orderbook_fp: _Sides


class ManyBooks(msgspec.Struct):
    orderbooks: list[_BookEntry]


class MarketsPage(msgspec.Struct):
    markets: list[msgspec.Raw]
    cursor: str | None = None


class EventsPage(msgspec.Struct):
    events: list[msgspec.Raw]
    cursor: str | None = None


T = TypeVar("T")
_RAW: Final = msgspec.json.Decoder(Json)


def decode(kind: type[T], body: bytes | msgspec.Raw, what: str) -> T:
    """`body` as a `kind`; numbers of untyped fields stay exact. Raises MalformedFrame that names `what`."""
    return _decoded(msgspec.json.Decoder(kind, float_hook=Decimal), body, what)


def _decoded(decoder: msgspec.json.Decoder[T], body: bytes | msgspec.Raw, what: str) -> T:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedFrame(f"{what}: the answer is not what the venue documents: {error}") from None


def market_info(body: msgspec.Raw) -> MarketInfo:
    """Raises MalformedFrame and Unrepresentable."""
    wire = decode(_Market, body, "market")
    return MarketInfo(
        ticker=wire.ticker,
        event_ticker=wire.event_ticker,
        title=wire.title,
        yes_sub_title=wire.yes_sub_title,
        status=wire.status,
        open_us=parse_rfc3339_us(wire.open_time),
        close_us=parse_rfc3339_us(wire.close_time),
        price_level_structure=wire.price_level_structure,
        price_ranges=wire.price_ranges,
        floor_strike=wire.floor_strike,
        cap_strike=wire.cap_strike,
        volume=None if wire.volume_fp is None else parse_size(wire.volume_fp),
        result=wire.result or None,
        settlement_value=parse_price(wire.settlement_value_dollars) if wire.settlement_value_dollars else None,
        settled_us=_time(wire.settlement_ts),
        fee_waiver_until_us=_time(wire.fee_waiver_expiration_time),
        exchange_index=wire.exchange_index,
        raw=_decoded(_RAW, body, "market"),
    )


def event_info(body: msgspec.Raw, markets: Iterable[msgspec.Raw] = ()) -> EventInfo:
    """`markets` stand in where the event carries none. Raises MalformedFrame and Unrepresentable."""
    wire = decode(_Event, body, "event")
    raw = _decoded(_RAW, body, "event")
    raw.pop("markets", None)  # each market keeps its own
    return EventInfo(
        ticker=wire.event_ticker,
        series_ticker=wire.series_ticker,
        title=wire.title,
        sub_title=wire.sub_title,
        mutually_exclusive=wire.mutually_exclusive,
        fee_type_override=wire.fee_type_override or None,
        fee_multiplier_override=wire.fee_multiplier_override,
        exchange_index=wire.exchange_index,
        markets=tuple(market_info(market) for market in wire.markets or markets),
        raw=raw,
    )


def series_info(body: msgspec.Raw) -> SeriesInfo:
    """Raises MalformedFrame."""
    wire = decode(_Series, body, "series")
    return SeriesInfo(
        ticker=wire.ticker,
        title=wire.title,
        frequency=wire.frequency,
        category=wire.category,
        fee_type=wire.fee_type,
        fee_multiplier=wire.fee_multiplier,
        exchange_index=wire.exchange_index,
        raw=_decoded(_RAW, body, "series"),
    )


def rest_book(ticker: str, sides: _Sides) -> RestBook:
    """Raises Unrepresentable."""
    return RestBook(ticker, _levels(sides.yes_dollars), _levels(sides.no_dollars))


def _levels(levels: list[tuple[Any, Any]] | None) -> tuple[Level, ...]:
    return tuple(sorted((parse_price(price), parse_size(size)) for price, size in levels or ()))


def _time(text: str | None) -> int | None:
    return parse_rfc3339_us(text) if text else None
