"""The recorder: socket chunk -> journal -> books -> subscribers and writer, in that order and on one thread."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from kflow.clock import NS_PER_S, Clock
from kflow.errors import JournalError
from kflow.kalshi import checkpoint
from kflow.kalshi.feed import STOPPED
from kflow.kalshi.protocol import FeedProtocol
from kflow.kalshi.subscriptions import plain
from kflow.market.events import BookDelta, BookSnapshot, FeedEvent, Gap, GapKind, SnapshotReason
from kflow.record.books import Books
from kflow.record.status import RecorderStatus
from kflow.record.trades import LastTrades
from kflow.session.chunks import Chunk, Closed, Hole, MarketFacts, Opened
from kflow.store.journal import JournalWriter, RecordKind

# A group whose next frame does not come is taken to be whole after this long (design 1.5).
GROUP_IDLE_NS: Final = NS_PER_S // 200
# Channels that take a list of markets, and those that do not.
MARKET_CHANNELS: Final = ("orderbook_delta", "trade", "ticker")
OPEN_CHANNELS: Final = ("market_lifecycle_v2",)


class Sink(Protocol):
    """Takes chunks towards the database. Never blocks and never refuses: it reads the journal when it falls behind."""

    # Journal offset of a checkpoint to read from, written here after `put` asked for one.
    checkpoint: int | None

    def put(self, chunk: Chunk) -> bool:
        """True: no more is taken, and a checkpoint of the journal is wanted here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is recorded."""

    markets: tuple[MarketFacts, ...]
    channels: tuple[str, ...] = (*MARKET_CHANNELS, *OPEN_CHANNELS)
    use_yes_price: bool = False


class Recorder:
    """Listens to a feed (see kalshi.feed.FeedListener) and loses nothing that it was given."""

    def __init__(self, plan: Plan, journal: JournalWriter, books: Books, sink: Sink, *, clock: Clock) -> None:
        self.plan, self.books, self.trades = plan, books, LastTrades()
        self._journal, self._sink, self._clock = journal, sink, clock
        self.status = RecorderStatus(str(journal.session), clock.wall_ns())
        self.protocol: FeedProtocol | None = None
        self._grids = {facts.ticker: facts.price_ranges for facts in plan.markets}
        # Number of the present connection; kflow's own count from 1.
        self._connection = 0
        # Since when, and why, nothing is being received; None while a connection stands.
        self._lost_ns: int | None = None
        # When the present connection was made, and whether it was we who ended it.
        self._opened_ns = 0
        self._stopped = False
        self._lost_reason = ""
        self._lost_kind = GapKind.DISCONNECT
        self._settling: asyncio.TimerHandle | None = None
        # None where a test or benchmark drives the recorder by hand.
        self._loop: asyncio.AbstractEventLoop | None = None

    def begin(self) -> None:
        """Journal what is known of the markets. Raises JournalError."""
        with contextlib.suppress(RuntimeError):
            self._loop = asyncio.get_running_loop()
        self._mark(RecordKind.MARKETS, list(self.plan.markets))

    def state(self) -> bytes:
        """A checkpoint for the journal."""
        return checkpoint.save({self._connection: self.protocol} if self.protocol else {}, self._grids)

    # --- FeedListener

    def prepare(self) -> None:
        """Before a connection is made: raises JournalError while nothing could be kept of it."""
        if self.status.journal_failed:
            self._journal.abandon_segment(self._clock.wall_ns(), self._clock.mono_ns())
            self.status.journal_failed = False

    def opened(self, url: str) -> FeedProtocol:
        now_ns = self._clock.wall_ns()
        if self._lost_ns is not None:
            self._hole(Hole(self._lost_kind, self._lost_ns, now_ns, self._lost_reason))
            self._lost_ns = None
        self._opened_ns, self._stopped = now_ns, False
        self._connection += 1
        self.status.connections += 1
        protocol = FeedProtocol(use_yes_price=self.plan.use_yes_price)
        protocol.now_ns = self._clock.mono_ns()
        protocol.set_grids(self._grids)
        tickers = [facts.ticker for facts in self.plan.markets]
        for channel in self.plan.channels:
            protocol.subscriptions.subscribe(channel, tickers if channel in MARKET_CHANNELS else ())
        self._mark(RecordKind.CONNECTED, Opened(url, self.plan.use_yes_price))
        self.protocol = protocol
        self.books.attach(protocol)
        return protocol

    def commanded(self, raw: bytes) -> None:
        self._append(RecordKind.COMMAND, raw)

    def received(self, frames: list[bytes], wall_ns: int, mono_ns: int) -> None:
        """Journal, decode, apply, publish. Raises JournalError: then none of the frames count as received."""
        began_ns = time.perf_counter_ns()
        protocol = self.protocol
        assert protocol is not None
        start = self._journal.offset
        try:
            end = self._journal.append_frames(self._connection, wall_ns, mono_ns, frames)
        except JournalError:
            self._journal_lost(wall_ns)
            raise
        protocol.now_ns = mono_ns
        events = protocol.receive_all(frames)
        chunk = Chunk(self._connection, wall_ns, mono_ns, start, end, events, [])
        if protocol.gaps:
            chunk.gaps, protocol.gaps = protocol.gaps, []
            self._count_gaps(chunk.gaps)
        if traded := self.trades.take(events, wall_ns):
            protocol.changed |= traded
        if protocol.changed:
            self._publish(protocol)
        if protocol.group_open:
            self._settle_later()
        if self._sink.put(chunk):
            self._mark_checkpoint(wall_ns, mono_ns)
        self._account(events, wall_ns, began_ns)

    def idle(self) -> None:
        """Show the open group if nothing followed it; else look again soon."""
        self._settling = None
        protocol = self.protocol
        if protocol is None or not protocol.group_open:
            return
        if self._clock.mono_ns() - protocol.now_ns < GROUP_IDLE_NS:
            self._settle_later()
        elif protocol.settle():
            self._publish(protocol)

    def _settle_later(self) -> None:
        if self._settling is None and self._loop is not None:
            self._settling = self._loop.call_later(GROUP_IDLE_NS / NS_PER_S, self.idle)

    def oversized(self, size: int) -> None:
        """A frame was too large to be taken: the connection ends over it."""
        self._lost_kind = GapKind.OVERSIZED
        self._lost_reason = f"a frame of {size} bytes"

    def closed(self, reason: str) -> None:
        reason = plain(reason)
        protocol = self.protocol
        if self._lost_ns is None:
            self._lost_ns = max(self.status.last_message_ns or 0, self._opened_ns)
            if self._lost_kind is not GapKind.OVERSIZED:
                self._lost_kind, self._lost_reason = GapKind.DISCONNECT, reason
        if protocol is not None:
            for book in protocol.books.values():
                book.live = False
            self.books.publish(set(protocol.books))
        if not self.status.journal_failed:
            self._mark(RecordKind.DISCONNECTED, Closed(reason))
            self._stopped = reason == STOPPED

    # --- the rest

    def finish(self) -> None:
        """The session ends: nothing more will be received."""
        if self._settling is not None:
            self._settling.cancel()
        if self._lost_ns is not None and not self._stopped and not self.status.journal_failed:
            with contextlib.suppress(JournalError):  # closing tells the same
                self._hole(Hole(self._lost_kind, self._lost_ns, self._clock.wall_ns(), self._lost_reason))
        self._journal.close()

    def _journal_lost(self, wall_ns: int) -> None:
        self.status.journal_errors += 1
        self.status.journal_failed = True
        self._lost_ns = self._lost_ns or wall_ns
        self._lost_kind = GapKind.DOWNTIME
        self._lost_reason = "the journal could not be written"

    def _hole(self, hole: Hole) -> None:
        self._mark(RecordKind.GAP, hole)
        self.status.gaps[hole.kind.value] += 1
        self._lost_kind = GapKind.DISCONNECT

    def _mark(self, kind: RecordKind, mark: Opened | Closed | Hole | list[MarketFacts]) -> None:
        start = self._journal.offset
        wall_ns, mono_ns, end = self._append(kind, msgspec.json.encode(mark))
        if self._sink.put(Chunk(self._connection, wall_ns, mono_ns, start, end, [], [], mark)):
            self._mark_checkpoint(wall_ns, mono_ns)

    def _mark_checkpoint(self, wall_ns: int, mono_ns: int) -> None:
        start = self._journal.offset
        self._journal.append_record(RecordKind.CHECKPOINT, self._connection, wall_ns, mono_ns, self.state())
        self._sink.checkpoint = start

    def _append(self, kind: RecordKind, payload: bytes) -> tuple[int, int, int]:
        wall_ns, mono_ns = self._clock.wall_ns(), self._clock.mono_ns()
        try:
            end = self._journal.append_record(kind, self._connection, wall_ns, mono_ns, payload)
        except JournalError:
            self._journal_lost(wall_ns)
            raise
        return wall_ns, mono_ns, end

    def _publish(self, protocol: FeedProtocol) -> None:
        changed, protocol.changed = protocol.changed, set()
        self.books.publish(changed)

    def _count_gaps(self, gaps: Sequence[Gap]) -> None:
        for gap in gaps:
            self.status.gaps[gap.kind.value] += 1
            if gap.kind is GapKind.SEQUENCE and gap.expected is not None and gap.received is not None:
                self.status.missing += gap.received - gap.expected

    def _account(self, events: Sequence[FeedEvent], wall_ns: int, began_ns: int) -> None:
        status = self.status
        status.last_message_ns = wall_ns
        status.journal_bytes = self._journal.offset
        kinds = Counter(map(type, events))
        for kind, count in kinds.items():
            status.messages[kind.__name__] += count
        if BookSnapshot in kinds:
            status.resyncs += sum(type(e) is BookSnapshot and e.reason is SnapshotReason.RESYNC for e in events)
        last = events[-1]
        if type(last) is BookDelta and last.venue_ms is not None:
            age_s = wall_ns / 1e9 - last.venue_ms / 1e3
            status.age_s.add(max(0.0, age_s))
            status.least_age_s.add(age_s, wall_ns)
        status.handle_s.add((time.perf_counter_ns() - began_ns) / 1e9 / len(events))
