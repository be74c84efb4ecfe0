"""What a journal gives back is what was live, from wherever it is read."""

from __future__ import annotations

import random
from pathlib import Path
from uuid import UUID

import msgspec
import pytest

from kflow.clock import ManualClock
from kflow.errors import JournalError
from kflow.kalshi import wire
from kflow.market.events import BookDelta, GapKind
from kflow.record.books import Books
from kflow.record.recorder import Plan, Recorder
from kflow.session.chunks import Chunk, Closed, Hole, MarketFacts, Opened, delta_us, read_chunks
from kflow.store.journal import JournalWriter, RecordKind
from kflow.store.journal_reader import JournalReader
from kflow.testing.frames import CENTS, MARKET, OTHER, Frames

FACTS = tuple(MarketFacts(market, CENTS) for market in (MARKET, OTHER))


class Kept:
    """Takes chunks as the writer would."""

    def __init__(self) -> None:
        self.chunks: list[Chunk] = []

    def put(self, chunk: Chunk) -> None:
        self.chunks.append(chunk)


def recorded(directory: Path, *, seed: int, segment_bytes: int) -> list[Chunk]:
    """A session over three connections with losses, damage and resyncs; its live chunks."""
    chance, clock, kept = random.Random(seed), ManualClock(), Kept()
    journal = JournalWriter(directory, UUID(int=1), segment_bytes=segment_bytes, checkpoint=lambda: recorder.state())
    recorder = Recorder(Plan(markets=FACTS), journal, Books(), kept, clock=clock)
    recorder.begin()
    for _ in range(3):
        connection(recorder, chance, clock)
        clock.advance(2.0)
    recorder.finish()
    return kept.chunks


def connection(recorder: Recorder, chance: random.Random, clock: ManualClock) -> None:
    protocol, frames = recorder.opened("ws://venue"), Frames()
    sent = [protocol.subscriptions.outbox[n].id for n in range(3)]
    send(recorder)
    opening = [
        Frames.subscribed(i, c, s)
        for i, c, s in zip(sent, ("orderbook_delta", "trade", "ticker"), (1, 2, 3), strict=True)
    ]
    take(recorder, clock, [*opening, frames.snapshot(MARKET, [(4000, 9000)]), frames.snapshot(OTHER, [(3000, 9000)])])
    for _ in range(120):
        chunk = []
        for _ in range(chance.randint(1, 6)):
            kind = chance.random()
            market = chance.choice([MARKET, OTHER])
            if kind < 0.03:
                frames.skip()
            elif kind < 0.05:
                chunk.append(b"noise")
            elif kind < 0.07:
                chunk.append(frames.delta(4050, 100, market=market))  # off the grid
            elif kind < 0.1:
                chunk += [frames.trade(), frames.ticker()]
            else:
                chunk.append(
                    frames.delta(4000, chance.choice([-100, 100, 300]), market=market, same=chance.random() < 0.3)
                )
        if chunk:
            take(recorder, clock, chunk)
        protocol.subscriptions.tick(protocol.now_ns, protocol.frames)
        answers = [
            frames.snapshot(market, [(4000, 9000)], ident=command.id)
            for command in protocol.subscriptions.outbox
            if command.cmd == "update_subscription"
            for market in command.params["market_tickers"]
        ]
        send(recorder)
        if answers:
            take(recorder, clock, answers)
    recorder.closed("cut")


def send(recorder: Recorder) -> None:
    assert recorder.protocol is not None
    outbox = recorder.protocol.subscriptions.outbox
    for command in outbox:
        recorder.commanded(wire.encode(command))
    outbox.clear()


def take(recorder: Recorder, clock: ManualClock, frames: list[bytes]) -> None:
    clock.advance(0.3)
    recorder.received(frames, clock.wall_ns(), clock.mono_ns())


def flat(chunks: list[Chunk]) -> list[object]:
    """Everything that becomes rows, in order, whatever the chunks' borders are."""
    found: list[object] = []
    for chunk in chunks:
        found += [(chunk.connection, chunk.wall_ns, event) for event in chunk.events]
        if chunk.mark is not None:
            found.append((chunk.connection, chunk.wall_ns, chunk.mark))
    return found


def gaps(chunks: list[Chunk]) -> list[object]:
    return [(chunk.connection, chunk.wall_ns, gap) for chunk in chunks for gap in chunk.gaps]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("segment_bytes", [4_000, 20_000, 2**26])
def test_the_journal_gives_back_what_was_live(tmp_path: Path, seed: int, segment_bytes: int) -> None:
    live = recorded(tmp_path, seed=seed, segment_bytes=segment_bytes)
    read = list(read_chunks(JournalReader(tmp_path)))
    assert flat(read) == flat(live)
    assert gaps(read) == gaps(live)
    assert {gap[2].kind for gap in gaps(live)} >= {GapKind.SEQUENCE, GapKind.MALFORMED, GapKind.OFF_GRID}  # type: ignore[index]


@pytest.mark.parametrize("seed", range(3))
def test_reading_from_anywhere_gives_the_rest(tmp_path: Path, seed: int) -> None:
    """Also over a reconnection: the grids of the session must be known behind every checkpoint."""
    recorded(tmp_path, seed=seed, segment_bytes=6_000)
    whole = list(read_chunks(JournalReader(tmp_path)))
    for n in range(0, len(whole), 41):
        start = whole[n].end
        rest = list(read_chunks(JournalReader(tmp_path), start))
        assert rest == whole[n + 1 :]
        assert list(read_chunks(JournalReader(tmp_path), 0, start)) == whole[: n + 1]


def test_marks_come_back_as_they_were(tmp_path: Path) -> None:
    journal = JournalWriter(tmp_path, UUID(int=1))
    marks = [
        (RecordKind.MARKETS, list(FACTS)),
        (RecordKind.CONNECTED, Opened("ws://venue", use_yes_price=True)),
        (RecordKind.GAP, Hole(GapKind.DOWNTIME, 1, None, "why")),
        (RecordKind.DISCONNECTED, Closed("end")),
    ]
    for kind, mark in marks:
        journal.append_record(kind, 1, 5, 6, msgspec.json.encode(mark))
    journal.append_record(RecordKind.FAULT, 1, 5, 6, b"{}")
    journal.close()
    assert [chunk.mark for chunk in read_chunks(JournalReader(tmp_path))] == [mark for _, mark in marks]


def test_a_mark_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    journal = JournalWriter(tmp_path, UUID(int=1))
    journal.append_record(RecordKind.GAP, 1, 0, 0, b"{")
    journal.close()
    with pytest.raises(JournalError, match="record at 32 cannot be read"):
        list(read_chunks(JournalReader(tmp_path)))


@pytest.mark.parametrize(
    ("ts", "ms", "us"),
    [
        ("2026-01-01T00:00:00.5Z", 1, 1_767_225_600_500_000),
        (None, 1, 1000),
        (None, None, None),
        ("half past nine", 7, 7000),
        ("2026-13-45T99:00:00Z", None, None),
    ],
)
def test_a_stamp_that_is_no_time_is_unknown(ts: str | None, ms: int | None, us: int | None) -> None:
    assert delta_us(BookDelta("M", 1, 1, 0, 100, 1, None, ts, ms)) == us  # type: ignore[arg-type]
