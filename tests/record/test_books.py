"""Readers of any thread see whole books, and hear of changes without ever slowing the owner."""

from __future__ import annotations

import asyncio
import threading

import pytest

from kflow.kalshi.protocol import FeedProtocol
from kflow.record.books import Books
from kflow.testing.frames import MARKET, OTHER, Frames


@pytest.fixture
def protocol() -> FeedProtocol:
    protocol, frames = FeedProtocol(), Frames()
    protocol.receive(frames.snapshot(MARKET, [(4000, 100)]))
    protocol.receive(frames.snapshot(OTHER, [(3000, 100)]))
    return protocol


def test_before_the_first_connection_there_is_nothing() -> None:
    books = Books()
    assert books.markets() == ()
    assert books.view(MARKET) is None
    assert books.counts() == {"live": 0, "stale": 0, "invalid": 0}


def test_views_and_counts(protocol: FeedProtocol) -> None:
    books = Books()
    books.attach(protocol)
    assert books.markets() == (MARKET, OTHER)
    view = books.view(MARKET)
    assert view is not None
    assert view.yes == ((4000, 100),)
    protocol.books[OTHER].live = False
    assert books.counts() == {"live": 1, "stale": 1, "invalid": 0}


def test_a_slow_subscriber_misses_versions_never_the_latest() -> None:
    books = Books()
    everything, some = books.subscribe(), books.subscribe([OTHER])
    for _ in range(1000):
        books.publish({MARKET})
    books.publish({OTHER})
    assert everything.take() == {MARKET, OTHER}
    assert some.take() == {OTHER}
    assert everything.take() == set()
    everything.close()
    books.publish({MARKET})
    assert everything.take() == set()


def test_a_thread_waits_for_news() -> None:
    books = Books()
    subscription = books.subscribe()
    assert subscription.wait(0.001) == set()
    threading.Timer(0.01, lambda: books.publish({MARKET})).start()
    assert subscription.wait(5) == {MARKET}


async def test_a_task_waits_for_news() -> None:
    books = Books()
    subscription = books.subscribe()
    books.publish({MARKET})
    assert await subscription.changed() == {MARKET}
    waiting = asyncio.create_task(subscription.changed())
    await asyncio.sleep(0)
    books.publish({OTHER})
    assert await asyncio.wait_for(waiting, 5) == {OTHER}


async def test_another_thread_asks_the_owner(protocol: FeedProtocol) -> None:
    books = Books()
    books.attach(protocol)
    view = await asyncio.to_thread(books.view, MARKET)
    assert view is not None
    assert view.live


async def test_a_question_that_fails_is_answered_with_its_error(protocol: FeedProtocol) -> None:
    books = Books()
    books.attach(protocol)
    protocol.books = None  # type: ignore[assignment]
    with pytest.raises(TypeError):
        await asyncio.wait_for(asyncio.to_thread(books.markets), 5)


def test_nobody_waits_for_a_loop_that_has_ended(protocol: FeedProtocol) -> None:
    books = Books()
    asked, stop = threading.Event(), threading.Event()
    found: list[tuple[str, ...]] = []

    async def own() -> None:
        books.attach(protocol)
        asked.set()
        stop.wait(5)  # blocks the loop: the question comes too late for it

    owner = threading.Thread(target=lambda: asyncio.run(own()))
    owner.start()
    asked.wait()
    reader = threading.Thread(target=lambda: found.append(books.markets()))
    reader.start()
    stop.set()
    reader.join(5)
    owner.join(5)
    assert found == [(MARKET, OTHER)]
