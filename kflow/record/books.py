"""The readers' face of the live books: immutable views and word of what changed. The books themselves have one owner,
the task that reads the socket (design 1.5)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Collection
from concurrent.futures import Future
from typing import Final, TypeVar

from kflow.kalshi.protocol import FeedProtocol
from kflow.market.book import BookView

_Answer = TypeVar("_Answer")

# How often a waiting reader makes sure that the owner's loop still runs.
LOOP_ENDS_S: Final = 0.2


class Subscription:
    """Which books changed, or were traded, since the last look. Bounded by the number of markets: a slow reader misses
    versions, never the latest one, and slows nobody."""

    def __init__(self, markets: Collection[str] | None, closed: Callable[[Subscription], None]) -> None:
        # None: every market.
        self._markets = None if markets is None else frozenset(markets)
        self._changed: set[str] = set()
        self._lock = threading.Lock()
        self._news = threading.Event()
        # Woken on the reader's loop, where it waits on one.
        self._waiter: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None
        self._closed = closed

    def notify(self, changed: Collection[str]) -> None:
        """Called by the owner at the end of a chunk."""
        relevant = changed if self._markets is None else self._markets.intersection(changed)
        if not relevant:
            return
        with self._lock:
            self._changed.update(relevant)
            waiter = self._waiter
        if self._news.is_set():
            return  # the reader was told, and has not looked since: it will find this, too
        self._news.set()
        if waiter is not None:
            loop, event = waiter
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)

    def take(self) -> set[str]:
        """Markets that changed, or were traded, since the last call; maybe none."""
        with self._lock:
            taken, self._changed = self._changed, set()
            self._news.clear()
        return taken

    def wait(self, timeout_s: float | None = None) -> set[str]:
        """For threads: block until something changed, at most `timeout_s`. Empty when nothing did."""
        self._news.wait(timeout_s)
        return self.take()

    async def changed(self) -> set[str]:
        """For tasks of one event loop: wait until something changed."""
        if self._waiter is None:
            self._waiter = (asyncio.get_running_loop(), asyncio.Event())
        event = self._waiter[1]
        while not (taken := self.take()):
            event.clear()
            if self._news.is_set():  # it came between the look and the clearing
                continue
            await event.wait()
        return taken

    def close(self) -> None:
        self._closed(self)


class Books:
    """Views of the live books, for any thread."""

    def __init__(self) -> None:
        # The present connection's protocol; None before the first.
        self._protocol: FeedProtocol | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._owner: int | None = None
        self._subscriptions: tuple[Subscription, ...] = ()
        self._lock = threading.Lock()

    def attach(self, protocol: FeedProtocol) -> None:
        """A new connection: its books replace the old ones. Called by the owner."""
        self._protocol = protocol
        self._owner = threading.get_ident()
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            self._loop = None  # a test or benchmark drives the recorder by hand

    def publish(self, changed: set[str]) -> None:
        """Tell subscribers. Called by the owner at the end of a chunk."""
        for subscription in self._subscriptions:
            subscription.notify(changed)

    def markets(self) -> tuple[str, ...]:
        """Markets that have a book, sorted."""
        return self._asked(lambda: tuple(sorted(self._protocol.books)) if self._protocol else ())

    def view(self, market: str) -> BookView | None:
        """The book as it stood at the end of its last exchange-µs group, or None where there is none.

        From another thread than the owner's this asks the owner and waits.
        """
        return self._asked(lambda: self._protocol.view(market) if self._protocol else None)

    def counts(self) -> dict[str, int]:
        """How many books are live, stale (a gap is open) and invalid (no snapshot yet)."""
        return self._asked(self._count)

    def _count(self) -> dict[str, int]:
        books = list(self._protocol.books.values()) if self._protocol else []
        live = sum(book.live for book in books)
        started = sum(book.started for book in books)
        return {"live": live, "stale": started - live, "invalid": len(books) - started}

    def subscribe(self, markets: Collection[str] | None = None) -> Subscription:
        """Hear which books change; all of them, or `markets` only."""
        subscription = Subscription(markets, self._unsubscribe)
        with self._lock:
            self._subscriptions = (*self._subscriptions, subscription)
        return subscription

    def _unsubscribe(self, subscription: Subscription) -> None:
        with self._lock:
            self._subscriptions = tuple(s for s in self._subscriptions if s is not subscription)

    def _asked(self, question: Callable[[], _Answer]) -> _Answer:
        """Answer on the owner's thread."""
        loop = self._loop
        if loop is None or threading.get_ident() == self._owner or not loop.is_running():
            return question()
        future: Future[_Answer] = Future()

        def answer() -> None:
            try:
                future.set_result(question())
            except Exception as error:  # noqa: BLE001 - it belongs to whoever asked
                future.set_exception(error)

        try:
            loop.call_soon_threadsafe(answer)
        except RuntimeError:  # it was closed meanwhile
            return question()
        while True:
            try:
                return future.result(LOOP_ENDS_S)
            except TimeoutError:
                if future.done() or not loop.is_running():
                    return future.result(0) if future.done() else question()
