"""A recording of a scripted venue in this process, watched after every chunk."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from kflow.clock import SystemClock
from kflow.exchange.faults import Fault
from kflow.exchange.server import ExchangeOptions
from kflow.kalshi.backoff import Backoff
from kflow.kalshi.feed import Feed
from kflow.market.book import BookView
from kflow.market.events import Side
from kflow.record.books import Books, Subscription
from kflow.record.handoff import BatchLimits
from kflow.record.recorder import Plan
from kflow.record.session import RecordingOptions, RecordingSession, new_card
from kflow.session.chunks import MarketFacts
from kflow.testing.postgres import Database
from kflow.testing.proxy import Proxy
from kflow.testing.venue import MARKET, LocalVenue, listing

SECOND = "INXD-25JAN03-B5937"
Levels = tuple[tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]]


class HastyClock(SystemClock):
    """Nobody waits for the next attempt; how long would have been waited is kept."""

    def __init__(self) -> None:
        self.waits_s: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.waits_s.append(seconds)
        await asyncio.sleep(0)


class Watch(Subscription):
    """Looks at each book in the moment in which it changes: what is live must be what the venue had."""

    def __init__(self, books: Books) -> None:
        super().__init__(None, lambda _: None)
        self._books = books
        # Every state that a market's book really had, at the end of a group.
        self.true: dict[str, set[Levels]] = {MARKET: set(), SECOND: set()}
        self.wrong: list[BookView] = []
        # (market, live) of every look.
        self.seen: list[tuple[str, bool]] = []

    def notify(self, changed: Collection[str]) -> None:
        for market in changed:
            view = self._books.view(market)
            if view is None:
                continue
            self.seen.append((market, view.live))
            if view.live and (view.yes, view.no) not in self.true[market]:
                self.wrong.append(view)
        super().notify(changed)


@dataclass
class Recording:
    """A session, its venue, and what the venue's books really were."""

    session: RecordingSession
    venue: LocalVenue
    feed: Feed
    watch: Watch
    clock: HastyClock
    database: Database
    directory: Path
    proxy: Proxy | None = None
    amounts: random.Random = field(default_factory=lambda: random.Random(1))

    def note(self) -> None:
        for market, states in self.watch.true.items():
            states.add(self.levels(market))

    def levels(self, market: str = MARKET) -> Levels:
        book = self.venue.exchange.venue.markets[market].book
        return book.levels(Side.YES), book.levels(Side.NO)

    def delta(self, market: str = MARKET) -> None:
        """One change that no other change equals, so that a book that lacks it equals no true one."""
        side, price = self.amounts.choice([(0, 4000), (0, 4100), (1, 5000), (1, 5100)])
        self.venue.send_deltas([(side, price, 1 + self.amounts.randrange(10**6))], market=market)
        self.note()

    async def live(self, markets: Iterable[str] = (MARKET, SECOND)) -> None:
        """Until the books are the venue's. A last group is shown after a while by itself."""
        async with asyncio.timeout(30):
            while not all(self.is_live(market) for market in markets):
                await self.watch.changed()

    def is_live(self, market: str) -> bool:
        view = self.session.books.view(market)
        return view is not None and view.live and (view.yes, view.no) == self.levels(market)

    async def gap(self, kind: str, count: int = 1) -> None:
        """Until so many gaps of a kind were found."""
        async with asyncio.timeout(30):
            while self.session.recorder.status.gaps[kind] < count:
                await self.watch.changed()

    async def gap_or_closed(self) -> None:
        """Until the first thing was found wrong."""
        status = self.session.recorder.status
        async with asyncio.timeout(30):
            while self.feed.status.connected and not status.gaps.total():
                await self.watch.changed()

    def rows(self, query: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.database.dsn) as conn:
            return conn.execute(query).fetchall()  # type: ignore[arg-type]


@asynccontextmanager
async def recording(
    folder: Path,
    database: Database,
    *,
    faults: Iterable[Fault] = (),
    live: bool = True,
    seed: int = 7,
    line: Callable[[tuple[str, int]], Proxy] | None = None,
) -> AsyncIterator[Recording]:
    """Recorded from the first frame, over a `line` if one is given; what follows the block is drained to the tables."""
    clock = HastyClock()
    plan = Plan(
        markets=tuple(MarketFacts(market, list(listing(market).price_ranges)) for market in (MARKET, SECOND)),
        channels=("orderbook_delta", "trade"),
    )
    root = folder / "data" / "journal"
    card = new_card(
        environment="local", use_yes_price=False, sample_rate=1, selection={}, clock=clock, journal_root=root
    )
    options = RecordingOptions(batch=BatchLimits(rows=100, age_s=0.05))
    truth = folder / "truth"
    async with LocalVenue(
        markets=(MARKET, SECOND), options=ExchangeOptions(truth=truth), faults=tuple(faults)
    ) as venue:
        session = RecordingSession(
            root, plan, lambda: database.connect(autocommit=True), card=card, clock=clock, options=options
        )
        session.begin()
        url = urlsplit(venue.ws)
        assert url.hostname is not None
        assert url.port is not None
        proxy = None if line is None else await line((url.hostname, url.port)).__aenter__()
        address = venue.ws if proxy is None else url._replace(netloc=f"127.0.0.1:{proxy.port}").geturl()
        feed = Feed(address, venue.key, session.recorder, clock=clock, backoff=Backoff(random.Random(seed)))
        watch = Watch(session.books)
        session.books._subscriptions = (watch,)
        running = asyncio.create_task(feed.run())
        found = Recording(session, venue, feed, watch, clock, database, folder, proxy)
        found.note()
        try:
            if live:
                await found.live()
            yield found
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            assert await session.end(), "the tables do not hold everything"
            if proxy is not None:
                await proxy.__aexit__(None, None, None)
