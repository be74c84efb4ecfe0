"""The venue's market data over REST (kalshi-protocol sections 5.1 to 5.4).

Public calls are not signed: signed ones cost tokens. Only GET is here, so every request may be repeated.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self, TypeVar
from urllib.parse import urlencode, urlsplit

import httpx

from kflow.clock import Clock
from kflow.errors import ClockSkew, CredentialError, MalformedFrame, UsageError, VenueRefused, VenueUnreachable
from kflow.kalshi import listings, refusals
from kflow.kalshi.auth import ApiKey
from kflow.kalshi.backoff import Backoff
from kflow.kalshi.environments import Endpoints, Environment
from kflow.kalshi.listings import (
    AccountLimits,
    EventInfo,
    ExchangeStatus,
    MarketInfo,
    RestBook,
    SeriesInfo,
)
from kflow.kalshi.skew import nearest_to_zero, offset_bounds_ms

__all__ = ["EventInfo", "MarketInfo", "RestBook", "RestClient", "Retries", "SeriesInfo", "check_clock"]

_log = logging.getLogger(__name__)
# They print URLs with queries, and at DEBUG headers; no setting of ours should bring that out.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)

# A thousand markets have 3 MB; more than this is not an answer but a fault.
_BODY_BYTES: Final = 64 * 1024 * 1024
_TIMEOUT_S: Final = 10.0  # for a connection, and between two pieces of an answer
_WHOLE_TIMEOUT_S: Final = 60.0
_TICKER: Final = re.compile(r"[A-Z0-9][A-Z0-9._-]{0,127}", re.ASCII)
# Largest pages the venue gives; more is answered with a 400, not with less.
_MARKETS_LIMIT: Final = 1000
_EVENTS_LIMIT: Final = 200
# Tickers in one URL of bearable length.
_BOOKS_LIMIT: Final = 100

# Measured on 2026-06-11 and 2026-10: 10 s off is accepted, 30 s refused. We keep well inside.
WARN_OFFSET_MS: Final = 2_000
REFUSE_OFFSET_MS: Final = 5_000

Params = list[tuple[str, str]]
T = TypeVar("T")
P = TypeVar("P", listings.MarketsPage, listings.EventsPage)
_KEY_HINT: Final = "set KALSHI_API_KEY_ID and KALSHI_PRIVATE_KEY_PATH"


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a GET is sent again after 429 or 5xx. Waits have full jitter; `rng` makes them repeatable."""

    attempts: int = 5
    rng: random.Random | None = None


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: bytes
    # Bounds of the venue's clock minus ours in ms, by the Date header, which has whole seconds; None without one.
    offset_ms: tuple[float, float] | None


class RestClient:
    """Asks one environment. Use as an async context manager, or call `aclose`.

    Every call raises VenueUnreachable without an answer, VenueRefused for one that says no, and MalformedFrame or
    Unrepresentable for one that makes no sense.
    """

    def __init__(
        self, endpoints: Endpoints, *, clock: Clock, key: ApiKey | None = None, retries: Retries | None = None
    ) -> None:
        if key is not None:
            key.check_environment(endpoints.environment)
        self.endpoints: Final = endpoints
        self.clock: Final = clock
        self._key, self._retries = key, retries or Retries()
        # No proxies or netrc from the process environment: requests go to the configured host alone.
        self._http = httpx.AsyncClient(trust_env=False, timeout=_TIMEOUT_S, follow_redirects=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._http.aclose()

    # The exchange

    async def exchange_status(self) -> ExchangeStatus:
        """Whether the venue is open. A 503 that says so is an answer, not an error."""
        path = "/exchange/status"
        answer = await self._send(path, [], signed=False)
        try:
            return listings.decode(ExchangeStatus, answer.body, f"GET {path}")
        except MalformedFrame:
            if 200 <= answer.status < 300:
                raise
            raise refusals.refusal(f"GET {path}", answer.status, answer.body) from None

    async def clock_offset_ms(self) -> float:
        """Venue's clock minus ours, give or take half a second; positive where ours is behind."""
        low, high = await self.clock_offset_bounds_ms()
        return (low + high) / 2

    async def clock_offset_bounds_ms(self) -> tuple[float, float]:
        """The least and the greatest offset that the venue's Date header allows."""
        answer = await self._send("/exchange/status", [], signed=False)
        if answer.offset_ms is None:
            raise MalformedFrame("GET /exchange/status: the answer has no Date, so the clock cannot be checked")
        return answer.offset_ms

    async def account_limits(self) -> AccountLimits:
        """How often the account may ask. Signed, so it also proves the key."""
        return await self._get(AccountLimits, "/account/limits", signed=True)

    # Listings

    async def market(self, ticker: str) -> MarketInfo:
        one = await self._get(listings.OneMarket, f"/markets/{_segment(ticker)}")
        return listings.market_info(one.market)

    async def event(self, ticker: str) -> EventInfo:
        """An event with its markets."""
        nested = [("with_nested_markets", "true")]
        one = await self._get(listings.OneEvent, f"/events/{_segment(ticker)}", nested)
        return listings.event_info(one.event, one.markets or ())

    async def series(self, ticker: str) -> SeriesInfo:
        one = await self._get(listings.OneSeries, f"/series/{_segment(ticker)}")
        return listings.series_info(one.series)

    async def events(self, *, series_ticker: str | None = None, status: str | None = None) -> AsyncIterator[EventInfo]:
        """Events with their markets, combos excluded. `status` is unopened, open, closed or settled."""
        params = _given({"series_ticker": series_ticker, "status": status, "with_nested_markets": "true"})
        async for page in self._pages(listings.EventsPage, "/events", params, _EVENTS_LIMIT):
            for event in page.events:
                yield listings.event_info(event)

    async def markets(
        self,
        *,
        tickers: Iterable[str] = (),
        event_ticker: str | None = None,
        series_ticker: str | None = None,
        status: str | None = None,
    ) -> AsyncIterator[MarketInfo]:
        """Markets, combos excluded: they are 99.8 % of an unfiltered list. `status` as the venue filters, not shows."""
        named = {"event_ticker": event_ticker, "series_ticker": series_ticker, "status": status}
        params = _given({**named, "tickers": ",".join(map(_segment, tickers)) or None, "mve_filter": "exclude"})
        async for page in self._pages(listings.MarketsPage, "/markets", params, _MARKETS_LIMIT):
            for market in page.markets:
                yield listings.market_info(market)

    async def historical_markets(self, event_ticker: str) -> tuple[MarketInfo, ...]:
        """Markets of an event that left the live endpoints."""
        params = [("event_ticker", _segment(event_ticker))]
        pages = self._pages(listings.MarketsPage, "/historical/markets", params, _MARKETS_LIMIT)
        return tuple([listings.market_info(market) async for page in pages for market in page.markets])

    # Books

    async def orderbook(self, ticker: str) -> RestBook:
        """The whole book of one market."""
        one = await self._get(listings.OneBook, f"/markets/{_segment(ticker)}/orderbook", [("depth", "0")])
        return listings.rest_book(ticker, one.orderbook_fp)

    async def orderbooks(self, tickers: Iterable[str]) -> dict[str, RestBook]:
        """Whole books by ticker, asked for by the hundred. A ticker the venue leaves out is absent."""
        wanted, books = list(tickers), {}
        for start in range(0, len(wanted), _BOOKS_LIMIT):
            params = [("tickers", _segment(ticker)) for ticker in wanted[start : start + _BOOKS_LIMIT]]
            many = await self._get(listings.ManyBooks, "/markets/orderbooks", params)
            books.update({b.ticker: listings.rest_book(b.ticker, b.orderbook_fp) for b in many.orderbooks})
        return books

    # Requests

    async def _pages(self, kind: type[P], path: str, params: Params, limit: int) -> AsyncIterator[P]:
        cursor = ""
        seen: set[str] = set()
        while True:
            more: Params = [("cursor", cursor)] if cursor else []
            page = await self._get(kind, path, [*params, ("limit", str(limit)), *more])
            yield page
            cursor = page.cursor or ""
            if not cursor:
                return
            if cursor in seen:
                raise MalformedFrame(f"GET {path}: the venue's pages go round in a circle")
            seen.add(cursor)

    async def _get(self, kind: type[T], path: str, params: Params | None = None, *, signed: bool = False) -> T:
        """One answer, decoded. Sends again after 429 and 5xx, and once where sleep made our signature stale."""
        request, backoff, resynced = f"GET {path}", Backoff(self._retries.rng), False
        for attempt in itertools.count(1):
            answer = await self._send(path, params or [], signed=signed)
            if 200 <= answer.status < 300:
                return listings.decode(kind, answer.body, request)
            if answer.status == 401 and signed and not resynced and _expired(answer.body):
                await check_clock(self)
                resynced = True
                continue
            if (answer.status == 429 or answer.status >= 500) and attempt < self._retries.attempts:
                await self.clock.sleep(backoff.next_delay_s())
                continue
            raise self._refusal(request, answer, signed=signed)
        raise AssertionError("unreachable")

    def _refusal(self, request: str, answer: _Answer, *, signed: bool) -> VenueRefused:
        if answer.status != 401 or not signed or self._key is None:
            return refusals.refusal(request, answer.status, answer.body)
        offset_ms = None if answer.offset_ms is None else nearest_to_zero(answer.offset_ms)
        return refusals.unauthorised(request, answer.body, algorithm=self._key.algorithm, offset_ms=offset_ms)

    async def _send(self, path: str, params: Params, *, signed: bool) -> _Answer:
        query = f"?{urlencode(params)}" if params else ""
        request = self._http.build_request("GET", self.endpoints.rest + path + query)
        if signed:
            if self._key is None:
                raise CredentialError(f"GET {path} asks for a key, and none is set", hint=_KEY_HINT)
            # An RSA signature takes about 1 ms, and releases the interpreter while it does.
            wall_ns = self.clock.wall_ns()
            request.headers.update(await asyncio.to_thread(self._key.headers, "GET", str(request.url), wall_ns))
        started_ns = self.clock.mono_ns()
        try:
            async with asyncio.timeout(_WHOLE_TIMEOUT_S):
                response = await self._http.send(request, stream=True)
                received_ns, elapsed_ns = self.clock.wall_ns(), self.clock.mono_ns() - started_ns
                try:
                    body = await _bounded(response, path)
                finally:
                    await response.aclose()
        except (httpx.HTTPError, TimeoutError) as error:
            raise self._unreachable(error) from None
        return _Answer(response.status_code, body, offset_bounds_ms(response.headers, received_ns, elapsed_ns))

    def _unreachable(self, error: Exception) -> VenueUnreachable:
        host = urlsplit(self.endpoints.rest).netloc
        if isinstance(error, httpx.TimeoutException):
            why = f"nothing came within {_TIMEOUT_S:.0f} s"
        elif isinstance(error, TimeoutError):
            why = f"the answer was not whole after {_WHOLE_TIMEOUT_S:.0f} s"
        else:
            why = str(error) or type(error).__name__
        local = self.endpoints.environment is Environment.LOCAL
        hint = "is the local exchange running? start it with: kflow exchange serve" if local else "check the network"
        return VenueUnreachable(f"no answer from {host}: {why}", hint=hint)


async def check_clock(client: RestClient) -> float:
    """Venue's clock minus ours in ms, give or take half a second. Logs a warning beyond 2 s.

    Raises ClockSkew where it is beyond 5 s for certain: what the Date header cannot tell apart from right is right.
    """
    bounds = await client.clock_offset_bounds_ms()
    certain = nearest_to_zero(bounds)
    if abs(certain) > REFUSE_OFFSET_MS:
        raise ClockSkew(certain / 1000)
    if abs(certain) > WARN_OFFSET_MS:
        side = "behind" if certain > 0 else "ahead of"
        _log.warning("this machine's clock is %.1f s %s the venue's", abs(certain) / 1000, side)
    return sum(bounds) / 2


async def _bounded(response: httpx.Response, path: str) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > _BODY_BYTES:
            raise MalformedFrame(f"GET {path}: the answer is longer than {_BODY_BYTES >> 20} MiB")
    return bytes(body)


def _expired(body: bytes) -> bool:
    return refusals.read_error(body)[0] == refusals.EXPIRED


def _given(params: Mapping[str, str | None]) -> Params:
    return [(name, value) for name, value in params.items() if value is not None]


def _segment(ticker: str) -> str:
    """A ticker as it may stand in a path. Raises UsageError for what is none, so that it never leads elsewhere."""
    if not _TICKER.fullmatch(ticker):
        raise UsageError(
            f"{ticker!r:.140} is not a ticker", hint="tickers have capital letters, digits, dots and dashes"
        )
    return ticker
