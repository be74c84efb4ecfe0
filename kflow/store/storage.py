"""How much room the tables and the sessions in them take."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, LiteralString

import psycopg
from psycopg.rows import class_row

from kflow.store.journal import segment_paths
from kflow.store.ledger import Standing
from kflow.store.sessions import Summary
from kflow.store.sqlfiles import queries

Connection = psycopg.Connection[tuple[object, ...]]

# What of a summary is rows of which table.
STREAM: Final = {
    "deltas": "rl_orderbook_deltas",
    "snapshots": "rl_orderbook_snapshots",
    "trades": "rl_trades",
    "tickers": "rl_tickers",
    "frames": "rl_frames",
}


@dataclass(frozen=True, slots=True)
class TableSize:
    """One table with its partitions. `estimated_rows` is what the server's last ANALYZE knew."""

    relname: str
    partitions: int
    estimated_rows: int
    table_bytes: int
    index_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSize:
    """What one session takes. `table_bytes`: its rows' share of each table and its indexes; None: unknown.

    `journal_bytes` None: its journal is not on this machine. `copy`: archived, backed_up, or None; `removed`: its rows.
    """

    session: int
    state: str
    started_ns: int
    rows: int
    table_bytes: int
    journal_bytes: int | None
    bytes_per_million_deltas: int | None
    copy: str | None
    removed: bool


def table_sizes(conn: Connection) -> tuple[TableSize, ...]:
    """Every table of kflow, largest first."""
    statement: LiteralString = queries("storage")["tables"]
    with conn.cursor(row_factory=class_row(TableSize)) as cursor:
        return tuple(cursor.execute(statement))


def session_sizes(
    tables: Iterable[TableSize], summaries: Iterable[Summary], standings: dict[int, Standing]
) -> list[SessionSize]:
    """Every session's share, in order of their numbers."""
    sizes = {table.relname: table.table_bytes + table.index_bytes for table in tables}
    listed = list(summaries)
    totals = {kind: sum(getattr(one, kind) for one in listed) for kind in STREAM}
    found = []
    for one in listed:
        counts = {kind: getattr(one, kind) for kind in STREAM}
        shares = [sizes[STREAM[kind]] * count // totals[kind] for kind, count in counts.items() if count]
        standing = standings.get(one.session.id, Standing(one.session.id))
        found.append(
            SessionSize(
                session=one.session.id,
                state=one.session.state,
                started_ns=one.session.started_ns,
                rows=sum(counts.values()),
                table_bytes=sum(shares),
                journal_bytes=_journal_bytes(Path(one.session.journal_dir)),
                bytes_per_million_deltas=sum(shares) * 10**6 // one.deltas if one.deltas else None,
                copy=standing.copies[0].step if standing.copies else None,
                removed=standing.removed,
            )
        )
    return found


def _journal_bytes(directory: Path) -> int | None:
    try:
        return sum(path.stat().st_size for _, path in segment_paths(directory)) if directory.is_dir() else None
    except OSError:
        return None
