"""The stream's rounds, without a socket: fair turns, shared encoding, and what is kept per client."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from kflow.testing.recording import HandDriven
from kflow.web.broadcast import SENDS_PER_TURN, Broadcast, Client, Pace, Spoken

MARKETS = [f"M{number}" for number in range(50)]


@pytest.fixture
def session(tmp_path: Path) -> HandDriven:
    session = HandDriven(tmp_path)
    session.connect()
    session.receive(*[session.snapshot(market, yes=[("0.4300", "50.00")]) for market in MARKETS])
    return session


async def _state(tick: int) -> str:
    return f"state {tick}"


class Reader:
    """A client that takes everything at once."""

    def __init__(self, broadcast: Broadcast) -> None:
        self.client: Client = broadcast.join(None)
        self.texts: list[str] = []
        self.enough = asyncio.Event()
        self.wanted = len(MARKETS)
        self.feeding = asyncio.create_task(broadcast.feed(self.client, self.take, Spoken(lambda: "heartbeat", _state)))

    async def take(self, text: str) -> None:
        self.texts.append(text)
        if len(self.texts) == self.wanted:
            self.enough.set()


async def test_many_clients_leave_the_loop_its_turns(session: HandDriven) -> None:
    broadcast = Broadcast(session.books, session.recorder.trades, Pace(interval_s=0))
    readers = [Reader(broadcast) for _ in range(10)]
    most = before = 0
    async with asyncio.timeout(10):
        while not all(reader.enough.is_set() for reader in readers):
            await asyncio.sleep(0)  # one turn of the loop
            sent = sum(len(reader.texts) for reader in readers)
            most, before = max(most, sent - before), sent
    assert before == 10 * len(MARKETS)
    assert 0 < most <= 2 * SENDS_PER_TURN  # ours may begin in the middle of one
    for reader in readers:
        reader.feeding.cancel()
        broadcast.leave(reader.client)


async def test_clients_in_step_share_what_was_encoded(session: HandDriven) -> None:
    broadcast = Broadcast(session.books, session.recorder.trades, Pace(interval_s=0))
    first, second = Reader(broadcast), Reader(broadcast)
    for reader in (first, second):
        await reader.enough.wait()
        reader.enough.clear()
        reader.wanted += 1
    session.receive(session.delta("0.4300", "1.00", market="M7"))
    for reader in (first, second):
        await reader.enough.wait()
        reader.feeding.cancel()
        broadcast.leave(reader.client)
    assert '"market":"M7"' in first.texts[-1]
    assert first.texts[-1] is second.texts[-1]


async def test_nothing_is_kept_when_everybody_left(session: HandDriven) -> None:
    broadcast = Broadcast(session.books, session.recorder.trades, Pace(interval_s=0))
    reader = Reader(broadcast)
    await reader.enough.wait()
    reader.feeding.cancel()
    broadcast.leave(reader.client)
    broadcast.leave(reader.client)
    assert (broadcast.clients, broadcast._views, broadcast._encoded) == (0, {}, {})
    assert session.books._subscriptions == ()
    again = Reader(broadcast)  # and it begins anew
    await again.enough.wait()
    again.feeding.cancel()
    broadcast.leave(again.client)


async def test_what_waits_for_a_client_is_a_set_of_markets(session: HandDriven) -> None:
    broadcast = Broadcast(session.books, session.recorder.trades, Pace(interval_s=0))
    client = broadcast.join(frozenset(["M7"]))
    for _ in range(500):
        session.receive(session.delta("0.4300", "1.00", market="M7"), session.delta("0.4300", "1.00", market="M8"))
        await asyncio.sleep(0)
    assert list(client.take()) == ["M7"]
    broadcast.leave(client)


async def test_books_that_nobody_follows_are_not_copied(session: HandDriven) -> None:
    """Whoever comes to follow one later is shown the book that is then, not one that was kept."""
    broadcast = Broadcast(session.books, session.recorder.trades, Pace(interval_s=0))
    everything = Reader(broadcast)
    await everything.enough.wait()
    only = broadcast.join(frozenset(["M7"]))
    everything.feeding.cancel()
    broadcast.leave(everything.client)
    session.receive(session.delta("0.4300", "1.00", market="M7"), session.delta("0.4300", "1.00", market="M8"))
    while "M8" in broadcast._views or not only.news.is_set():  # noqa: ASYNC110 - the next turn is what is waited for
        await asyncio.sleep(0)
    later = broadcast.join(frozenset(["M8"]))
    (text,) = broadcast._news(later, "M8")
    assert '"version":2' in text
    assert "[4300,5100]" in text
    for client in (only, later):
        broadcast.leave(client)
