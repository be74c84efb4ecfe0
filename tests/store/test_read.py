"""Reading a session back: order, filters, nulls, and connections that stay usable."""

import random

import numpy as np
import psycopg
import pytest

from kflow.errors import DatabaseError
from kflow.store import read
from kflow.store.copy import DELTAS, FRAMES, SNAPSHOTS, TICKERS, TRADES, BinaryTable
from kflow.store.postgres import Connection
from kflow.store.read import UNKNOWN, Slice
from kflow.store.sessions import ensure_day
from kflow.testing.postgres import Database

T0 = 1_735_689_600_000_000_000
DAY = 86_400_000_000_000


def store(conn: Connection, table: BinaryTable, rows: list[tuple[object, ...]]) -> None:
    with conn.cursor() as cursor:
        table.write(cursor, table.pack_rows(rows))


def deltas(count: int, session: int = 1) -> list[tuple[int | None, ...]]:
    """Rows of two connections with two subscriptions each, across midnight, some with nulls."""
    return [
        (
            T0 + DAY - count + 2 * n,
            None if n % 5 == 0 else n,
            n // 4,
            -n,
            None if n % 3 == 0 else n,
            session,
            1 + n % 2,
            1 + n // 2 % 2,
            n % 7,
            n % 10_001,
            n % 2,
            0,
        )
        for n in range(count)
    ]


def expected(rows: list[tuple[int | None, ...]]) -> list[tuple[int, ...]]:
    known = [tuple(UNKNOWN if value is None else value for value in (*row[:5], *row[6:])) for row in rows]
    return sorted(known, key=lambda row: (row[5], row[6], row[2]))


@pytest.fixture
def two_days(conn: Connection) -> Connection:
    ensure_day(conn, T0)
    ensure_day(conn, T0 + DAY)
    return conn


def test_deltas_come_back_in_the_venue_s_order(two_days: Connection) -> None:
    rows = deltas(1000)
    shuffled = random.Random(1).sample(rows + deltas(1000, session=2), 2000)
    store(two_days, DELTAS, shuffled)
    (found,) = read.read_deltas(two_days, 1)
    assert found.dtype == read.DELTA
    assert found.tolist() == expected(rows)


def test_a_slice_is_by_market_and_time(two_days: Connection) -> None:
    rows = deltas(1000)
    store(two_days, DELTAS, rows)
    which = Slice(market_ids=[3, 5], start_ns=T0 + DAY - 100, end_ns=T0 + DAY + 100)
    (found,) = read.read_deltas(two_days, 1, which)
    wanted = [row for row in rows if row[8] in (3, 5) and T0 + DAY - 100 <= row[0] < T0 + DAY + 100]
    assert found.tolist() == expected(wanted)
    assert list(read.read_deltas(two_days, 1, Slice(market_ids=[]))) == []


def test_many_deltas_come_in_bounded_arrays(two_days: Connection) -> None:
    rows = deltas(read.BATCH_ROWS * 2 + 10)
    store(two_days, DELTAS, rows)
    arrays = list(read.read_deltas(two_days, 1))
    assert [len(array) for array in arrays] == [read.BATCH_ROWS, read.BATCH_ROWS, 10]
    assert np.concatenate(arrays).tolist() == expected(rows)


def test_an_absent_session_has_no_rows(conn: Connection) -> None:
    assert list(read.read_deltas(conn, 9)) == []
    assert list(read.read_snapshots(conn, 9)) == []


def test_a_reader_that_stops_early_leaves_the_connection_usable(two_days: Connection) -> None:
    store(two_days, DELTAS, deltas(read.BATCH_ROWS + 10))
    rows = read.read_deltas(two_days, 1)
    next(rows)
    rows.close()
    assert two_days.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    assert two_days.execute("SELECT 1").fetchone() == (1,)


def test_a_server_that_gives_up_is_a_database_error(two_days: Connection, database: Database) -> None:
    store(two_days, DELTAS, deltas(read.BATCH_ROWS * 3))
    with psycopg.connect(database.dsn) as reader:
        rows = read.read_deltas(reader, 1)
        next(rows)
        two_days.execute("SELECT pg_terminate_backend(%s)", [reader.info.backend_pid])
        with pytest.raises(DatabaseError, match="reading rows failed"):
            list(rows)


def test_a_cancelled_read_is_a_database_error_and_leaves_the_connection_usable(two_days: Connection) -> None:
    store(two_days, DELTAS, deltas(read.BATCH_ROWS * 3))
    rows = read.read_deltas(two_days, 1)
    next(rows)
    two_days.cancel_safe()
    with pytest.raises(DatabaseError, match="reading rows failed: canceling"):
        list(rows)
    assert two_days.execute("SELECT 1").fetchone() == (1,)


def test_snapshots_trades_tickers_and_frames_come_back(two_days: Connection) -> None:
    books = [(T0 + n, None, 9 - n, 1, 1, 1, 4, 0, "resync", [100], [5], [], []) for n in range(3)]
    trades = [(T0 + n, 7, None, 100, 1, 1, 1, 4, 5600, 1, None, f"t{n}") for n in range(3)]
    tickers = [(T0, None, None, None, 1, None, None, 1, 1, 2, 4, 10_000, None, 0)]
    frames = [(T0, None, 1, 1, None, "malformed", None, b"\0\xff{")]
    for table, rows in ((SNAPSHOTS, books), (TRADES, trades), (TICKERS, tickers), (FRAMES, frames)):
        store(two_days, table, rows[::-1])
    assert list(read.read_snapshots(two_days, 1)) == books[::-1]
    assert list(read.read_trades(two_days, 1, Slice(start_ns=T0 + 1))) == trades[1:]
    assert list(read.read_tickers(two_days, 1, Slice(market_ids=[4]))) == tickers
    assert list(read.read_frames(two_days, 1)) == frames
    assert list(read.read_frames(two_days, 1, Slice(market_ids=[4]))) == []
    for row, table in ((books[0], read.SnapshotRow), (trades[0], read.TradeRow), (tickers[0], read.TickerRow)):
        assert len(row) == len(table._fields)
