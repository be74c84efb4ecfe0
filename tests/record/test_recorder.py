"""Journal, then books, then subscribers and writer; and a row for each time in which nothing was heard."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from uuid import UUID

import pytest

from kflow.clock import NS_PER_S, ManualClock
from kflow.errors import JournalError
from kflow.kalshi.feed import STOPPED
from kflow.market.events import GapKind
from kflow.record.books import Books
from kflow.record.recorder import Plan, Recorder
from kflow.session.chunks import Chunk, Closed, Hole, MarketFacts, Opened, read_chunks
from kflow.store import journal as module
from kflow.store.journal import JournalWriter, RecordKind
from kflow.store.journal_reader import JournalReader
from kflow.testing.frames import CENTS, MARKET, Frames


class Bench:
    """A recorder whose venue, clock and disk are ours."""

    def __init__(self, directory: Path, **plan: object) -> None:
        self.clock, self.books, self.chunks = ManualClock(), Books(), list[Chunk]()
        self.directory = directory
        # As a handoff: after how many chunks it is full, and where a checkpoint was made for it.
        self.full_at: int | None = None
        self.checkpoint: int | None = None
        self.journal = JournalWriter(directory, UUID(int=1))
        facts = (MarketFacts(MARKET, CENTS), MarketFacts("KXT-ODD", [{"start": "1"}]))
        self.recorder = Recorder(Plan(markets=facts, **plan), self.journal, self.books, self, clock=self.clock)  # type: ignore[arg-type]
        self.frames = Frames()
        self.recorder.begin()

    def put(self, chunk: Chunk) -> bool:
        assert chunk.end <= self.journal.offset, "no row before its frame is on disk"
        self.chunks.append(chunk)
        return len(self.chunks) == self.full_at

    def connect(self) -> None:
        self.recorder.prepare()
        self.recorder.opened("ws://venue")
        self.frames = Frames()
        self.take(self.frames.snapshot(MARKET, [(4000, 500)]))

    def take(self, *frames: bytes) -> None:
        self.clock.advance(1)
        self.recorder.received(list(frames), self.clock.wall_ns(), self.clock.mono_ns())

    def holes(self) -> list[Hole]:
        return [chunk.mark for chunk in self.chunks if isinstance(chunk.mark, Hole)]

    def kinds(self) -> list[RecordKind]:
        return [RecordKind(record.kind) for record in JournalReader(self.directory).records()]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_connection_from_beginning_to_end(bench: Bench) -> None:
    bench.connect()
    bench.take(bench.frames.delta(4000, 100), bench.frames.delta(4000, 100))
    bench.recorder.closed(STOPPED)
    bench.recorder.finish()
    assert bench.kinds() == [
        RecordKind.MARKETS,
        RecordKind.CONNECTED,
        RecordKind.FRAME,
        RecordKind.FRAME,
        RecordKind.FRAME,
        RecordKind.DISCONNECTED,
    ]
    assert [chunk.mark for chunk in bench.chunks if chunk.mark][1:] == [Opened("ws://venue"), Closed(STOPPED)]
    assert [len(chunk.events) for chunk in bench.chunks] == [0, 0, 1, 2, 0]
    assert bench.recorder.status.total_messages == 3
    assert bench.holes() == []


def test_what_is_subscribed(bench: Bench) -> None:
    protocol = bench.recorder.opened("ws://venue")
    asked = [(c.params["channels"], c.params.get("market_tickers")) for c in protocol.subscriptions.outbox]
    both = [MARKET, "KXT-ODD"]
    assert asked == [
        (["orderbook_delta"], both),
        (["trade"], both),
        (["ticker"], both),
        (["market_lifecycle_v2"], None),
    ]
    assert list(protocol.grids) == [MARKET], "ranges that make no grid check nothing"


def test_a_lost_connection_is_a_gap_until_the_next_one_stands(bench: Bench) -> None:
    bench.connect()
    heard_ns = bench.clock.wall_ns()
    bench.clock.advance(5)
    bench.recorder.closed("the venue closed\0 it")
    view = bench.books.view(MARKET)
    assert view is not None
    assert not view.live
    bench.clock.advance(5)
    bench.connect()
    [hole] = bench.holes()
    assert (hole.kind, hole.started_ns, hole.ended_ns) == (GapKind.DISCONNECT, heard_ns, heard_ns + 10 * NS_PER_S)
    assert "\0" not in hole.detail
    view = bench.books.view(MARKET)
    assert view is not None
    assert view.live


def test_a_connection_that_brought_nothing_is_no_longer_gap_than_it_was(bench: Bench) -> None:
    bench.connect()
    bench.recorder.closed("cut")
    bench.clock.advance(10)
    bench.recorder.opened("ws://venue")
    opened_ns = bench.clock.wall_ns()
    bench.clock.advance(10)
    bench.recorder.closed("cut")
    bench.recorder.opened("ws://venue")
    assert [hole.started_ns for hole in bench.holes()][1] == opened_ns


def test_an_end_while_the_venue_is_away_is_a_gap_too(bench: Bench) -> None:
    bench.connect()
    bench.recorder.closed("cut")
    bench.clock.advance(3)
    bench.recorder.finish()
    [hole] = bench.holes()
    assert hole.kind is GapKind.DISCONNECT
    assert bench.kinds()[-1] is RecordKind.GAP


def test_an_oversized_frame_names_its_gap(bench: Bench) -> None:
    bench.connect()
    bench.recorder.oversized(70_000_000)
    bench.recorder.closed("oversized")
    bench.connect()
    bench.recorder.closed("cut")
    bench.connect()
    assert [(hole.kind, hole.detail) for hole in bench.holes()] == [
        (GapKind.OVERSIZED, "a frame of 70000000 bytes"),
        (GapKind.DISCONNECT, "cut"),
    ]


class FullDisk:
    """Refuses every write while it is full."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full, self._write = False, os.write
        monkeypatch.setattr(module.os, "write", self.write)

    def write(self, fd: int, data: bytes) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._write(fd, data)


@pytest.mark.parametrize("what", ["frames", "a command"])
def test_what_cannot_be_journalled_was_not_received(bench: Bench, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = FullDisk(monkeypatch)
    bench.connect()
    seen, disk.full = len(bench.chunks), True
    with pytest.raises(JournalError):
        bench.take(bench.frames.delta(4000, 100)) if what == "frames" else bench.recorder.commanded(b"{}")
    lost_ns = bench.clock.wall_ns()
    assert bench.recorder.status.journal_failed
    assert bench.recorder.status.total_messages == 1
    bench.recorder.closed("the journal failed")
    assert len(bench.chunks) == seen
    for _ in range(3):
        with pytest.raises(JournalError):
            bench.recorder.prepare()
    disk.full = False
    bench.clock.advance(60)
    bench.connect()
    [hole] = bench.holes()
    assert (hole.kind, hole.started_ns) == (GapKind.DOWNTIME, lost_ns)
    assert hole.ended_ns == lost_ns + 60 * NS_PER_S
    assert not bench.recorder.status.journal_failed
    bench.recorder.closed(STOPPED)
    bench.recorder.finish()
    assert bench.kinds()[-4:] == [RecordKind.GAP, RecordKind.CONNECTED, RecordKind.FRAME, RecordKind.DISCONNECTED]


def test_the_last_group_is_shown_after_a_while(bench: Bench) -> None:
    bench.connect()
    subscription = bench.books.subscribe()
    bench.take(bench.frames.delta(4000, 100))
    assert subscription.take() == set()
    bench.recorder.idle()
    assert subscription.take() == set()
    bench.clock.advance(0.006)
    bench.recorder.idle()
    assert subscription.take() == {MARKET}
    view = bench.books.view(MARKET)
    assert view is not None
    assert view.yes == ((4000, 600),)


def test_gaps_are_counted_by_kind(bench: Bench) -> None:
    bench.connect()
    bench.frames.skip(4)
    bench.take(bench.frames.delta(4000, 100), b"noise")
    assert bench.recorder.status.gaps == {"sequence": 1, "malformed": 1}
    assert bench.recorder.status.missing == 4
    assert [len(chunk.gaps) for chunk in bench.chunks][-1] == 2


def test_a_full_handoff_gets_a_checkpoint_to_read_from(bench: Bench) -> None:
    bench.connect()
    bench.full_at = len(bench.chunks) + 1
    bench.take(bench.frames.delta(4000, 100))
    bench.take(bench.frames.delta(4000, 100))
    at = [record for record in JournalReader(bench.directory).records() if record.kind == RecordKind.CHECKPOINT]
    assert [record.offset for record in at] == [bench.checkpoint]
    rest = list(read_chunks(JournalReader(bench.directory), bench.chunks[-2].end, checkpoint=bench.checkpoint))
    assert rest == bench.chunks[-1:]
