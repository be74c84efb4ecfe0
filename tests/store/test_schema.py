"""The tables hold, or show by view, what the requirements name; each role may do its part and nothing else."""

import threading
from decimal import Decimal
from typing import Literal

import psycopg
import pytest

from kflow.store import sessions
from kflow.store.copy import DELTAS, SNAPSHOTS
from kflow.store.postgres import Connection
from kflow.store.sessions import Market, NewSession
from kflow.testing.postgres import Database

T0 = 1_735_689_600_000_000_000
DAY = 86_400_000_000_000

# The column lists of the requirements; prices there are in cents.
REQUIRED = {
    "rl_orderbook_snapshots_cents": "id market_ticker timestamp_ms sequence_number yes_bids yes_asks no_bids no_asks"
    " yes_spread no_spread yes_mid_price no_mid_price",
    "rl_orderbook_deltas_cents": "id market_ticker timestamp_ms sequence_number side action price old_size new_size",
    "rl_models": "id model_name version algorithm market_ticker hyperparameters training_metrics status",
    "rl_trading_episodes": "id model_id episode_number market_ticker total_return sharpe_ratio max_drawdown",
    "rl_trading_actions_cents": "id episode_id action_timestamp_ms step_number action_type price quantity"
    " position_before position_after",
}


@pytest.mark.parametrize("relation", REQUIRED)
def test_every_required_column_is_there(conn: Connection, relation: str) -> None:
    rows = conn.execute("SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0", [relation])
    assert {row[0] for row in rows} >= set(REQUIRED[relation].split())


def seen(conn: Connection, relation: str) -> list[dict[str, object]]:
    with conn.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        rows = cursor.execute(psycopg.sql.SQL("SELECT * FROM {}").format(psycopg.sql.Identifier(relation))).fetchall()
    return [{name: row[name] for name in REQUIRED[relation].split()} for row in rows]


def test_deltas_are_shown_in_cents_and_contracts(conn: Connection) -> None:
    sessions.ensure_day(conn, T0)
    market = sessions.upsert_market(conn, Market(ticker="M", updated_ns=1))
    rows = [
        (T0, T0 // 1000 + 1999, 1, 250, 250, 3, 1, 2, market, 5600, 0, 0),
        (T0, None, 2, -50, 200, 3, 1, 2, market, 5605, 1, 0),
        (T0, None, 3, -200, 0, 3, 1, 2, market, 0, 1, 0),
        (T0, None, 4, -200, None, 3, 1, 2, market, 0, 1, 0),
    ]
    with conn.cursor() as cursor:
        DELTAS.write(cursor, DELTAS.pack_rows(rows))
    ms = T0 // 1_000_000
    keys = REQUIRED["rl_orderbook_deltas_cents"].split()
    assert [tuple(row[key] for key in keys) for row in seen(conn, "rl_orderbook_deltas_cents")] == [
        ("3-1-2-1", "M", ms + 1, 1, "yes", "add", Decimal(56), Decimal(0), Decimal("2.5")),
        ("3-1-2-2", "M", ms, 2, "no", "update", Decimal("56.05"), Decimal("2.5"), Decimal(2)),
        ("3-1-2-3", "M", ms, 3, "no", "remove", Decimal(0), Decimal(2), Decimal(0)),
        ("3-1-2-4", "M", ms, 4, "no", None, Decimal(0), None, None),
    ]


def test_snapshots_are_shown_with_their_asks(conn: Connection) -> None:
    sessions.ensure_day(conn, T0)
    market = sessions.upsert_market(conn, Market(ticker="M", updated_ns=1))
    rows = [
        (T0, 5, 1, 3, 1, 2, market, 0, "subscribe", [1900, 2000], [150, 100], [7700, 7805], [300, 1]),
        (T0, None, 2, 3, 1, 2, market, 0, "venue", [2000], [100], [], []),
    ]
    with conn.cursor() as cursor:
        SNAPSHOTS.write(cursor, SNAPSHOTS.pack_rows(rows))
    full, one_sided = seen(conn, "rl_orderbook_snapshots_cents")
    assert full == {
        "id": "3-1-2-1",
        "market_ticker": "M",
        "timestamp_ms": 5,
        "sequence_number": 1,
        "yes_bids": [[20.0, 1.0], [19.0, 1.5]],
        "yes_asks": [[21.95, 0.01], [23.0, 3.0]],
        "no_bids": [[78.05, 0.01], [77.0, 3.0]],
        "no_asks": [[80.0, 1.0], [81.0, 1.5]],
        "yes_spread": Decimal("1.95"),
        "no_spread": Decimal("1.95"),
        "yes_mid_price": Decimal("20.975"),
        "no_mid_price": Decimal("79.025"),
    }
    assert (one_sided["yes_asks"], one_sided["no_bids"], one_sided["yes_spread"]) == ([], [], None)
    assert (one_sided["yes_mid_price"], one_sided["no_mid_price"]) == (None, None)


def test_actions_are_shown_in_cents_and_contracts(conn: Connection) -> None:
    conn.execute(
        "INSERT INTO rl_trading_actions (action_timestamp_ms, step_number, action_type, price_e4, quantity_e2,"
        " position_before_e2, position_after_e2) VALUES (1, 2, 'BUY_YES 10', 4500, 1000, -250, 750)"
    )
    (row,) = seen(conn, "rl_trading_actions_cents")
    assert (row["price"], row["quantity"]) == (45, 10)
    assert (row["position_before"], row["position_after"]) == (Decimal("-2.5"), Decimal("7.5"))


def test_days_are_made_once_by_racing_writers(database: Database, conn: Connection) -> None:
    writer = database.login("kflow_writer")
    barrier, failures = threading.Barrier(4), list[psycopg.Error]()

    def run() -> None:
        with psycopg.connect(writer, autocommit=True) as mine:
            barrier.wait()
            try:
                for day in range(3):
                    sessions.ensure_day(mine, T0 + day * DAY)
            except psycopg.Error as error:
                failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert conn.execute(
        "SELECT count(*) FROM pg_inherits WHERE inhparent = 'rl_orderbook_deltas'::regclass"
    ).fetchone() == (3,)


def test_a_day_is_made_while_another_session_inserts(database: Database, conn: Connection) -> None:
    sessions.ensure_day(conn, T0)
    with database.connect() as busy:
        busy.execute("INSERT INTO rl_frames VALUES (%s, null, 1, 1, null, 'x', null, '')", [T0])  # not committed
        conn.execute("SET lock_timeout = '2s'")
        sessions.ensure_day(conn, T0 + DAY)


@pytest.mark.parametrize("recv_ns", [T0, T0 + DAY - 1])
def test_rows_go_to_their_utc_day(conn: Connection, recv_ns: int) -> None:
    sessions.ensure_day(conn, recv_ns)
    conn.execute("INSERT INTO rl_frames VALUES (%s, null, 1, 1, null, 'x', null, '')", [recv_ns])
    assert conn.execute("SELECT tableoid::regclass::text FROM rl_frames").fetchone() == ("rl_frames_20250101",)


@pytest.mark.parametrize("recv_ns", [-1, 2**63 - 1])
def test_a_time_that_is_none_is_refused(conn: Connection, recv_ns: int) -> None:
    with pytest.raises(psycopg.errors.DatetimeFieldOverflow):
        sessions.ensure_day(conn, recv_ns)


@pytest.mark.parametrize(("column", "value"), [(9, 10_001), (9, -1), (10, 2), (4, -1)])
def test_the_schema_refuses_what_no_book_can_hold(conn: Connection, column: int, value: int) -> None:
    sessions.ensure_day(conn, T0)
    row = [T0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 0]
    row[column] = value
    with conn.cursor() as cursor, pytest.raises(psycopg.errors.CheckViolation):
        DELTAS.write(cursor, DELTAS.pack(*row))


def test_arrays_are_stored_uncompressed_in_every_day(conn: Connection) -> None:
    sessions.ensure_day(conn, T0)
    rows = conn.execute(
        "SELECT attstorage FROM pg_attribute WHERE attrelid = 'rl_orderbook_snapshots_20250101'::regclass"
        " AND attname ~ '_(prices|sizes)$'"
    ).fetchall()
    assert rows == [("e",)] * 4


# What a recorder needs, and what even a compromised one must not be able to do.
FACTS = ["rl_orderbook_deltas", "rl_orderbook_snapshots", "rl_trades", "rl_tickers", "rl_frames", "rl_fills"]
FORBIDDEN = [
    *(f"DELETE FROM {table}" for table in (*FACTS, "rl_gaps", "rl_sessions", "rl_watermarks", "rl_orders")),
    *(f"TRUNCATE {table}" for table in FACTS),
    *(f"UPDATE {table} SET recv_ns = 0" for table in (*FACTS, "rl_gaps")),
    "UPDATE rl_sessions SET uuid = gen_random_uuid()",
    "UPDATE rl_markets SET ticker = 'x'",
    "UPDATE schema_migrations SET version = 2",
    "DELETE FROM rl_orderbook_deltas_20250101",
    "DROP TABLE rl_orderbook_deltas_20250101",
    "DROP TABLE rl_sessions",
    "ALTER TABLE rl_trades ADD COLUMN mine int",
    "CREATE TABLE mine (x int)",
    "CALL kflow_hand_over()",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "SET ROLE kflow_owner",
]


@pytest.mark.parametrize("role", ["kflow_writer", "kflow_reader"])
def test_what_no_recorder_may_do(conn: Connection, database: Database, role: Literal["kflow_writer"]) -> None:
    sessions.ensure_day(conn, T0)
    allowed = []
    with psycopg.connect(database.login(role), autocommit=True) as mine:
        for statement in FORBIDDEN:
            try:
                mine.execute(statement.encode())
            except psycopg.errors.InsufficientPrivilege:
                continue
            allowed.append(statement)
    assert allowed == []


def test_a_writer_can_do_its_work(database: Database, new_session: NewSession) -> None:
    with psycopg.connect(database.login("kflow_writer"), autocommit=True) as mine:
        sessions.ensure_day(mine, T0)
        session_id = sessions.create_session(mine, new_session)
        market = sessions.upsert_market(mine, Market(ticker="M", updated_ns=1))
        assert sessions.upsert_market(mine, Market(ticker="M", updated_ns=2, status="active")) == market
        sessions.link_markets(mine, session_id, [market])
        sessions.open_connection(mine, session_id, 1, T0, "ws://127.0.0.1:1")
        with mine.transaction(), mine.cursor() as cursor:
            assert sessions.read_watermark(mine, session_id, lock=True) == 0
            DELTAS.write(cursor, DELTAS.pack(T0, None, 1, 1, 1, session_id, 1, 1, market, 100, 0, 0))
            sessions.move_watermark(mine, session_id, 0, 10)
        sessions.end_gaps(mine, session_id, 1, 1, T0)
        sessions.close_connection(mine, session_id, 1, T0, "stopped")
        sessions.close_session(mine, session_id, T0)
    with psycopg.connect(database.login("kflow_reader"), autocommit=True) as theirs:
        (summary,) = sessions.list_sessions(theirs)
        assert (summary.deltas, summary.session.state) == (1, "closed")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            sessions.create_session(theirs, new_session)


def test_the_owner_role_owns_what_is_made(conn: Connection) -> None:
    sessions.ensure_day(conn, T0)
    rows = conn.execute(
        "SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
    ).fetchall()
    assert rows == [("kflow_owner",)]
