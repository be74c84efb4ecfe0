"""The venue's state: what is listed, every book, the last trades. It changes only by the messages that go out."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from kflow.errors import BookError
from kflow.exchange.listing import EventListing, Listing, SeriesListing
from kflow.exchange.messages import (
    DELTA_TYPE,
    LIFECYCLE,
    PLAIN,
    SNAPSHOT_TYPE,
    TICKER,
    TRADE,
    Message,
    Style,
    in_yes_prices,
    price_texts,
    size_text,
    snapshot_body,
)
from kflow.market.book import Book
from kflow.market.events import Side
from kflow.market.times import US_PER_S, format_rfc3339_us
from kflow.units import CONTRACT, DOLLAR, SIZES

MINUTE_US: Final = 60 * US_PER_S
# What REST can still show of one market; recording is the recorder's work.
TRADES_KEPT: Final = 2000
CANDLES_KEPT: Final = 10_000


@dataclass(slots=True)
class Candle:
    """One minute: open, low, high, close of each price, in Price units."""

    end_us: int
    bid: list[int]
    ask: list[int]
    price: list[int] | None = None
    volume: int = 0
    open_interest: int = 0


@dataclass(frozen=True, slots=True)
class Quote:
    """A market's top and totals: Price and Size units; 0 and $1 with no size where nobody quotes."""

    bid: int
    bid_size: int
    ask: int
    ask_size: int
    last: int
    last_size: int
    volume: int
    open_interest: int


@dataclass(slots=True)
class MarketState:
    """One market as it is now."""

    listing: Listing
    book: Book
    # False until the first snapshot: subscribers of a market that has not begun get silence, not an empty book.
    known: bool = False
    status: str = "active"
    close_us: int = 0
    result: str = ""
    settlement_value: str | None = None
    settled_us: int | None = None
    last_price: int | None = None
    last_size: int = 0
    volume: int = 0  # Size; counts both sides of every trade, as the venue's tickers do
    open_interest: int = 0
    updated_us: int = 0
    ticker_body: str | None = None  # the last that went out
    trades: deque[Message] = field(default_factory=lambda: deque(maxlen=TRADES_KEPT))
    trade_count: int = 0
    candles: deque[Candle] = field(default_factory=lambda: deque(maxlen=CANDLES_KEPT))

    def touch(self) -> tuple[int, int, int, int]:
        """YES bid, its size, YES ask, its size; 0 and $1 with no size where nobody quotes."""
        bid, offer = self.book.best(Side.YES), self.book.best(Side.NO)
        bid_price, bid_size = bid or (0, 0)
        no_price, ask_size = offer or (0, 0)
        return bid_price, bid_size, DOLLAR - no_price, ask_size

    def quote(self) -> Quote:
        return Quote(*self.touch(), self.last_price or 0, self.last_size, self.volume, self.open_interest)


class Venue:
    """Everything listed. `apply` is the only way in which it moves."""

    def __init__(self, style: Style = PLAIN) -> None:
        self.style: Final = style
        self.series: dict[str, SeriesListing] = {}
        self.events: dict[str, EventListing] = {}
        self.markets: dict[str, MarketState] = {}
        self.now_us = 0
        # Cancellations only while trading is paused; nothing at all while the exchange is.
        self.trading_active = self.exchange_active = True
        self.snapshots_served = 0
        # Go on when a message contradicts its book (a recording may), and count it.
        self.lenient = False
        self.contradictions = 0
        self._tickers_by_id: dict[str, str] = {}

    def list_series(self, *series: SeriesListing) -> None:
        self.series.update({entry.ticker: entry for entry in series})

    def list_events(self, *events: EventListing) -> None:
        self.events.update({entry.ticker: entry for entry in events})

    def list_markets(self, listings: Iterable[Listing]) -> None:
        """Add markets; their series and events are listed too where nobody has named them."""
        for listing in listings:
            if listing.series not in self.series:
                self.list_series(SeriesListing(ticker=listing.series, title=listing.series))
            if listing.event not in self.events:
                self.list_events(EventListing(ticker=listing.event, series=listing.series, title=listing.title))
            state = MarketState(listing, Book(listing.ticker), close_us=listing.close_us, result=listing.result)
            state.updated_us = listing.open_us
            if listing.archived:
                state.status, state.settled_us = "finalized", listing.close_us + listing.settle_after_s * US_PER_S
                state.settlement_value = "1.0000" if listing.result == "yes" else "0.0000"
            self.markets[listing.ticker] = state
            self._tickers_by_id[listing.market_id] = listing.ticker

    def live(self) -> list[MarketState]:
        """Markets of the live endpoints."""
        return [state for state in self.markets.values() if not state.listing.archived]

    def status(self, state: MarketState) -> str:
        """Status as REST shows it: opening and closing happen by the clock, without a message."""
        if state.status == "active" and self.now_us >= state.close_us:
            return "closed"
        if state.status == "active" and self.now_us and self.now_us < state.listing.open_us:
            return "initialized"
        return state.status

    # What subscriptions ask for.

    def snapshot_body(self, market: str, *, yes_prices: bool, begun_only: bool = False) -> str | None:
        state = self.markets.get(market)
        if state is None or (begun_only and not state.known):
            return None
        self.snapshots_served += 1
        levels = (state.book.levels(Side.YES), state.book.levels(Side.NO))
        return snapshot_body(market, state.listing.market_id, levels, style=self.style, yes_prices=yes_prices)

    def forget_books(self) -> None:
        """Let every market wait for its first snapshot again."""
        for state in self.markets.values():
            state.book.replace((), ())
            state.known = False

    def yes_price_body(self, message: Message) -> str:
        state = self.markets.get(message.market)
        return in_yes_prices(message, state.listing.market_id if state else "", self.style)

    def ticker_body(self, market: str) -> str | None:
        state = self.markets.get(market)
        if state is None or not state.known:
            return None
        return state.ticker_body or ticker_body(state.listing, state.quote(), self.now_us)

    def ticker_of(self, market_id: str) -> str | None:
        return self._tickers_by_id.get(market_id)

    # What goes out.

    def apply(self, messages: Iterable[Message]) -> None:
        """Let messages that are about to go out change the venue. Raises BookError for one that contradicts it."""
        markets = self.markets
        for message in messages:
            state = markets.get(message.market)
            if state is None:
                continue
            if message.kind == DELTA_TYPE:
                try:
                    state.book.apply(message.side, message.price, message.change)  # type: ignore[arg-type]
                except BookError:
                    if not self.lenient:
                        raise
                    self.contradictions += 1
            else:
                self._apply_other(state, message)
            if message.venue_us > self.now_us:
                self.now_us = message.venue_us

    def heed(self, message: Message) -> Message:
        """Let news of a market change it now; returns the message that tells of it."""
        self._apply_lifecycle(self.markets[message.market], msgspec.json.decode(message.body))
        return msgspec.structs.replace(message, done=True)

    def _apply_other(self, state: MarketState, message: Message) -> None:
        if message.kind == SNAPSHOT_TYPE and message.levels is not None:
            state.book.replace(*message.levels)
            state.known = True
        elif message.kind == TRADE:
            state.trades.append(message)
            state.trade_count += 1
            state.last_price, state.last_size = message.price, message.change
            state.volume += 2 * message.change
            state.open_interest += message.change
            self._candle(state, message.venue_us, message)
        elif message.kind == TICKER:
            self._apply_ticker(state, message)
        elif message.kind == LIFECYCLE and not message.done:
            self._apply_lifecycle(state, msgspec.json.decode(message.body))
        state.updated_us = max(state.updated_us, message.venue_us)

    def _apply_ticker(self, state: MarketState, message: Message) -> None:
        """A recording has no trades; its tickers are the only word on volume."""
        state.ticker_body = message.body
        body = msgspec.json.decode(message.body)
        volume, interest = body.get("volume_fp"), body.get("open_interest_fp")
        state.volume = SIZES[volume] if volume is not None else state.volume
        state.open_interest = SIZES[interest] if interest is not None else state.open_interest
        self._candle(state, message.venue_us, None)

    def _apply_lifecycle(self, state: MarketState, body: Mapping[str, object]) -> None:
        kind = body["event_type"]
        if kind == "activated":
            state.status = "active"
        elif kind == "deactivated":
            state.status = "inactive"
        elif kind == "close_date_updated":
            state.close_us = int(str(body["close_ts"])) * US_PER_S
        elif kind == "determined":
            state.status, state.result = "determined", str(body["result"])
            state.settlement_value = str(body["settlement_value"])
        elif kind == "settled":
            state.status, state.settled_us = "finalized", int(str(body["settled_ts"])) * US_PER_S

    def _candle(self, state: MarketState, venue_us: int, trade: Message | None) -> None:
        end_us = (venue_us // MINUTE_US + 1) * MINUTE_US
        bid, _, ask, _ = state.touch()
        if not state.candles or state.candles[-1].end_us < end_us:
            state.candles.append(Candle(end_us, [bid] * 4, [ask] * 4))
        candle = state.candles[-1]
        _widen(candle.bid, bid)
        _widen(candle.ask, ask)
        candle.open_interest = state.open_interest
        if trade is not None:
            candle.volume += 2 * trade.change
            if candle.price is None:
                candle.price = [trade.price] * 4
            _widen(candle.price, trade.price)


def _widen(prices: list[int], price: int) -> None:
    """Take a price into open, low, high, close."""
    prices[1], prices[2], prices[3] = min(prices[1], price), max(prices[2], price), price


def ticker_body(listing: Listing, quote: Quote, venue_us: int) -> str:
    """A market's top and totals as the ticker channel writes them."""
    texts = price_texts()
    # Whole dollars; the venue does not say at which price: a pair is worth a dollar.
    volume, interest = quote.volume // CONTRACT // 2, quote.open_interest // CONTRACT // 2
    return (
        f'{{"market_id":"{listing.market_id}","market_ticker":"{listing.ticker}","price_dollars":"{texts[quote.last]}",'
        f'"yes_bid_dollars":"{texts[quote.bid]}","yes_ask_dollars":"{texts[quote.ask]}",'
        f'"volume_fp":"{size_text(quote.volume)}","open_interest_fp":"{size_text(quote.open_interest)}",'
        f'"dollar_volume":{volume},"dollar_open_interest":{interest},"yes_bid_size_fp":"{size_text(quote.bid_size)}",'
        f'"yes_ask_size_fp":"{size_text(quote.ask_size)}","last_trade_size_fp":"{size_text(quote.last_size)}",'
        f'"ts":{venue_us // US_PER_S},"ts_ms":{venue_us // 1000},"time":"{format_rfc3339_us(venue_us)}"}}'
    )
