"""The stream of /rl/ws: one round of looks at the changed books, shared by all clients.

A client holds what it was last sent and which markets changed since: no queue. One that reads slowly is sent fewer,
larger differences; one that does not read at all is dropped. The recorder waits for neither.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from kflow.market.book import BookView
from kflow.record.books import Books, Subscription
from kflow.web.orderbook import message

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


class Client:
    """What one client follows, what it was last sent, and what changed since."""

    def __init__(self, markets: frozenset[str] | None) -> None:
        # None: every market.
        self.markets = markets
        self._sent: dict[str, BookView] = {}
        # In the order of change.
        self._pending: dict[str, None] = {}
        self.news = asyncio.Event()

    def note(self, market: str) -> None:
        if self.markets is None or market in self.markets:
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

    def __init__(self, books: Books, pace: Pace | None = None) -> None:
        self._books = books
        self.pace = pace or Pace()
        self._clients: set[Client] = set()
        # Only while there are clients: word of changes costs the recorder a little.
        self._following: tuple[Subscription, asyncio.Task[None]] | None = None
        # Each book as the last round saw it.
        self._views: dict[str, BookView] = {}
        # Per market the last difference that was encoded, and between which views: clients in step share it.
        self._encoded: dict[str, tuple[BookView | None, BookView, str | None]] = {}
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

    def join(self, markets: frozenset[str] | None) -> Client:
        """Follow `markets` (None: all) from now on; what there is comes first."""
        client = Client(markets)
        self._clients.add(client)
        if self._following is None:
            subscription = self._books.subscribe()
            self._following = subscription, asyncio.create_task(self._look(subscription), name="kflow-web-rounds")
        for market in self._books.markets():
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

    async def _look(self, subscription: Subscription) -> None:
        while True:
            for number, market in enumerate(await subscription.changed()):
                if number % BOOKS_PER_TURN == BOOKS_PER_TURN - 1:
                    await asyncio.sleep(0)
                self._refresh(market)
                for client in self._clients:
                    client.note(market)
            await asyncio.sleep(self.pace.interval_s)

    def _refresh(self, market: str) -> None:
        view = self._books.view(market)
        if view is not None:
            self._views[market] = view
        elif market in self._views:
            # A new connection that has not brought this book yet: what we have is the last known.
            self._views[market] = msgspec.structs.replace(self._views[market], live=False)

    async def feed(self, client: Client, send: Callable[[str], Awaitable[None]], heartbeat: Callable[[], str]) -> None:
        """Send until cancelled. Raises TimeoutError where the client does not read."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self.pace.heartbeat_s
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await client.news.wait()
            if loop.time() >= due:
                due = loop.time() + self.pace.heartbeat_s
                await self._send(send, heartbeat())
            for market in client.take():
                await self._turn()
                text = self._news(client, market)
                if text is not None:
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

    def _news(self, client: Client, market: str) -> str | None:
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
