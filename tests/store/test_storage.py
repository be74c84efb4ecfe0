"""Each session's share of the tables, and what a million deltas take."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from kflow.store import ledger, sessions, storage
from kflow.store.copy import DELTAS
from kflow.store.postgres import Connection
from kflow.store.sessions import NewSession


def test_sessions_share_a_table_by_their_rows(conn: Connection, new_session: NewSession, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    journal.mkdir()
    (journal / f"{0:020d}.kfj").write_bytes(bytes(1000))
    start = new_session.started_ns
    sessions.ensure_day(conn, start)
    for number, rows, place in ((1, 3000, journal), (2, 1000, tmp_path / "elsewhere"), (3, 0, journal)):
        card = replace(new_session, uuid=uuid4(), journal_dir=str(place))
        assert sessions.create_session(conn, card) == number
        values = [(start, None, seq, 1, 1, number, 1, 1, 1, 5000, 0, 0) for seq in range(rows)]
        with conn.cursor() as cursor:
            DELTAS.write(cursor, DELTAS.pack_rows(values))
    ledger.take(conn, ledger.Step(session_id=2, step="archived", folder="/archive/0002"))
    ledger.take(conn, ledger.Step(session_id=2, step="pruning"))

    tables = storage.table_sizes(conn)
    [deltas] = [table for table in tables if table.relname == "rl_orderbook_deltas"]
    whole = deltas.table_bytes + deltas.index_bytes
    first, second, empty = storage.session_sizes(tables, sessions.list_sessions(conn), ledger.standings(conn))
    assert (first.rows, first.table_bytes, first.journal_bytes) == (3000, whole * 3 // 4, 1000)
    assert first.bytes_per_million_deltas == first.table_bytes * 10**6 // 3000
    assert (second.table_bytes, second.journal_bytes) == (whole // 4, None)
    assert (first.copy, first.removed, second.copy, second.removed) == (None, False, "archived", True)
    assert (empty.table_bytes, empty.bytes_per_million_deltas) == (0, None)
