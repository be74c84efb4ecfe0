"""What one copy of a session holds, in figures that can be compared: counts, digests, checksums."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

import msgspec
import numpy as np

from kflow.errors import BookError
from kflow.market.book import Book
from kflow.market.events import BookDelta, BookSnapshot, Gap, Other, Ticker, Trade
from kflow.replay.tables import Run, Tables
from kflow.session.chunks import Chunk, Closed, Hole, Opened, read_chunks
from kflow.session.digest import BookDigest, DeltaRow
from kflow.store import read
from kflow.store.journal_reader import JournalReader
from kflow.units import Price, Size

Progress = Callable[[int], None]

_NO_PROGRESS: Final[Progress] = lambda _: None  # noqa: E731 - a name for "nobody looks"
_WORD: Final = 2**64 - 1
# Rows between two reports of progress.
_REPORT: Final = 20_000
_pack: Final = msgspec.msgpack.Encoder().encode


class Contents:
    """One copy of a session. Two copies are equal where all of this is."""

    def __init__(self, sample_rate: int) -> None:
        # Rows by kind: deltas, snapshots, trades, tickers, frames, gaps, connections.
        self.counts: Counter[str] = Counter()
        self.books = BookDigest(sample_rate)
        # Receive times of the deltas, each weighed with its seq; 64 bits, so that numpy can sum them too.
        self.arrivals = 0
        # Everything else, whatever its order: the sum of the rows' hashes, per kind.
        self._sums: Counter[str] = Counter()

    def add(self, kind: str, *values: object) -> None:
        """Count a row and take its values into the kind's sum."""
        self.counts[kind] += 1
        self._sums[kind] += int.from_bytes(hashlib.blake2b(_pack((kind, *values)), digest_size=24).digest())

    def sums(self) -> dict[str, str]:
        """One checksum per kind that has rows."""
        return {kind: f"{total % 2**192:048x}" for kind, total in sorted(self._sums.items())}

    def same_as(self, other: Contents) -> bool:
        """Whether both are equal in all that is counted and summed."""
        return (self.counts, self.arrivals, self.sums(), self.books.streams()) == (
            other.counts, other.arrivals, other.sums(), other.books.streams()
        )  # fmt: skip


class JournalContents(Contents):
    """What the journal holds. Also knows the books of the whole journal where the tables keep a sample."""

    def __init__(self, sample_rate: int) -> None:
        super().__init__(sample_rate)
        self._sample_rate = sample_rate
        self.whole = self.books if sample_rate == 1 else BookDigest()
        self.frames = 0
        self.sampled_out = 0

    def take(self, chunk: Chunk) -> None:
        connection, recv_ns = chunk.connection, chunk.wall_ns
        self.frames += len(chunk.events)
        for event in chunk.events:
            if type(event) is BookDelta:
                self._delta(connection, event, recv_ns)
            elif type(event) is BookSnapshot:
                self._book(connection, event)
                self.add("snapshots", *_snapshot_facts(connection, event, recv_ns))
            elif type(event) is Trade:
                self.add("trades", connection, recv_ns, *msgspec.structs.astuple(event))
            elif type(event) is Ticker:
                self.add("tickers", connection, recv_ns, *msgspec.structs.astuple(event))
            elif type(event) is Other:
                self.add("frames", connection, recv_ns, *msgspec.structs.astuple(event))
        for gap in chunk.gaps:
            self.add("gaps", connection, recv_ns, *_gap_facts(gap))
        if chunk.mark is not None:
            self._mark(chunk)

    def _delta(self, connection: int, event: BookDelta, recv_ns: int) -> None:
        if self.whole is not self.books:
            self.whole.add(connection, event)
            if event.seq % self._sample_rate:
                self.sampled_out += 1
                return
        self.books.add(connection, event)
        self.arrivals = (self.arrivals + recv_ns * (2 * event.seq + 1)) & _WORD

    def _book(self, connection: int, event: BookSnapshot) -> None:
        self.books.add(connection, event)
        if self.whole is not self.books:
            self.whole.add(connection, event)

    def _mark(self, chunk: Chunk) -> None:
        mark = chunk.mark
        if isinstance(mark, Hole):
            self.add("gaps", chunk.connection, mark.started_ns, mark.kind.value, None, None, None, None, mark.detail)
        elif isinstance(mark, Opened):
            self.counts["connections"] += 1
        elif isinstance(mark, Closed):
            for digest in {id(self.books): self.books, id(self.whole): self.whole}.values():
                digest.end_connection(chunk.connection)


def read_journal(
    reader: JournalReader, *, end: int | None, sample_rate: int, progress: Progress = _NO_PROGRESS
) -> JournalContents:
    """What a journal holds up to a logical offset."""
    contents = JournalContents(sample_rate)
    reported = 0
    for chunk in read_chunks(reader, 0, end):
        contents.take(chunk)
        if contents.frames - reported >= _REPORT:
            progress(contents.frames - reported)
            reported = contents.frames
    progress(contents.frames - reported)
    contents.counts["deltas"], contents.counts["snapshots"] = _book_counts(contents.books)
    return contents


class TableContents(Contents):
    """What the tables hold, and what a replay of the rows shows: crossed books, sizes that do not follow."""

    def __init__(self, sample_rate: int) -> None:
        super().__init__(sample_rate)
        self._sampled = sample_rate != 1
        # Groups of one exchange µs that left a book crossed (design 1.5); unknown where the tables keep a sample.
        self.crossed = 0
        # Rows whose size is not what the replayed book comes to, or whose flags say otherwise than it.
        self.wrong_sizes = 0
        self._key = (0, 0)
        # Books of each subscription of the present connection, and those of the present one.
        self._streams: dict[tuple[int, int], dict[str, Book]] = {}
        self._books: dict[str, Book] = {}
        self._group_us: int | None = None
        self._group: dict[str, Book] = {}

    def run(self, run: Run, tickers: dict[int, str]) -> None:
        """Replay deltas of one subscription."""
        self._turn(run.connection, run.sid)
        rows = run.rows
        weights = 2 * rows["seq"].astype(np.uint64) + np.uint64(1)
        self.arrivals = (self.arrivals + int((rows["recv_ns"].astype(np.uint64) * weights).sum())) & _WORD
        unknown = read.UNKNOWN
        self.wrong_sizes += int((((rows["flags"] & 1) == 1) != (rows["size_e2"] == unknown)).sum())
        add, step = self.books.delta, self._step
        for _, us, seq, change, size, connection, sid, market_id, price, side, _ in rows.tolist():
            venue_us = None if us == unknown else us
            known = None if size == unknown else size
            row = (tickers[market_id], seq, side, price, change, known, venue_us)
            add(connection, sid, row)
            if not self._sampled:
                step(row)

    def _step(self, row: DeltaRow) -> None:
        market, _, side, price, change, size, venue_us = row
        if venue_us != self._group_us or venue_us is None:
            self._end_group()
            self._group_us = venue_us
        if size is None:
            return
        book = self._books.get(market)
        if book is None:
            book = self._books[market] = Book(market)
        try:
            came_to = book.apply(side, Price(price), Size(change))
        except BookError:
            self.wrong_sizes += 1
            return
        if came_to != size:
            self.wrong_sizes += 1
        self._group[market] = book

    def _end_group(self) -> None:
        for book in self._group.values():
            if book.crossed:
                self.crossed += 1
        self._group.clear()

    def snapshot(self, connection: int, event: BookSnapshot, recv_ns: int) -> None:
        self._turn(connection, event.sid)
        self.books.snapshot(connection, event)
        self.add("snapshots", *_snapshot_facts(connection, event, recv_ns))
        if self._sampled:
            return
        self._end_group()
        book = self._books.setdefault(event.market, Book(event.market))
        try:
            book.replace(event.yes, event.no)
        except BookError:
            return  # the recorder could not take it either, and said so in a gap
        if book.crossed:
            self.crossed += 1

    def _turn(self, connection: int, sid: int) -> None:
        if (connection, sid) == self._key:
            return
        # The last group of a stream may not be whole: it is not judged.
        self._group.clear()
        self._group_us = None
        if connection != self._key[0]:
            self.books.end_connection(self._key[0])
            self._streams.clear()
        self._key = (connection, sid)
        self._books = self._streams.setdefault(self._key, {})


def read_tables(tables: Tables, *, sample_rate: int, progress: Progress = _NO_PROGRESS) -> TableContents:
    """What the tables hold of a session."""
    contents = TableContents(sample_rate)
    for item in tables.books():
        if isinstance(item, Run):
            contents.run(item, tables.tickers)
            progress(len(item.rows))
        else:
            contents.snapshot(*item)
    contents.counts["deltas"], contents.counts["snapshots"] = _book_counts(contents.books)
    for kind, rows in (("trades", _trades), ("tickers", _tickers), ("frames", _frames), ("gaps", _gaps)):
        for values in rows(tables):
            contents.add(kind, *values)
        progress(contents.counts[kind])
    contents.counts["connections"] = len(tables.rows.connections())
    return contents


def _book_counts(digest: BookDigest) -> tuple[int, int]:
    digest.streams()  # ends what is open: only then is it counted
    return digest.deltas, digest.snapshots


def _snapshot_facts(connection: int, event: BookSnapshot, recv_ns: int) -> tuple[object, ...]:
    return connection, recv_ns, event.market, event.sid, event.seq, event.reason.value, event.venue_ms


def _gap_facts(gap: Gap) -> tuple[object, ...]:
    return gap.kind.value, gap.sid, gap.market, gap.expected, gap.received, gap.detail


# Rows as the journal tells them: connection, receive time, then the fields of the event.


def _trades(tables: Tables) -> Iterator[tuple[object, ...]]:
    for row in tables.rows.trades():
        yield (
            row.connection, row.recv_ns, tables.tickers[row.market_id], row.sid, row.seq, row.trade_id, row.price_e4,
            row.size_e2, row.taker, row.is_block, row.venue_ms,
        )  # fmt: skip


def _tickers(tables: Tables) -> Iterator[tuple[object, ...]]:
    for row in tables.rows.tickers():
        yield (
            row.connection, row.recv_ns, tables.tickers[row.market_id], row.sid, row.seq, row.last_e4, row.yes_bid_e4,
            row.yes_ask_e4, row.yes_bid_size_e2, row.yes_ask_size_e2, row.volume_e2, row.open_interest_e2,
            row.venue_ms,
        )  # fmt: skip


def _frames(tables: Tables) -> Iterator[tuple[object, ...]]:
    for row in tables.rows.frames():
        yield row.connection, row.recv_ns, row.kind, row.market, row.sid, row.seq, bytes(row.raw)


def _gaps(tables: Tables) -> Iterator[tuple[object, ...]]:
    for gap in tables.rows.gaps():
        market = None if gap.market_id is None else tables.tickers[gap.market_id]
        yield gap.connection, gap.recv_ns, gap.kind, gap.sid, market, gap.expected, gap.received, gap.detail
