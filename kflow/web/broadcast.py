"""The stream of /rl/ws: one round of looks at the changed books, shared by all clients.

A client holds what it was last sent and which markets changed since: no queue. One that reads slowly is sent fewer,
larger differences, and no state that is older than a second; one that does not read at all is dropped. The recorder
waits for neither.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec

from kflow.market.book import BookView
from kflow.record.books import Books, Subscription
from kflow.record.trades import LastTrades
from kflow.web.orderbook import message, trades_message

# Looks at books, and sends of all clients together, between two turns of the event loop: the socket's reader must not
# wait for a thousand of them.
BOOKS_PER_TURN: Final = 20
SENDS_PER_TURN: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Limits of the stream."""

    clients: int = 32
    # Changes within one interval reach a client as one.
    interval_s: float = 0.05
    # A send that takes longer means that the client does not read.
    patience_s: float = 5.0
    heartbeat_s: float = 5.0
    state_s: float = 1.0


class Spoken(NamedTuple):
    """What is said to a client beside books."""

    heartbeat: Callable[[], str]
    # Of a tick of `Pace.state_s`; clients of the same tick share it.
    state: Callable[[int], Awaitable[str]]


class Client:
    """What one client follows, what it was last sent, and what changed since."""

    def __init__(self, markets: frozenset[str] | None, *, trades: bool = False, state: bool = False) -> None:
        # None: every market.
        self.markets, self.trades, self.state = markets, trades, state
        # How many trades of each market it was told of.
        self.told: dict[str, int] = {}
        self._sent: dict[str, BookView] = {}
        # In the order of change.
        self._pending: dict[str, None] = {}
        self.news = asyncio.Event()

    def follows(self, market: str) -> bool:
        return self.markets is None or market in self.markets

    def note(self, market: str) -> None:
        self._pending[market] = None
        self.news.set()

    def take(self) -> dict[str, None]:
        self.news.clear()
        pending, self._pending = self._pending, {}
        return pending

    def sent(self, view: BookView) -> BookView | None:
        """Remember what is about to be sent; returns what was sent before."""
        before = self._sent.get(view.market)
        self._sent[view.market] = view
        return before


class Broadcast:
    """Follows the books while there are clients."""

    def __init__(self, books: Books, trades: LastTrades, pace: Pace | None = None) -> None:
        self._books, self._trades = books, trades
        self.pace = pace or Pace()
        self._clients: set[Client] = set()
        # Only while there are clients: word of changes costs the recorder a little.
        self._following: tuple[Subscription, asyncio.Task[None]] | None = None
        # Each book as the last round saw it.
        self._views: dict[str, BookView] = {}
        # Per market the last difference that was encoded, and between which views: clients in step share it.
        self._encoded: dict[str, tuple[BookView | None, BookView, str | None]] = {}
        # The same of trades: after and up to how many.
        self._encoded_trades: dict[str, tuple[int | None, int, str]] = {}
        # Sends in this turn of the event loop.
        self._sends = 0
        # Clients that were dropped because they did not read.
        self.dropped = 0

    @property
    def clients(self) -> int:
        return len(self._clients)

    @property
    def full(self) -> bool:
        return len(self._clients) >= self.pace.clients

    def join(self, markets: frozenset[str] | None, *, trades: bool = False, state: bool = False) -> Client:
        """Follow `markets` (None: all) from now on; what there is comes first."""
        client = Client(markets, trades=trades, state=state)
        self._clients.add(client)
        if self._following is None:
            subscription = self._books.subscribe()
            self._following = subscription, asyncio.create_task(self._look(subscription), name="kflow-web-rounds")
        for market in self._books.markets() if markets is None else markets:
            client.note(market)
        return client

    def leave(self, client: Client) -> None:
        self._clients.discard(client)
        if not self._clients and self._following is not None:
            subscription, rounds = self._following
            self._following = None
            rounds.cancel()
            subscription.close()
            self._views.clear()
            self._encoded.clear()
            self._encoded_trades.clear()

    async def _look(self, subscription: Subscription) -> None:
        while True:
            for number, market in enumerate(await subscription.changed()):
                if number % BOOKS_PER_TURN == BOOKS_PER_TURN - 1:
                    await asyncio.sleep(0)
                followers = [client for client in self._clients if client.follows(market)]
                if followers:
                    self._refresh(market)
                else:
                    self._forget(market)
                for client in followers:
                    client.note(market)
            await asyncio.sleep(self.pace.interval_s)

    def _refresh(self, market: str) -> None:
        view = self._books.view(market)
        if view is not None:
            self._views[market] = view
        elif market in self._views:
            # A new connection that has not brought this book yet: what we have is the last known.
            self._views[market] = msgspec.structs.replace(self._views[market], live=False)

    def _forget(self, market: str) -> None:
        """Nobody follows it: who does so next is shown the book that is then."""
        self._views.pop(market, None)
        self._encoded.pop(market, None)
        self._encoded_trades.pop(market, None)

    async def feed(self, client: Client, send: Callable[[str], Awaitable[None]], spoken: Spoken) -> None:
        """Send until cancelled. Raises TimeoutError where the client does not read."""
        loop, pace = asyncio.get_running_loop(), self.pace
        beat_due = loop.time() + pace.heartbeat_s
        state_due = loop.time() if client.state else math.inf
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(min(beat_due, state_due)):
                    await client.news.wait()
            if loop.time() >= beat_due:
                beat_due = loop.time() + pace.heartbeat_s
                await self._send(send, spoken.heartbeat())
            if loop.time() >= state_due:
                tick = int(loop.time() / pace.state_s)
                state_due = (tick + 1) * pace.state_s
                await self._send(send, await spoken.state(tick))
            for market in client.take():
                await self._turn()
                for text in self._news(client, market):
                    await self._send(send, text)

    async def _turn(self) -> None:
        """Wait for a turn of the event loop that has room for one more send."""
        while self._sends >= SENDS_PER_TURN:  # noqa: ASYNC110 - the next turn is what is waited for
            await asyncio.sleep(0)
        if not self._sends:
            asyncio.get_running_loop().call_soon(self._next_turn)
        self._sends += 1

    def _next_turn(self) -> None:
        self._sends = 0

    async def _send(self, send: Callable[[str], Awaitable[None]], text: str) -> None:
        async with asyncio.timeout(self.pace.patience_s):
            await send(text)

    def _news(self, client: Client, market: str) -> Iterator[str]:
        book = self._book_news(client, market)
        if book is not None:
            yield book
        if client.trades:
            before, count = client.told.get(market), self._trades.count(market)
            if before != count:
                client.told[market] = count
                yield self._trade_news(market, before, count)

    def _book_news(self, client: Client, market: str) -> str | None:
        if market not in self._views:
            self._refresh(market)
        after = self._views.get(market)
        if after is None:
            return None
        before = client.sent(after)
        known = self._encoded.get(market)
        if known is not None and known[0] is before and known[1] is after:
            return known[2]
        raw = message(before, after)
        text = None if raw is None else raw.decode()
        self._encoded[market] = (before, after, text)
        return text

    def _trade_news(self, market: str, before: int | None, count: int) -> str:
        known = self._encoded_trades.get(market)
        if known is not None and known[:2] == (before, count):
            return known[2]
        trades = self._trades.since(market, before or 0)
        missed = 0 if before is None else count - before - len(trades)
        text = trades_message(market, trades, missed).decode()
        self._encoded_trades[market] = (before, count, text)
        return text
