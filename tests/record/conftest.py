"""What the tests of this room share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from kflow.clock import ManualClock
from kflow.record.books import Books
from kflow.record.handoff import BatchLimits, Handoff
from kflow.record.recorder import Plan, Recorder
from kflow.session.chunks import MarketFacts
from kflow.store import sessions
from kflow.store.journal import JournalWriter
from kflow.store.journal_reader import JournalReader
from kflow.store.postgres import Connection
from kflow.store.sessions import NewSession
from kflow.testing.frames import CENTS, MARKET, OTHER, Frames
from kflow.testing.postgres import Database

YES = [(4000, 100_000), (4100, 100_000)]


class Source:
    """A recorder driven by hand, whose chunks a writer takes."""

    def __init__(self, directory: Path, *, queue_rows: int = 10_000) -> None:
        self.directory, self.clock = directory, ManualClock()
        self.handoff = Handoff(queue_rows, BatchLimits(rows=1, age_s=0.01))
        self.uuid = uuid4()
        self.journal = JournalWriter(
            directory, self.uuid, segment_bytes=20_000, checkpoint=lambda: self.recorder.state()
        )
        facts = tuple(MarketFacts(market, CENTS) for market in (MARKET, OTHER))
        self.recorder = Recorder(Plan(markets=facts), self.journal, Books(), self.handoff, clock=self.clock)
        self.frames = Frames()
        self.sent = 0
        self.recorder.begin()

    def connect(self) -> None:
        self.frames = Frames()
        self.recorder.opened("ws://venue")
        for market in (MARKET, OTHER):
            self.take(self.frames.snapshot(market, YES))

    def take(self, *frames: bytes) -> None:
        self.sent += len(frames)
        self.clock.advance(0.001)
        self.recorder.received(list(frames), self.clock.wall_ns(), self.clock.mono_ns())

    def deltas(self, count: int) -> None:
        for n in range(count):
            self.take(self.frames.delta(4000 + 100 * (n % 2), 100 + n, market=(MARKET, OTHER)[n % 2]))

    def card(self) -> NewSession:
        return NewSession(
            uuid=self.uuid,
            started_ns=1,
            environment="local",
            use_yes_price=False,
            sample_rate=1,
            kflow_version="0",
            host="here",
            journal_dir=str(self.directory),
            selection={},
        )

    def reader(self) -> JournalReader:
        return JournalReader(self.directory)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(tmp_path / "journal")


@pytest.fixture
def conn(database: Database) -> Iterator[Connection]:
    with database.connect(autocommit=True) as connection:
        yield connection


@pytest.fixture
def number(conn: Connection, source: Source) -> int:
    """Of the source's session."""
    return sessions.create_session(conn, source.card())


def stored(conn: Connection) -> list[int]:
    """Seqs of the deltas in the table, in their order."""
    rows = conn.execute("SELECT seq FROM rl_orderbook_deltas ORDER BY connection, seq").fetchall()
    return [int(seq) for (seq,) in rows]  # type: ignore[call-overload]
