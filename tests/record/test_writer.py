"""Each chunk is stored once: over lost answers, servers that forget, queues that overflow, and ends in a hurry."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kflow.errors import DatabaseError, DataError
from kflow.record.writer import SessionWriter, Writer, load_journal
from kflow.session.chunks import read_chunks
from kflow.store import sessions
from kflow.store.postgres import Connection
from kflow.testing.frames import MARKET
from kflow.testing.postgres import Database

from .conftest import Source, stored


@pytest.fixture
def session_writer(conn: Connection, number: int) -> SessionWriter:
    return SessionWriter(conn, number)


def test_rows_and_watermark_move_together(conn: Connection, source: Source, session_writer: SessionWriter) -> None:
    source.connect()
    source.deltas(20)
    chunks = list(read_chunks(source.reader()))
    batch = session_writer.write(0, chunks)
    assert session_writer.watermark() == chunks[-1].end
    assert stored(conn) == list(range(3, 23))
    assert batch.count()["rl_orderbook_deltas"] == 20


def test_what_was_stored_is_not_stored_again(conn: Connection, source: Source, session_writer: SessionWriter) -> None:
    source.connect()
    chunks = list(read_chunks(source.reader()))
    session_writer.write(0, chunks)
    with pytest.raises(DataError, match="watermark is not at 0"):
        session_writer.write(0, chunks)
    assert conn.execute("SELECT count(*) FROM rl_orderbook_snapshots").fetchone() == (2,)


def test_a_journal_is_loaded_from_its_watermark_on(
    conn: Connection, source: Source, session_writer: SessionWriter
) -> None:
    source.connect()
    source.deltas(300)
    middle = source.journal.offset
    source.deltas(300)
    assert load_journal(session_writer, source.reader(), end=middle) == middle
    assert load_journal(session_writer, source.reader()) == source.journal.offset
    assert load_journal(session_writer, source.reader()) == source.journal.offset
    assert stored(conn) == list(range(3, 603))


def test_a_watermark_in_motion_is_waited_for(
    database: Database, source: Source, number: int, session_writer: SessionWriter
) -> None:
    """Our own lost COMMIT may still be under way: what it comes to is what we go on from."""
    read: list[int] = []
    with database.connect() as other:
        sessions.move_watermark(other, number, 0, 77)
        waiting = threading.Thread(target=lambda: read.append(session_writer.watermark()))
        waiting.start()
        waiting.join(0.1)
        assert read == []
        other.commit()
        waiting.join(5)
    assert read == [77]


class Line:
    """A way to the database that fails as told."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # Called with each new connection; raises or breaks it.
        self.troubles: list[Callable[[Connection], None]] = []
        self.made = 0

    def __call__(self) -> Connection:
        self.made += 1
        conn = self._database.connect(autocommit=True)
        try:
            if self.troubles:
                self.troubles.pop(0)(conn)
        except BaseException:
            conn.close()
            raise
        return conn


@pytest.fixture
def line(database: Database) -> Line:
    return Line(database)


@pytest.fixture
def make(source: Source, number: int, line: Line) -> Iterator[Callable[[], Writer]]:
    made: list[Writer] = []

    def start() -> Writer:
        writer = Writer(line, number, source.handoff, lambda: source.journal.offset, source.reader, clock=source.clock)
        made.append(writer)
        writer.start()
        return writer

    yield start
    for writer in made:
        writer.stop(5)
        writer.join(5)
        assert not writer.is_alive()


def refuses(_: Connection) -> None:
    raise DatabaseError("no room")


def dies(conn: Connection) -> None:
    conn.close()


@pytest.mark.parametrize("trouble", [refuses, dies])
def test_a_database_that_comes_back_gets_everything(
    conn: Connection,
    source: Source,
    line: Line,
    make: Callable[[], Writer],
    trouble: Callable[[Connection], None],
) -> None:
    line.troubles = [trouble] * 3
    writer = make()
    source.connect()
    source.deltas(200)
    assert writer.stop(20)
    assert stored(conn) == list(range(3, 203))
    assert writer.status.errors.total() == 3
    assert line.made == 4
    assert writer.status.messages == source.sent
    assert writer.status.lag_messages == 0


def test_an_answer_that_was_lost_is_found_out(conn: Connection, source: Source, number: int, line: Line) -> None:
    """The batch was committed, and the connection died over it."""
    source.connect()
    source.deltas(50)
    batch = source.handoff.take()
    with conn.transaction():
        SessionWriter(conn, number).write(0, batch)
    started = Writer(line, number, source.handoff, lambda: source.journal.offset, source.reader, clock=source.clock)
    started._unconfirmed = batch
    started.start()
    source.deltas(50)
    assert started.stop(20)
    assert stored(conn) == list(range(3, 103))


def test_a_server_that_forgot_is_told_again(
    conn: Connection, source: Source, number: int, make: Callable[[], Writer]
) -> None:
    """synchronous_commit = off: after a crash the watermark is back where it was, and the rows are gone."""
    source.connect()
    source.deltas(100)
    writer = make()
    source.handoff.close()
    writer.join(20)
    assert stored(conn) == list(range(3, 103))
    for table in ("rl_orderbook_deltas", "rl_orderbook_snapshots"):
        conn.execute(f"DELETE FROM {table}")  # type: ignore[call-overload]
    conn.execute("UPDATE rl_watermarks SET journal_offset = 0")
    again = Writer(
        writer._connect, number, source.handoff, lambda: source.journal.offset, source.reader, clock=source.clock
    )
    again.status.watermark = again._position = source.journal.offset
    again.start()
    assert again.stop(20)
    assert stored(conn) == list(range(3, 103))


@pytest.mark.parametrize("queue_rows", [2, 50])
def test_a_queue_that_overflows_is_read_from_the_journal(
    conn: Connection, tmp_path: Path, database: Database, queue_rows: int
) -> None:
    """While it is put at full speed; nothing falls between queue and journal, nothing comes twice."""
    source = Source(tmp_path / "small", queue_rows=queue_rows)
    number = sessions.create_session(conn, source.card())
    writer = Writer(
        lambda: database.connect(autocommit=True),
        number,
        source.handoff,
        lambda: source.journal.offset,
        source.reader,
        clock=source.clock,
    )
    writer.start()
    source.connect()
    source.deltas(3000)
    assert writer.stop(30)
    assert source.handoff.overflows > 0
    assert stored(conn) == list(range(3, 3003))
    assert conn.execute("SELECT count(*) FROM rl_orderbook_snapshots").fetchone() == (2,)


def test_an_end_in_a_hurry_says_that_it_is_none(source: Source, line: Line, make: Callable[[], Writer]) -> None:
    line.troubles = [refuses] * 1000
    writer = make()
    source.connect()
    assert writer.stop(0.3) is False


def test_a_writer_that_fails_for_good_does_not_look_finished(
    source: Source, line: Line, make: Callable[[], Writer]
) -> None:
    def surprising(_: Connection) -> None:
        raise ZeroDivisionError("a mistake of ours")

    line.troubles = [surprising]
    writer = make()
    source.connect()
    assert writer.stop(10) is False
    assert isinstance(writer.failure, ZeroDivisionError)
    assert writer.status.last_error == "a mistake of ours"


def test_gaps_end_with_the_books_that_come(conn: Connection, source: Source, session_writer: SessionWriter) -> None:
    def gap_rows() -> list[tuple[object, ...]]:
        return conn.execute("SELECT kind, sid, recv_ns, ended_ns FROM rl_gaps ORDER BY recv_ns").fetchall()

    source.connect()
    protocol = source.recorder.protocol
    assert protocol is not None
    for _ in range(2):
        source.frames.skip()
        source.take(source.frames.delta(4000, 1))
        protocol.subscriptions.tick(protocol.now_ns + 10**9, protocol.frames)
        command = protocol.subscriptions.outbox[-1]
        source.recorder.commanded(b'{"id":%d,"cmd":"update_subscription","params":{}}' % command.id)
        source.take(source.frames.snapshot(MARKET, [(4000, 100)], ident=command.id))
    source.take(source.frames.trade())
    source.frames.skip(sid=2)
    source.take(source.frames.trade())
    source.take(source.frames.trade())
    source.frames.skip()
    source.take(source.frames.delta(4000, 1))
    source.recorder.closed("cut")
    writer_end = load_with_live_chunks(source, session_writer)
    assert writer_end == source.journal.offset
    rows = gap_rows()
    assert [(kind, sid) for kind, sid, *_ in rows] == [
        ("sequence", 1),
        ("sequence", 1),
        ("sequence", 2),
        ("sequence", 1),
    ]
    assert all(ended is not None and ended >= start for _, _, start, ended in rows)  # type: ignore[operator]
    assert rows[0][3] < rows[1][2], "the first ended before the second began"  # type: ignore[operator]


def load_with_live_chunks(source: Source, writer: SessionWriter) -> int:
    source.handoff.close()
    position = 0
    while chunks := source.handoff.take():
        writer.write(position, chunks)
        position = chunks[-1].end
    return position


def test_poison_never_reaches_the_tables(conn: Connection, source: Source, session_writer: SessionWriter) -> None:
    """Words and names that PostgreSQL cannot hold; a writer would stand before them for ever."""
    source.connect()
    source.take(
        source.frames.sequenced("error", {"code": 10, "msg": "a\0b"}),
        source.frames.sequenced(
            "orderbook_delta", {"market_ticker": "A\0", "price_dollars": "0.1", "delta_fp": "1", "side": "yes"}
        ),
        b'{"type":"a\\u0000b","sid":1}',
        b'{"type":"market_lifecycle_v2","sid":4,"seq":1,"msg":{"market_ticker":"x\\u0000","event_type":"created"}}',
        b'{"type":"trade","sid":2,"seq":1,"msg":{"market_ticker":"M","yes_price":4,"count":1,"is_block_trade":3}}',
        b"\xff\x00",
    )
    source.recorder.closed("going\0 away")
    source.recorder.finish()
    assert load_journal(session_writer, source.reader()) == source.journal.offset
    assert conn.execute("SELECT count(*) FROM rl_frames").fetchone() == (6,)
    assert conn.execute("SELECT count(*) FROM rl_connections WHERE reason IS NOT NULL").fetchone() == (1,)


def test_a_sampled_session_keeps_every_nth_delta(conn: Connection, source: Source, number: int) -> None:
    source.connect()
    source.deltas(100)
    batch = SessionWriter(conn, number, sample_rate=10).write(0, list(read_chunks(source.reader())))
    assert stored(conn) == list(range(10, 103, 10))
    assert batch.sampled_out == 90


def test_the_server_drops_what_a_dead_client_left(conn: Connection, session_writer: SessionWriter) -> None:
    """Or a transaction of ours whose connection was lost could hold the watermark's lock for ever."""
    assert conn.execute("SHOW idle_in_transaction_session_timeout").fetchone() == ("30s",)
