"""The writer: chunks to PostgreSQL, each exactly once, on a thread of its own.

Rows and the journal watermark move in one transaction. Whoever connects reads the watermark first: a batch that was
committed though its answer was lost is not written again, and rows that a server forgot (synchronous_commit = off) are
read from the journal anew. A writer that falls behind reads the journal instead of a queue, so memory stays bounded.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import psycopg

from kflow.clock import NS_PER_S, Clock
from kflow.errors import DatabaseError, DataError
from kflow.record.handoff import Handoff
from kflow.record.markets import MarketIds
from kflow.record.rows import Batch, RowPacker
from kflow.session.chunks import Chunk, read_chunks
from kflow.store import sessions
from kflow.store.journal_reader import JournalReader
from kflow.store.sqlfiles import queries

Connection = psycopg.Connection[tuple[object, ...]]

# Rows of one transaction while reading the journal.
CATCH_UP_ROWS: Final = 10_000
CATCH_UP_BYTES: Final = 16 * 2**20
RETRY_FIRST_S: Final = 0.2
RETRY_MOST_S: Final = 5.0


class SessionWriter:
    """Writes chunks of one session over one connection."""

    def __init__(self, conn: Connection, session_id: int, *, sample_rate: int = 1) -> None:
        self._conn, self._session_id = conn, session_id
        self._markets = MarketIds(conn, session_id)
        self._days: set[int] = set()
        self._packer = RowPacker(session_id, sample_rate, self._markets.ids)
        for statement in queries("writer").values():
            conn.execute(statement)

    def watermark(self) -> int:
        """Journal offset up to which everything is in the tables.

        Waits for a transaction that moves it: that may be our own, of a connection that was lost over its COMMIT.
        """
        return sessions.read_watermark(self._conn, self._session_id, lock=True)

    def write(self, start: int, chunks: list[Chunk]) -> Batch:
        """Store the chunks and move the watermark from `start` behind the last of them, or change nothing.

        Raises DataError where the watermark is not at `start`.
        """
        self._markets.learn(chunks)
        batch = self._packer.pack(chunks)
        self._ensure_days(batch)
        conn, session_id = self._conn, self._session_id
        with conn.transaction(), conn.cursor() as cursor:
            sessions.move_watermark(conn, session_id, start, chunks[-1].end)
            for table, _, packed in batch.packed:
                table.write(cursor, packed)
            for connection, opened_ns, url in batch.opened:
                sessions.open_connection(conn, session_id, connection, opened_ns, url)
            for connection, closed_ns, reason in batch.closed:
                sessions.close_connection(conn, session_id, connection, closed_ns, reason)
            self._end_gaps(batch)
        return batch

    def _end_gaps(self, batch: Batch) -> None:
        for connection, sid, ended_ns, kinds in batch.endings:
            if sid is None:
                sessions.end_connection_gaps(self._conn, self._session_id, connection, ended_ns, kinds)
            else:
                sessions.end_gaps(self._conn, self._session_id, connection, sid, ended_ns)

    def _ensure_days(self, batch: Batch) -> None:
        for day in batch.days - self._days:
            sessions.ensure_day(self._conn, day * sessions.DAY_NS)
            self._days.add(day)


def load_journal(writer: SessionWriter, reader: JournalReader, *, end: int | None = None) -> int:
    """Store what the journal holds behind the watermark, up to `end`. Returns the new watermark."""
    position = writer.watermark()
    for chunks in _batches(read_chunks(reader, position, end)):
        writer.write(position, chunks)
        position = chunks[-1].end
    return position


def _batches(chunks: Iterator[Chunk]) -> Iterator[list[Chunk]]:
    batch: list[Chunk] = []
    for chunk in chunks:
        batch.append(chunk)
        if len(batch) >= CATCH_UP_ROWS or chunk.end - batch[0].start >= CATCH_UP_BYTES:
            yield batch
            batch = []
    if batch:
        yield batch


@dataclass(slots=True)
class WriterStatus:
    """What health and metrics tell of the writer."""

    handoff: Handoff = field(repr=False)
    clock: Clock = field(repr=False)
    connected: bool = False
    catching_up: bool = False
    rows: Counter[str] = field(default_factory=Counter)  # by table
    errors: Counter[str] = field(default_factory=Counter)  # by class
    last_error: str = ""
    # The thread ended over an error that no retry mends: only the next run stores the rest, from the journal.
    failed: bool = False
    # Deltas that the sampling left out of the table.
    sampled: int = 0
    # Messages that are in the tables.
    messages: int = 0
    # Journal offset up to which everything is in the tables.
    watermark: int = 0
    # Receive time of the last chunk that is in the tables.
    stored_ns: int | None = None

    @property
    def lag_messages(self) -> int:
        """Messages that were received and are not in the tables yet."""
        return max(0, self.handoff.messages - self.messages)

    @property
    def lag_s(self) -> float:
        """For how long the oldest of them has waited; 0 when there is none."""
        since_ns = self.handoff.oldest_ns() or self.stored_ns
        if not self.lag_messages or since_ns is None:
            return 0.0
        return max(0.0, (self.clock.wall_ns() - since_ns) / NS_PER_S)


class Writer(threading.Thread):
    """Writes what the recorder hands over, for as long as it takes."""

    def __init__(
        self,
        connect: Callable[[], Connection],
        session_id: int,
        handoff: Handoff,
        journal_offset: Callable[[], int],
        reader: Callable[[], JournalReader],
        *,
        sample_rate: int = 1,
        clock: Clock,
    ) -> None:
        """`connect` opens an autocommit connection or raises DatabaseError; `journal_offset` is where the disk ends."""
        super().__init__(name="kflow-writer", daemon=True)
        self.status = WriterStatus(handoff, clock)
        self._connect, self._session_id, self._sample_rate = connect, session_id, sample_rate
        self._handoff, self._journal_offset, self._reader = handoff, journal_offset, reader
        # A batch whose commit was not confirmed.
        self._unconfirmed: list[Chunk] = []
        # Everything up to this journal offset is stored or carries no rows.
        self._position = 0
        self._leaving = threading.Event()
        # Nothing more comes, and somebody waits for the rest to be written.
        self._hurried = threading.Event()
        # Everything that was handed over is in the tables, and no more will come.
        self._finished = False
        # Why the thread ended before it was asked to; nothing is lost, the journal has it.
        self.failure: Exception | None = None

    def run(self) -> None:
        delay_s = RETRY_FIRST_S
        while not self._leaving.is_set():
            before = self.status.watermark
            try:
                with self._connect() as conn:
                    self.status.connected = True
                    self._serve(SessionWriter(conn, self._session_id, sample_rate=self._sample_rate))
                    return
            except (psycopg.Error, DatabaseError) as error:
                self._failed(error)
            except Exception as error:  # noqa: BLE001 - a thread that died unheard would look like one that finished
                self.failure, self.status.failed = error, True
                self._failed(error)
                return
            delay_s = RETRY_FIRST_S if self.status.watermark > before else min(delay_s * 2, RETRY_MOST_S)
            if self._hurried.wait(delay_s):  # whoever drains has no time for long waits
                self._leaving.wait(RETRY_FIRST_S)

    def _failed(self, error: Exception) -> None:
        self.status.connected = False
        self.status.errors[type(error).__name__] += 1
        self.status.last_error = str(error).strip()

    def _serve(self, writer: SessionWriter) -> None:
        """Write until the handoff is closed and empty."""
        self._resume(writer)
        while not self._leaving.is_set():
            chunks = self._handoff.take()
            if chunks:
                self._write(writer, chunks)
            elif self._handoff.complete_from(self._position):
                self._finished = True
                return
            else:
                self._catch_up(writer)

    def _resume(self, writer: SessionWriter) -> None:
        """Find out what the database has, and go on from there."""
        committed, believed = writer.watermark(), self.status.watermark
        if committed > self._journal_offset():  # to go on would skip what is still to be received
            raise DataError(f"the watermark of session {self._session_id} is beyond the end of its journal")
        unconfirmed, self._unconfirmed = self._unconfirmed, []
        self.status.watermark = committed
        if unconfirmed and committed == unconfirmed[-1].end:
            self._position = committed  # the commit succeeded, its answer was lost
            self.status.messages += sum(len(chunk.events) for chunk in unconfirmed)
        elif unconfirmed and committed == believed:
            self._write(writer, unconfirmed)
        elif committed != believed:
            self._position = committed  # the server forgot what it had confirmed
        if not self._handoff.complete_from(self._position):
            self._catch_up(writer)

    def _write(self, writer: SessionWriter, chunks: list[Chunk]) -> None:
        chunks = [chunk for chunk in chunks if chunk.end > self._position]
        if not chunks:
            return
        self._unconfirmed = chunks
        self._stored(writer.write(self.status.watermark, chunks), chunks)
        self._unconfirmed = []

    def _stored(self, batch: Batch, chunks: list[Chunk]) -> None:
        status = self.status
        status.watermark = self._position = chunks[-1].end
        status.messages += sum(len(chunk.events) for chunk in chunks)
        status.rows.update(batch.count())
        status.sampled += batch.sampled_out
        status.stored_ns = batch.last_ns

    def _catch_up(self, writer: SessionWriter) -> None:
        """Read the journal up to where the recorder is, then go on with what it hands over."""
        self.status.catching_up = True
        try:
            while not self._leaving.is_set():
                end = self._handoff.restart(self._journal_offset)
                self._read_to(writer, end)
                self._position = max(self._position, end)
                if self._handoff.complete_from(end):
                    return
        finally:
            self.status.catching_up = False

    def _read_to(self, writer: SessionWriter, end: int) -> None:
        for chunks in _batches(read_chunks(self._reader(), self._position, end, checkpoint=self._handoff.checkpoint)):
            if self._leaving.is_set():
                return
            self._write(writer, chunks)

    def stop(self, within_s: float) -> bool:
        """Write what is left, for at most `within_s`. True when everything is in the tables."""
        self._handoff.close()
        self._hurried.set()
        self.join(within_s)
        self._leaving.set()
        return self._finished
