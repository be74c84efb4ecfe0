"""Following a running recorder from outside: its stream of books, and its status once a second."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode, urlsplit, urlunsplit

import httpx
import msgspec
import websockets
from websockets.exceptions import InvalidStatus, WebSocketException

from kflow.cli.panels import Glance
from kflow.clock import NS_PER_S, Clock
from kflow.errors import ConfigError, KflowError, UsageError, VenueError, VenueUnreachable
from kflow.market.book import BookView
from kflow.market.events import Level

POLL_S: Final = 1.0
RETRY_S: Final = 1.0
TIMEOUT_S: Final = 5.0
# Heartbeats come every 5 s: a stream that says nothing for so long is dead.
SILENCE_S: Final = 15.0
MOST_BYTES: Final = 16 * 2**20
# Of a stream: messages that come at once come within this.
FIRST_S: Final = 1.0
OPTIONS: Final[dict[str, Any]] = {
    "proxy": None,
    "compression": None,
    "max_size": MOST_BYTES,
    "open_timeout": TIMEOUT_S,
}
TRADES: Final = 50
RATES: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a recorder is, and how to ask it."""

    url: str
    token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        place = urlsplit(self.url)
        if place.scheme not in ("http", "https") or not place.hostname or place.query or place.fragment:
            raise UsageError(f"{self.url} is not of the form http://HOST:PORT", hint="--url http://127.0.0.1:8001")

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def stream_url(self, markets: Sequence[str]) -> str:
        place = urlsplit(self.url)
        scheme = "wss" if place.scheme == "https" else "ws"
        query = urlencode([*(("market", market) for market in markets), ("with", "trades"), ("with", "state")])
        return urlunsplit((scheme, place.netloc, f"{place.path.rstrip('/')}/rl/ws", query, ""))

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, headers=self.headers, timeout=TIMEOUT_S, trust_env=False)


async def asked(http: httpx.AsyncClient, path: str, params: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The JSON that `path` answers. Raises KflowError where there is none, or where it is a refusal."""
    try:
        answer = await http.get(path, params=params)
    except httpx.HTTPError as error:
        why = str(error) or type(error).__name__
        raise VenueUnreachable(
            f"no recorder answers at {http.base_url}: {why}", hint="is kflow ingest running?"
        ) from None
    try:
        body = answer.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise VenueError(f"{http.base_url} answers, but not as a recorder of kflow", hint="check --url")
    if not answer.is_success:
        raise refused(answer.status_code, body)
    return body


def refused(status: int, body: Mapping[str, Any]) -> KflowError:
    """What a refusal of the recorder means for the one who asked."""
    error, hint = str(body.get("error", f"HTTP {status}")), str(body.get("hint", ""))
    if status in (401, 403):
        return ConfigError(f"the recorder refuses us: {error}", hint="give its token with --token-file")
    if status == 404:
        known = ", ".join(map(str, body.get("markets", ())))
        return UsageError(error, hint=f"it records {known}" if known else hint)
    return VenueUnreachable(f"the recorder cannot answer: {error}", hint=hint)


class Mirror:
    """Books, trades and the state of all, rebuilt from the stream's messages."""

    def __init__(self) -> None:
        self._books: dict[str, BookView] = {}
        self._trades: dict[str, deque[Any]] = {}
        # The last of its kind; None before the first.
        self.state: Mapping[str, Any] | None = None

    def take(self, message: Mapping[str, Any]) -> None:
        """Apply one message; those of an unknown kind change nothing."""
        kind = message.get("type")
        if kind == "state":
            self.state = message
        elif kind == "trades":
            self._trades.setdefault(message["market"], deque(maxlen=TRADES)).extend(message["trades"])
        if kind == "snapshot":
            market, yes, no = message["market"], _levels({}, message["yes"]), _levels({}, message["no"])
            self._books[market] = BookView(market, message["version"], message["live"], yes, no)
        elif kind == "delta" and (before := self._books.get(message["market"])) is not None:
            yes = _levels(dict(before.yes), message["yes"])
            no = _levels(dict(before.no), message["no"])
            self._books[before.market] = BookView(before.market, message["version"], message["live"], yes, no)

    def views(self, markets: Sequence[str], *, live: bool) -> tuple[BookView, ...]:
        """The books of these markets that are known; `live` False where nothing more is heard of them."""
        books = [self._books[market] for market in markets if market in self._books]
        return tuple(book if live else msgspec.structs.replace(book, live=False) for book in books)

    def trades(self, market: str) -> tuple[Any, ...]:
        """The last trades of a market, oldest first."""
        return tuple(self._trades.get(market, ()))


def book_of(body: Mapping[str, Any]) -> BookView:
    """A book as /rl/orderbook/snapshot tells it."""
    yes, no = ([(level["price_e4"], level["size_e2"]) for level in body[side]] for side in ("yes_bids", "no_bids"))
    return BookView(body["market"], body["version"], body["live"], _levels({}, yes), _levels({}, no))


def _levels(sizes: dict[Any, Any], changes: Sequence[Sequence[int]]) -> tuple[Level, ...]:
    sizes.update((price, size) for price, size in changes)
    return tuple(sorted((price, size) for price, size in sizes.items() if size))


class Follower:
    """What is known of a recorder, kept up to date through its restarts for as long as `run` runs."""

    def __init__(self, source: Source, markets: Sequence[str], *, clock: Clock, most: int = 3) -> None:
        """`markets`: whose books to follow, `most` at a time; none: of all that are recorded."""
        self._source, self._markets, self._most, self._clock = source, tuple(markets), most, clock
        # The market that stands first, of those that are followed; None: the first of them.
        self._first: str | None = None
        # Set where other books are wanted than those that are streamed.
        self._turned = asyncio.Event()
        self._mirror = Mirror()
        # Whose books are streamed now, or were before the stream ended.
        self._shown: tuple[str, ...] = ()
        self._rates: deque[float] = deque(maxlen=RATES)
        self._streaming = False
        self._status: dict[str, Any] | None = None
        self._heard_ns: int | None = None
        self._trouble = ""
        # Set at every news, and at every failure to get any; whoever waits clears it.
        self.news = asyncio.Event()
        # Set from the first status on: it names the markets.
        self._introduced = asyncio.Event()

    def glance(self, footer: str = "") -> Glance:
        """What is known now, and how old that is."""
        age_s = None if self._heard_ns is None else (self._clock.mono_ns() - self._heard_ns) / NS_PER_S
        books = self._mirror.views(self._shown, live=self._streaming)
        return Glance(
            status=self._status,
            books=books,
            age_s=age_s,
            trouble=self._trouble,
            footer=footer,
            state=self._mirror.state,
            trades=self._mirror.trades(self._shown[0]) if self._shown else (),
            rates=tuple(self._rates),
        )

    def turn(self, step: int) -> None:
        """Let the market that is `step` further stand first."""
        every = self._every()
        if len(every) > 1:
            at = every.index(self._first) if self._first in every else 0
            self._first = every[(at + step) % len(every)]
            self._turned.set()

    def show(self, most: int) -> None:
        """Follow so many books at a time."""
        if most != self._most:
            self._most = most
            if self._chosen() != self._shown:
                self._turned.set()

    async def run(self) -> None:
        """Follow until cancelled. Raises KflowError where the recorder refuses us, whom no retry would help."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._poll())
            tasks.create_task(self._follow())

    def _heard(self) -> None:
        self._heard_ns, self._trouble = self._clock.mono_ns(), ""
        self.news.set()

    def _failed(self, trouble: str) -> None:
        self._trouble = trouble
        self.news.set()

    async def _poll(self) -> None:
        async with self._source.client() as http:
            while True:
                try:
                    self._status = status = await asked(http, "/rl/status")
                    rate = status["messages"]["rate_per_s"]
                    self._rates.extend(() if rate is None else (rate,))
                    self._introduced.set()
                    self._heard()
                except VenueError as error:
                    self._failed(str(error))
                await self._clock.sleep(POLL_S)

    async def _follow(self) -> None:
        await self._introduced.wait()
        while True:
            self._turned.clear()
            try:
                if await self._streamed(self._chosen()):
                    continue
            except InvalidStatus as error:
                refusal = _refusal(error)
                # A market of our own choice may be gone after a restart, and is chosen anew.
                if not isinstance(refusal, VenueError) and (self._markets or not isinstance(refusal, UsageError)):
                    raise refusal from None
                self._failed(str(refusal))
            except (OSError, TimeoutError, WebSocketException) as error:
                self._failed(f"the stream ended: {error or type(error).__name__}")
            await self._clock.sleep(RETRY_S)

    def _every(self) -> tuple[str, ...]:
        return self._markets or (() if self._status is None else tuple(self._status["markets"]))

    def _chosen(self) -> tuple[str, ...]:
        """The market that stands first, and those after it."""
        every = self._every()
        at = every.index(self._first) if self._first in every else 0
        return (every[at:] + every[:at])[: self._most]

    async def _streamed(self, markets: Sequence[str]) -> bool:
        """Follow these books until others are wanted: True. Raises what the stream ends with."""
        stream, turned = asyncio.create_task(self._stream(markets)), asyncio.create_task(self._turned.wait())
        try:
            await asyncio.wait((stream, turned), return_when=asyncio.FIRST_COMPLETED)
            if stream.done():
                stream.result()
            return True
        finally:
            for task in (stream, turned):
                task.cancel()
            await asyncio.gather(stream, turned, return_exceptions=True)

    async def _stream(self, markets: Sequence[str]) -> None:
        url = self._source.stream_url(markets)
        async with websockets.connect(url, additional_headers=self._source.headers, **OPTIONS) as stream:
            before, self._mirror, self._streaming = self._mirror, Mirror(), True
            self._mirror.state, self._shown = before.state, tuple(markets)
            try:
                while True:
                    async with asyncio.timeout(SILENCE_S):
                        message = json.loads(await stream.recv())
                    self._mirror.take(message)
                    self._heard()
            finally:
                self._streaming = False


async def first_of(source: Source, markets: Sequence[str], kinds: Sequence[str]) -> dict[str, Any]:
    """The first message of each kind, as far as they come at once. Raises KflowError where the stream is refused."""
    found: dict[str, Any] = {}
    try:
        async with websockets.connect(
            source.stream_url(markets), additional_headers=source.headers, **OPTIONS
        ) as stream:
            with suppress(TimeoutError):
                async with asyncio.timeout(FIRST_S):
                    while not set(kinds) <= found.keys():
                        message = json.loads(await stream.recv())
                        found.setdefault(message.get("type"), message)
    except InvalidStatus as error:
        raise _refusal(error) from None
    except (OSError, TimeoutError, WebSocketException) as error:
        why = f"the stream of {source.url} ended: {error or type(error).__name__}"
        raise VenueUnreachable(why, hint="kflow watch without --once waits for it") from None
    return found


def _refusal(error: InvalidStatus) -> KflowError:
    try:
        body = json.loads(error.response.body or b"{}")
    except ValueError:
        body = {}
    return refused(error.response.status_code, body if isinstance(body, dict) else {})
