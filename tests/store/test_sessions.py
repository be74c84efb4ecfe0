"""Sessions, markets, watermarks and what their rows add up to."""

import dataclasses
import threading
from decimal import Decimal
from uuid import uuid4

import psycopg
import pytest

from kflow.errors import DataError, UsageError
from kflow.store import sessions
from kflow.store.postgres import Connection
from kflow.store.sessions import Market, NewSession
from kflow.testing.postgres import Database

T0 = 1_735_689_600_000_000_000  # 2025-01-01T00:00:00Z


def another(session: NewSession) -> NewSession:
    return dataclasses.replace(session, uuid=uuid4())


def test_sessions_are_numbered_without_holes(conn: Connection, new_session: NewSession) -> None:
    with conn.transaction():
        sessions.create_session(conn, another(new_session))
        raise psycopg.Rollback
    numbers = [sessions.create_session(conn, another(new_session)) for _ in range(3)]
    assert numbers == [1, 2, 3]


def test_numbers_are_unique_under_a_race(database: Database, new_session: NewSession) -> None:
    numbers: list[int] = []
    barrier = threading.Barrier(4)

    def run() -> None:
        with database.connect(autocommit=True) as conn:
            barrier.wait()
            numbers.append(sessions.create_session(conn, another(new_session)))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == [1, 2, 3, 4]


def test_creating_a_known_session_returns_its_number(conn: Connection, new_session: NewSession) -> None:
    first = sessions.create_session(conn, new_session, shards=2)
    sessions.move_watermark(conn, first, 0, 40, shard=1)
    assert sessions.create_session(conn, new_session, shards=2) == first
    assert sessions.read_watermark(conn, first, 1) == 40


def test_a_session_is_read_back_as_it_was_stored(conn: Connection, new_session: NewSession) -> None:
    session_id = sessions.create_session(conn, new_session)
    found = sessions.find_session(conn, new_session.uuid)
    assert found is not None
    assert (found.id, found.state, found.ended_ns) == (session_id, "open", None)
    assert dataclasses.asdict(found).items() >= dataclasses.asdict(new_session).items()
    assert sessions.find_session(conn, uuid4()) is None


def test_the_first_end_of_a_session_stands(conn: Connection, new_session: NewSession) -> None:
    session_id = sessions.create_session(conn, new_session)
    sessions.close_session(conn, session_id, T0 + 5)
    sessions.close_session(conn, session_id, T0 + 9, "recovered")
    (session,) = sessions.read_sessions(conn, [session_id])
    assert (session.state, session.ended_ns) == ("closed", T0 + 5)


def test_a_missing_session_is_named(conn: Connection, new_session: NewSession) -> None:
    session_id = sessions.create_session(conn, new_session)
    with pytest.raises(UsageError, match="number 7, 9"):
        sessions.read_sessions(conn, [session_id, 9, 7])


def test_the_watermark_moves_only_from_where_it_is(conn: Connection, new_session: NewSession) -> None:
    session_id = sessions.create_session(conn, new_session)
    sessions.move_watermark(conn, session_id, 0, 100)
    with pytest.raises(DataError, match="not at 0"):
        sessions.move_watermark(conn, session_id, 0, 100)
    assert sessions.read_watermark(conn, session_id, lock=True) == 100
    with pytest.raises(DataError, match="no watermark for shard 3"):
        sessions.read_watermark(conn, session_id, 3)


def test_none_never_erases_what_is_known_of_a_market(conn: Connection) -> None:
    ranges = [{"start": "0.0000", "end": "1.0000", "step": "0.0100"}]
    first = sessions.upsert_market(
        conn, Market(ticker="M", updated_ns=1, price_ranges=ranges, fee_multiplier=Decimal("0.07"), info={"a": None})
    )
    assert sessions.upsert_market(conn, Market(ticker="M", updated_ns=2, status="active")) == first
    assert sessions.upsert_market(conn, Market(ticker="M", updated_ns=1, status="stale")) == first
    (market,) = sessions.read_markets(conn)
    assert (market.price_ranges, market.fee_multiplier, market.info) == (ranges, Decimal("0.07"), {"a": None})
    assert (market.status, market.updated_ns) == ("active", 2)


def test_many_markets_are_stored_at_once_and_linked(conn: Connection, new_session: NewSession) -> None:
    ids = sessions.upsert_markets(conn, [Market(ticker=f"M{n}", updated_ns=1) for n in (3, 1, 2)])
    assert sorted(ids) == ["M1", "M2", "M3"]
    assert sessions.upsert_markets(conn, []) == {}
    session_id = sessions.create_session(conn, new_session)
    sessions.link_markets(conn, session_id, [ids["M1"], ids["M3"]])
    sessions.link_markets(conn, session_id, [ids["M1"]])
    assert [market.ticker for market in sessions.read_markets(conn, [session_id])] == ["M1", "M3"]


def test_a_ticker_is_only_ever_a_value(conn: Connection) -> None:
    nasty = "'; DROP TABLE rl_markets; -- %s {} ☃"
    sessions.upsert_market(conn, Market(ticker=nasty, updated_ns=1))
    assert [market.ticker for market in sessions.read_markets(conn)] == [nasty]


def test_the_first_reason_of_a_closed_connection_stands(conn: Connection, new_session: NewSession) -> None:
    session_id = sessions.create_session(conn, new_session)
    for _ in range(2):
        sessions.open_connection(conn, session_id, 1, T0, "ws://127.0.0.1:1")
    sessions.close_connection(conn, session_id, 1, T0 + 1, "silent")
    sessions.close_connection(conn, session_id, 1, T0 + 2, "stopped")
    assert conn.execute("SELECT opened_ns, closed_ns, reason FROM rl_connections").fetchall() == [
        (T0, T0 + 1, "silent")
    ]


def store_gap(conn: Connection, session_id: int, kind: str, start: int, end: int | None, market: int | None) -> None:
    conn.execute(
        "INSERT INTO rl_gaps (recv_ns, ended_ns, session_id, connection, sid, market_id, kind, detail)"
        " VALUES (%s, %s, %s, 1, 1, %s, %s, '')",
        [T0 + start, None if end is None else T0 + end, session_id, market, kind],
    )


def test_counts_and_coverage_come_from_the_rows(conn: Connection, new_session: NewSession) -> None:
    session_id, empty = [sessions.create_session(conn, another(new_session)) for _ in range(2)]
    ids = sessions.upsert_markets(conn, [Market(ticker=ticker, updated_ns=1) for ticker in "AB"])
    sessions.link_markets(conn, session_id, ids.values())
    sessions.ensure_day(conn, T0)
    for at in (0, 1000):
        conn.execute(
            "INSERT INTO rl_orderbook_deltas (recv_ns, seq, delta_e2, session_id, connection, sid, market_id, price_e4,"
            " side, flags) VALUES (%s, 1, 1, %s, 1, 1, 1, 100, 0, 0)",
            [T0 + at, session_id],
        )
    store_gap(conn, session_id, "sequence", 100, 200, None)
    store_gap(conn, session_id, "sequence", 150, 250, None)  # together 150 of both markets
    store_gap(conn, session_id, "negative", 200, 350, ids["A"])  # 100 more of one of two
    store_gap(conn, session_id, "duplicate", 500, None, None)  # takes no time
    store_gap(conn, session_id, "silent", 900, None, None)  # never ended: to the last row
    full, bare = sessions.list_sessions(conn)
    assert (full.deltas, full.trades, full.gaps, full.markets) == (2, 0, 5, 2)
    assert (full.first_ns, full.last_ns, full.lost_ns) == (T0, T0 + 1000, 150 + 50 + 100)
    assert full.coverage == 0.7
    assert (bare.session.id, bare.deltas, bare.first_ns, bare.coverage) == (empty, 0, None, None)
    assert sessions.list_sessions(conn, [session_id]) == (full,)


def test_gaps_end_for_their_subscription_only(conn: Connection, new_session: NewSession) -> None:
    session_id = sessions.create_session(conn, new_session)
    store_gap(conn, session_id, "sequence", 1, None, None)
    store_gap(conn, session_id, "negative", 2, None, 7)
    sessions.end_gaps(conn, session_id, 1, 2, T0 + 8)
    sessions.end_gaps(conn, session_id, 1, 1, T0 + 9, market_id=7)
    assert [gap.ended_ns for gap in sessions.read_gaps(conn, session_id)] == [None, T0 + 9]
    sessions.end_gaps(conn, session_id, 1, 1, T0 + 10)
    assert [gap.ended_ns for gap in sessions.read_gaps(conn, session_id)] == [T0 + 10, T0 + 9]
