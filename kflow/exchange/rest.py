"""REST of the market-data half: exchange, markets, events, series, trades, candles, history. All of it is public."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from email.utils import formatdate
from typing import Final, TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kflow.clock import NS_PER_S, Clock
from kflow.exchange import documents
from kflow.exchange.documents import Document
from kflow.exchange.listing import EventListing
from kflow.exchange.market import MarketState, Venue
from kflow.market.times import US_PER_S, format_rfc3339_us

PREFIX: Final = "/trade-api/v2"
# Live endpoints reach this far back.
CUTOFF_US: Final = 90 * 86_400 * US_PER_S
# What each status filter shows (protocol section 7.3).
_FILTERS: Final = {
    "unopened": ("initialized",),
    "open": ("active",),
    "paused": ("inactive",),
    "closed": ("closed", "determined"),
    "settled": ("finalized",),
}
_PERIODS: Final = (1, 60, 1440)
_MOST_CANDLES: Final = 10_000
_MOST_TICKERS: Final = 100

Item = TypeVar("Item")


class Refusal(HTTPException):
    """An error answer with its body; the venue has four shapes of them (section 5.1)."""

    def __init__(self, status: int, body: Document) -> None:
        self.body = body
        super().__init__(status)


def not_found(what: str) -> Refusal:
    return Refusal(404, {"error": {"code": "not_found", "message": "not found", "details": what}})


def invalid(details: str) -> Refusal:
    return Refusal(400, {"code": "invalid_parameters", "message": "Parameter validation failed", "details": details})


def _integer(query: QueryParams, name: str, default: int | None = None) -> int | None:
    text = query.get(name)
    if text is None or text == "":
        return default
    if not text.lstrip("-").isdecimal() or len(text) > 18:
        raise invalid(f"{name} must be an integer")
    return int(text)


def _limit(query: QueryParams, default: int, most: int) -> int:
    limit = _integer(query, "limit", default)
    assert limit is not None, "there is a default"
    if limit > most:
        raise Refusal(400, {"msg": f"limit must not exceed {most}"})
    if limit < 1:
        raise invalid("limit must be at least 1")
    return limit


def _page(query: QueryParams, items: Sequence[Item], limit: int, key: Callable[[Item], str]) -> tuple[list[Item], str]:
    """A page and the cursor of the next; the cursor names the last item shown, so that new ones shift nothing."""
    start = 0
    cursor = query.get("cursor")
    if cursor:
        try:
            last = base64.urlsafe_b64decode(cursor.encode()).decode()
        except ValueError:
            raise invalid("cursor is not one of ours") from None
        start = next((i + 1 for i, item in enumerate(items) if key(item) == last), len(items))
    page = list(items[start : start + limit])
    more = start + limit < len(items)
    return page, base64.urlsafe_b64encode(key(page[-1]).encode()).decode() if page and more else ""


class MarketData:
    """The public endpoints of one venue."""

    def __init__(self, venue: Venue, clock: Clock) -> None:
        self._venue, self._clock = venue, clock

    def routes(self) -> list[Route]:
        paths = {
            "/exchange/status": self.status,
            "/exchange/schedule": self.schedule,
            "/exchange/user_data_timestamp": self.user_data_timestamp,
            "/markets": self.markets,
            "/markets/trades": self.trades,
            "/markets/orderbooks": self.orderbooks,
            "/markets/candlesticks": self.candlesticks,
            "/markets/{ticker}": self.market,
            "/markets/{ticker}/orderbook": self.orderbook,
            "/events": self.events,
            "/events/fee_changes": self.event_fee_changes,
            "/events/{ticker}": self.event,
            "/series": self.all_series,
            "/series/fee_changes": self.series_fee_changes,
            "/series/{ticker}": self.series,
            "/series/{series}/markets/{ticker}/candlesticks": self.market_candlesticks,
            "/historical/cutoff": self.cutoff,
            "/historical/markets": self.historical_markets,
            "/historical/trades": self.historical_trades,
            "/historical/markets/{ticker}": self.historical_market,
            "/historical/markets/{ticker}/candlesticks": self.historical_candlesticks,
        }
        return [Route(PREFIX + path, self._answer(handler), methods=["GET"]) for path, handler in paths.items()]

    def _answer(self, handler: Callable[[Request], Document]) -> Callable[[Request], Response]:
        async def endpoint(request: Request) -> Response:
            return respond(handler(request), 200, self._clock)

        return endpoint  # type: ignore[return-value]

    def status(self, _: Request) -> Document:
        return documents.status_document()

    def schedule(self, _: Request) -> Document:
        return documents.schedule_document()

    def user_data_timestamp(self, _: Request) -> Document:
        return {"as_of_time": format_rfc3339_us(self._clock.wall_ns() // 1000)}

    def _state(self, ticker: str, *, archived: bool = False) -> MarketState:
        state = self._venue.markets.get(ticker)
        if state is None or state.listing.archived != archived:
            raise not_found(f"market {ticker}")
        return state

    def market(self, request: Request) -> Document:
        return {"market": documents.market_document(self._venue, self._state(request.path_params["ticker"]))}

    def markets(self, request: Request) -> Document:
        query = request.query_params
        limit = _limit(query, 100, 1000)
        page, cursor = _page(query, self._filtered(query), limit, lambda state: state.listing.ticker)
        return {"markets": [documents.market_document(self._venue, state) for state in page], "cursor": cursor}

    def _filtered(self, query: QueryParams) -> list[MarketState]:
        states = self._venue.live()
        if query.get("mve_filter") == "only":
            return []  # there are no combos here
        if query.get("tickers"):
            wanted = set(query["tickers"].split(","))
            states = [state for state in states if state.listing.ticker in wanted]
        if query.get("event_ticker"):
            events = set(query["event_ticker"].split(","))
            states = [state for state in states if state.listing.event in events]
        if query.get("series_ticker"):
            states = [state for state in states if state.listing.series == query["series_ticker"]]
        if query.get("status"):
            shown = self._statuses(query["status"])
            states = [state for state in states if self._venue.status(state) in shown]
        for name, moment in _MOMENTS.items():
            low, high = _integer(query, f"min_{name}_ts"), _integer(query, f"max_{name}_ts")
            if low is not None or high is not None:
                states = [state for state in states if _within(moment(state), low, high)]
        return states

    @staticmethod
    def _statuses(text: str) -> set[str]:
        names = text.split(",")
        if any(name not in _FILTERS for name in names):
            raise invalid(f"status must be one of {', '.join(_FILTERS)}")
        return {status for name in names for status in _FILTERS[name]}

    def orderbook(self, request: Request) -> Document:
        depth = _integer(request.query_params, "depth", 0) or 0
        if not 0 <= depth <= 100:
            raise invalid("depth must lie between 0 and 100")
        return {"orderbook_fp": documents.orderbook_document(self._state(request.path_params["ticker"]), depth)}

    def orderbooks(self, request: Request) -> Document:
        tickers = request.query_params.getlist("tickers")
        if not 1 <= len(tickers) <= _MOST_TICKERS:
            raise invalid(f"between 1 and {_MOST_TICKERS} tickers")
        states = [self._state(ticker) for ticker in tickers]
        return {
            "orderbooks": [
                {"ticker": state.listing.ticker, "orderbook_fp": documents.orderbook_document(state, 0)}
                for state in states
            ]
        }

    def trades(self, request: Request) -> Document:
        """Newest first."""
        query = request.query_params
        limit = _limit(query, 100, 1000)
        states = [self._state(query["ticker"])] if query.get("ticker") else self._venue.live()
        low, high = _integer(query, "min_ts"), _integer(query, "max_ts")
        trades = [trade for state in states for trade in state.trades if _within(trade.venue_us, low, high)]
        if query.get("is_block_trade") == "true":
            trades = []  # there are none here
        trades.sort(key=lambda trade: -trade.venue_us)
        page, cursor = _page(
            query, [documents.trade_document(trade) for trade in trades], limit, lambda trade: str(trade["trade_id"])
        )
        return {"trades": page, "cursor": cursor}

    def events(self, request: Request) -> Document:
        query = request.query_params
        limit = _limit(query, 200, 200)
        nested = query.get("with_nested_markets") == "true"
        page, cursor = _page(query, self._filtered_events(query), limit, lambda event: event.ticker)
        documented = [documents.event_document(self._venue, event, nested=nested) for event in page]
        return {"events": documented, "cursor": cursor, "milestones": []}

    def _filtered_events(self, query: QueryParams) -> list[EventListing]:
        venue = self._venue
        events = list(venue.events.values())
        if query.get("series_ticker"):
            events = [event for event in events if event.series == query["series_ticker"]]
        if query.get("tickers"):
            wanted = set(query["tickers"].split(","))
            events = [event for event in events if event.ticker in wanted]
        if query.get("status"):
            shown = self._statuses(query["status"])
            holding = {state.listing.event for state in venue.live() if venue.status(state) in shown}
            events = [event for event in events if event.ticker in holding]
        earliest = _integer(query, "min_close_ts")
        if earliest is not None:
            closing = {s.listing.event for s in venue.live() if s.close_us >= earliest * US_PER_S}
            events = [event for event in events if event.ticker in closing]
        return events

    def event(self, request: Request) -> Document:
        event = self._venue.events.get(request.path_params["ticker"])
        if event is None:
            raise not_found(f"event {request.path_params['ticker']}")
        nested = request.query_params.get("with_nested_markets") == "true"
        states = documents.event_markets(self._venue, event.ticker)
        return {
            "event": documents.event_document(self._venue, event, nested=nested),
            # Retired, but required by a client's model.
            "markets": [] if nested else [documents.market_document(self._venue, state) for state in states],
        }

    def all_series(self, request: Request) -> Document:
        category = request.query_params.get("category")
        listed = [s for s in self._venue.series.values() if category in (None, s.category)]
        return {"series": [documents.series_document(series) for series in listed]}

    def series(self, request: Request) -> Document:
        series = self._venue.series.get(request.path_params["ticker"])
        if series is None:
            raise not_found(f"series {request.path_params['ticker']}")
        return {"series": documents.series_document(series)}

    def series_fee_changes(self, _: Request) -> Document:
        return {"series_fee_change_arr": []}

    def event_fee_changes(self, _: Request) -> Document:
        return {"event_fee_changes": [], "cursor": ""}

    def market_candlesticks(self, request: Request) -> Document:
        state = self._state(request.path_params["ticker"])
        return {"ticker": state.listing.ticker, "candlesticks": self._candles(state, request.query_params)}

    def candlesticks(self, request: Request) -> Document:
        names = [t for entry in request.query_params.getlist("market_tickers") for t in entry.split(",") if t]
        if not 1 <= len(names) <= _MOST_TICKERS:
            raise invalid(f"between 1 and {_MOST_TICKERS} market_tickers")
        states = [self._state(name) for name in names]
        return {
            "markets": [
                {"market_ticker": s.listing.ticker, "candlesticks": self._candles(s, request.query_params)}
                for s in states
            ]
        }

    @staticmethod
    def _candles(state: MarketState, query: QueryParams) -> list[Document]:
        low, high = _integer(query, "start_ts"), _integer(query, "end_ts")
        period = _integer(query, "period_interval", 1)
        if period not in _PERIODS:
            raise invalid("period_interval must be 1, 60 or 1440")
        if low is None or high is None:
            raise invalid("start_ts and end_ts are required")
        merged = documents.merge_candles(list(state.candles), period)
        shown = [candle for candle in merged if _within(candle.end_us, low, high)]
        return [documents.candle_document(candle) for candle in shown[:_MOST_CANDLES]]

    def cutoff(self, _: Request) -> Document:
        moment = format_rfc3339_us(max(self._venue.now_us, self._clock.wall_ns() // 1000) - CUTOFF_US)
        return {"market_settled_ts": moment, "trades_created_ts": moment, "orders_updated_ts": moment}

    def historical_markets(self, request: Request) -> Document:
        query = request.query_params
        limit = _limit(query, 100, 1000)
        states = [state for state in self._venue.markets.values() if state.listing.archived]
        for name in ("event_ticker", "series_ticker"):
            if query.get(name):
                states = [s for s in states if query[name] in (s.listing.event, s.listing.series)]
        if query.get("tickers"):
            states = [s for s in states if s.listing.ticker in query["tickers"].split(",")]
        page, cursor = _page(query, states, limit, lambda state: state.listing.ticker)
        return {"markets": [documents.market_document(self._venue, state) for state in page], "cursor": cursor}

    def historical_market(self, request: Request) -> Document:
        state = self._state(request.path_params["ticker"], archived=True)
        return {"market": documents.market_document(self._venue, state)}

    def historical_candlesticks(self, request: Request) -> Document:
        state = self._state(request.path_params["ticker"], archived=True)
        return {"ticker": state.listing.ticker, "candlesticks": self._candles(state, request.query_params)}

    def historical_trades(self, request: Request) -> Document:
        _limit(request.query_params, 100, 1000)
        return {"trades": [], "cursor": ""}


_MOMENTS: Final[dict[str, Callable[[MarketState], int]]] = {
    "created": lambda state: state.listing.open_us,
    "updated": lambda state: state.updated_us,
    "close": lambda state: state.close_us,
    "settled": lambda state: state.settled_us or 0,
}


def _within(moment_us: int, low_s: int | None, high_s: int | None) -> bool:
    return (low_s is None or moment_us >= low_s * US_PER_S) and (high_s is None or moment_us <= high_s * US_PER_S)


def respond(document: Document, status: int, clock: Clock) -> Response:
    """An answer with the exchange's own Date: a client compares its clock with it."""
    date = formatdate(clock.wall_ns() // NS_PER_S, usegmt=True)
    return Response(msgspec.json.encode(document), status, {"Date": date}, "application/json")


def application(routes: Sequence[Route], clock: Clock) -> Starlette:
    """The REST half of the exchange. More routes may come beside the market data's."""

    async def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if isinstance(error, Refusal):
            return respond(error.body, error.status_code, clock)
        word = "not_found" if error.status_code == 404 else "invalid_request"
        body = {"error": {"code": word, "message": str(error.detail)}}
        return respond(body, error.status_code, clock)

    return Starlette(routes=list(routes), exception_handlers={HTTPException: refused})
