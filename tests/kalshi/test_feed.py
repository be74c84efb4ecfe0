"""The stream against a real venue on loopback: what it brings, what ends it, and that it comes back."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from kflow.clock import SystemClock
from kflow.errors import JournalError, VenueRefused
from kflow.exchange.faults import Fault, Kind
from kflow.kalshi import wire
from kflow.kalshi.backoff import Backoff
from kflow.kalshi.feed import PAUSE_STEP_S, STOPPED, Feed
from kflow.kalshi.protocol import FeedProtocol
from kflow.market.events import BookDelta, BookSnapshot, FeedEvent
from kflow.testing.venue import MARKET, LocalVenue


class Hasty(SystemClock):
    """Waits for nothing, and keeps how long it would have."""

    def __init__(self) -> None:
        self.waits_s: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.waits_s.append(seconds)
        await asyncio.sleep(0)


class Listener:
    """Keeps what it is told; fails where it is asked to."""

    def __init__(self, channel: str = "orderbook_delta") -> None:
        self.channel = channel
        self.calls: list[str] = []
        self.events: list[FeedEvent] = []
        self.commands: list[wire.Command] = []
        self.reasons: list[str] = []
        self.sizes: list[int] = []
        # Raised by these calls, once each.
        self.failures: dict[str, Exception] = {}
        self.protocol: FeedProtocol | None = None
        self.news = asyncio.Event()

    def _note(self, call: str) -> None:
        self.calls.append(call)
        self.news.set()
        failure = self.failures.pop(call, None)
        if failure is not None:
            raise failure

    def prepare(self) -> None:
        self._note("prepare")

    def opened(self, url: str) -> FeedProtocol:
        assert url.startswith("ws://127.0.0.1")
        self._note("opened")
        self.protocol = FeedProtocol()
        self.protocol.now_ns = SystemClock().mono_ns()
        self.protocol.subscriptions.subscribe(self.channel, [MARKET])
        return self.protocol

    def commanded(self, raw: bytes) -> None:
        self._note("commanded")
        self.commands.append(wire.decode_command(raw))

    def received(self, frames: list[bytes], wall_ns: int, mono_ns: int) -> None:
        assert wall_ns > 10**18
        self._note("received")
        assert self.protocol is not None
        self.protocol.now_ns = mono_ns
        self.events += self.protocol.receive_all(frames)

    def idle(self) -> None:
        self.news.set()

    def oversized(self, size: int) -> None:
        self._note("oversized")
        self.sizes.append(size)

    def closed(self, reason: str) -> None:
        self.reasons.append(reason)
        self.protocol = None
        self._note("closed")

    def count(self, call: str) -> int:
        return self.calls.count(call)

    async def until(self, call: str, count: int = 1) -> None:
        async with asyncio.timeout(20):
            while self.count(call) < count:
                self.news.clear()
                await self.news.wait()

    async def live(self) -> None:
        async with asyncio.timeout(20):
            while not (self.protocol and self.protocol.books and all(b.live for b in self.protocol.books.values())):
                self.news.clear()
                await self.news.wait()


@asynccontextmanager
async def feeding(
    *, faults: Iterable[Fault] = (), listener: Listener | None = None
) -> AsyncIterator[tuple[Feed, Listener, LocalVenue, Hasty]]:
    listener, clock = listener or Listener(), Hasty()
    async with LocalVenue(faults=tuple(faults)) as venue:
        feed = Feed(venue.ws, venue.key, listener, clock=clock, backoff=Backoff(random.Random(1)))
        task = asyncio.create_task(feed.run())
        try:
            yield feed, listener, venue, clock
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_it_connects_subscribes_and_listens() -> None:
    async with feeding() as (feed, listener, venue, _):
        await listener.live()
        venue.send_deltas([(0, 4000, 100)])
        async with asyncio.timeout(10):
            while not isinstance(listener.events[-1], BookDelta):
                listener.news.clear()
                await listener.news.wait()
        assert listener.calls[:3] == ["prepare", "opened", "commanded"]
        assert [command.cmd for command in listener.commands] == ["subscribe"]
        assert [type(event) for event in listener.events[-2:]] == [BookSnapshot, BookDelta]
        assert (feed.status.connected, feed.status.attempts, feed.status.reconnects) == (True, 1, 0)
    assert listener.reasons == [STOPPED]
    assert not feed.status.connected


async def test_a_command_is_kept_before_it_is_sent() -> None:
    async with feeding() as (_, listener, venue, _clock):
        await listener.live()
        venue.inject(Fault(kind=Kind.DROP))
        venue.send_each([(0, 4000, 100), (0, 4000, 100)])
        await listener.until("commanded", 2)
        await listener.live()
        assert [c.params.get("action") for c in listener.commands] == [None, "get_snapshot"]
        assert venue.snapshots_served == 2


@pytest.mark.parametrize("end", ["cut", "close"])
async def test_it_comes_back(end: str) -> None:
    async with feeding() as (feed, listener, venue, _):
        for turn in range(1, 4):
            await listener.live()
            venue.cut_sockets() if end == "cut" else venue.close_sockets(1012)
            await listener.until("closed", turn)
        await listener.live()
        assert feed.status.reconnects == 3
        assert feed.status.attempts == 4
    assert len(listener.reasons) == 4
    assert all(("1012" if end == "close" else "closed") in reason for reason in listener.reasons[:3])


async def test_an_oversized_frame_is_told_before_the_end() -> None:
    async with feeding() as (_, listener, venue, _clock):
        await listener.live()
        venue.inject(Fault(kind=Kind.OVERSIZED, size_mib=64.001))
        venue.send_deltas([(0, 4000, 100)])
        await listener.until("closed")
        assert listener.calls.index("oversized") < listener.calls.index("closed")
        assert listener.sizes[0] > 64 * 2**20
        await listener.until("opened", 2)


@pytest.mark.parametrize("call", ["prepare", "opened", "commanded", "received", "closed"])
async def test_a_journal_that_fails_ends_the_connection_not_the_feed(call: str) -> None:
    listener = Listener()
    listener.failures[call] = JournalError("no room")
    async with feeding(listener=listener) as (feed, _, venue, _clock):
        if call == "closed":
            await listener.live()
            venue.cut_sockets()
        await listener.until(call, 2 if call != "closed" else 1)
        await listener.until("opened", 2 if call != "prepare" else 1)
        await listener.live()
        assert feed.status.connected


async def test_a_refused_key_ends_the_first_connection_for_good() -> None:
    async with LocalVenue() as venue:
        key = replace(venue.key, key_id="nobody")
        with pytest.raises(VenueRefused, match="401") as caught:
            await asyncio.wait_for(Feed(venue.ws, key, Listener(), clock=Hasty()).run(), 10)
    assert caught.value.hint


async def test_a_key_that_is_refused_later_waits_long() -> None:
    faults = [Fault(kind=Kind.REFUSE_UPGRADE, status=401, after_frames=1)]
    async with feeding(faults=faults) as (feed, listener, venue, clock):
        await listener.live()
        venue.cut_sockets()
        await listener.until("opened", 2)
        await listener.live()
        assert feed.status.attempts == 3
        assert sum(clock.waits_s) >= 10
        assert max(clock.waits_s) <= PAUSE_STEP_S  # in steps, so that nobody takes the loop for stuck


async def test_a_wrong_command_at_the_beginning_ends_it() -> None:
    listener = Listener(channel="no_such_channel")
    async with LocalVenue() as venue:
        feed = Feed(venue.ws, venue.key, listener, clock=Hasty())
        with pytest.raises(VenueRefused, match="refused a command"):
            await asyncio.wait_for(feed.run(), 10)


async def test_a_venue_that_is_away_is_tried_again() -> None:
    async with LocalVenue() as venue:
        url, key = venue.ws, venue.key
    listener, clock = Listener(), Hasty()
    task = asyncio.create_task(Feed(url, key, listener, clock=clock).run())
    await listener.until("prepare", 8)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert len(clock.waits_s) >= 7
    assert listener.count("opened") == 0
