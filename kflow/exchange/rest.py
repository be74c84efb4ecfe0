"""REST of the market-data half: exchange, markets, events, series, trades, candles, history. All of it is public."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kflow.clock import Clock
from kflow.exchange import documents
from kflow.exchange.answers import PREFIX, integer, invalid, limit, not_found, page, respond, within
from kflow.exchange.documents import Document
from kflow.exchange.gate import Gate
from kflow.exchange.listing import EventListing
from kflow.exchange.market import MarketState, Venue
from kflow.market.times import US_PER_S, format_rfc3339_us

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


class MarketData:
    """The public endpoints of one venue."""

    def __init__(self, venue: Venue, clock: Clock, gate: Gate | None = None) -> None:
        """`gate` charges those who sign what is public."""
        self._venue, self._clock, self._gate = venue, clock, gate

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
            if self._gate is not None:
                self._gate.charge_public(request)
            return respond(handler(request), 200, self._clock)

        return endpoint  # type: ignore[return-value]

    def status(self, _: Request) -> Document:
        document = documents.status_document()
        for part in (document, *document["exchange_index_statuses"]):
            part["exchange_active"] = part["intra_exchange_transfers_active"] = self._venue.exchange_active
            part["trading_active"] = self._venue.trading_active
        return document

    def schedule(self, _: Request) -> Document:
        return documents.schedule_document()

    def user_data_timestamp(self, _: Request) -> Document:
        """The moment up to which reads of orders, fills and positions are complete."""
        as_of_us = self._clock.wall_ns() // 1000 if self._gate is None else self._gate.as_of_us()
        return {"as_of_time": format_rfc3339_us(as_of_us)}

    def _state(self, ticker: str, *, archived: bool = False) -> MarketState:
        state = self._venue.markets.get(ticker)
        if state is None or state.listing.archived != archived:
            raise not_found(f"market {ticker}")
        return state

    def market(self, request: Request) -> Document:
        return {"market": documents.market_document(self._venue, self._state(request.path_params["ticker"]))}

    def markets(self, request: Request) -> Document:
        query = request.query_params
        most = limit(query, 100, 1000)
        shown, cursor = page(query, self._filtered(query), most, lambda state: state.listing.ticker, self._venue.live())
        return {"markets": [documents.market_document(self._venue, state) for state in shown], "cursor": cursor}

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
            low, high = integer(query, f"min_{name}_ts"), integer(query, f"max_{name}_ts")
            if low is not None or high is not None:
                states = [state for state in states if within(moment(state), low, high)]
        return states

    @staticmethod
    def _statuses(text: str) -> set[str]:
        names = text.split(",")
        if any(name not in _FILTERS for name in names):
            raise invalid(f"status must be one of {', '.join(_FILTERS)}")
        return {status for name in names for status in _FILTERS[name]}

    def orderbook(self, request: Request) -> Document:
        depth = integer(request.query_params, "depth", 0) or 0
        if not 0 <= depth <= 100:
            raise invalid("depth must lie between 0 and 100")
        return {"orderbook_fp": documents.orderbook_document(self._state(request.path_params["ticker"]), depth)}

    def orderbooks(self, request: Request) -> Document:
        tickers = [t for entry in request.query_params.getlist("tickers") for t in entry.split(",") if t]
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
        most = limit(query, 100, 1000)
        states = [self._state(query["ticker"])] if query.get("ticker") else self._venue.live()
        low, high = integer(query, "min_ts"), integer(query, "max_ts")
        trades = [trade for state in states for trade in state.trades if within(trade.venue_us, low, high)]
        if query.get("is_block_trade") == "true":
            trades = []  # there are none here
        trades.sort(key=lambda trade: -trade.venue_us)
        shown, cursor = page(
            query, [documents.trade_document(trade) for trade in trades], most, lambda trade: str(trade["trade_id"])
        )
        return {"trades": shown, "cursor": cursor}

    def events(self, request: Request) -> Document:
        query = request.query_params
        most = limit(query, 200, 200)
        nested = query.get("with_nested_markets") == "true"
        every = list(self._venue.events.values())
        shown, cursor = page(query, self._filtered_events(query), most, lambda event: event.ticker, every)
        documented = [documents.event_document(self._venue, event, nested=nested) for event in shown]
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
        earliest = integer(query, "min_close_ts")
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
        low, high = integer(query, "start_ts"), integer(query, "end_ts")
        period = integer(query, "period_interval", 1)
        if period not in _PERIODS:
            raise invalid("period_interval must be 1, 60 or 1440")
        if low is None or high is None:
            raise invalid("start_ts and end_ts are required")
        merged = documents.merge_candles(list(state.candles), period)
        shown = [candle for candle in merged if within(candle.end_us, low, high)]
        return [documents.candle_document(candle) for candle in shown[:_MOST_CANDLES]]

    def cutoff(self, _: Request) -> Document:
        moment = format_rfc3339_us(max(self._venue.now_us, self._clock.wall_ns() // 1000) - CUTOFF_US)
        return {"market_settled_ts": moment, "trades_created_ts": moment, "orders_updated_ts": moment}

    def historical_markets(self, request: Request) -> Document:
        query = request.query_params
        most = limit(query, 100, 1000)
        states = [state for state in self._venue.markets.values() if state.listing.archived]
        for name in ("event_ticker", "series_ticker"):
            if query.get(name):
                states = [s for s in states if query[name] in (s.listing.event, s.listing.series)]
        if query.get("tickers"):
            states = [s for s in states if s.listing.ticker in query["tickers"].split(",")]
        shown, cursor = page(query, states, most, lambda state: state.listing.ticker)
        return {"markets": [documents.market_document(self._venue, state) for state in shown], "cursor": cursor}

    def historical_market(self, request: Request) -> Document:
        state = self._state(request.path_params["ticker"], archived=True)
        return {"market": documents.market_document(self._venue, state)}

    def historical_candlesticks(self, request: Request) -> Document:
        state = self._state(request.path_params["ticker"], archived=True)
        candles = [_historical(candle) for candle in self._candles(state, request.query_params)]
        return {"ticker": state.listing.ticker, "candlesticks": candles}

    def historical_trades(self, request: Request) -> Document:
        limit(request.query_params, 100, 1000)
        return {"trades": [], "cursor": ""}


_MOMENTS: Final[dict[str, Callable[[MarketState], int]]] = {
    "created": lambda state: state.listing.open_us,
    "updated": lambda state: state.updated_us,
    "close": lambda state: state.close_us,
    "settled": lambda state: state.settled_us or 0,
}


def _historical(candle: Document) -> Document:
    """A candle as the historical endpoints write it: beside the usual names those without their suffixes."""
    plain = {name.removesuffix("_fp"): value for name, value in candle.items() if name.endswith("_fp")}
    sides = {
        side: candle[side] | {name.removesuffix("_dollars"): value for name, value in candle[side].items()}
        for side in ("yes_bid", "yes_ask", "price")
    }
    return candle | plain | sides
