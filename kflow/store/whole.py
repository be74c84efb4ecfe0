"""Whole tables as CSV files, for backups: all but those of the stream, which are kept session by session."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Final

from psycopg import sql

from kflow.errors import DataError
from kflow.store import filing
from kflow.store.postgres import Connection
from kflow.store.sqlfiles import queries

# In this order each finds what it refers to.
TABLES: Final = (
    "rl_sessions",
    "rl_connections",
    "rl_markets",
    "rl_session_markets",
    "rl_watermarks",
    "rl_gaps",
    "rl_models",
    "rl_model_changes",
    "rl_evaluations",
    "rl_evaluated_models",
    "rl_trading_episodes",
    "rl_actor_leases",
    "rl_actor_runs",
    "rl_actor_holdings",
    "rl_orders",
    "rl_fills",
    "rl_trading_actions",
    "rl_storage_steps",
)
_BLOCK: Final = 2**20


def dump(conn: Connection, folder: Path) -> dict[str, int]:
    """Write each table into a file of `folder`; how many rows each has, as the caller's transaction sees them."""
    counts = {}
    for table in TABLES:
        row = conn.execute(_on("count", table)).fetchone()
        assert row is not None
        counts[table] = int(str(row[0]))
        with (
            filing.new_gzip(folder / f"{table}.csv.gz") as file,
            conn.cursor() as cursor,
            cursor.copy(_on("copy_out", table)) as copy,
        ):
            for block in copy:
                file.write(block)
    return counts


def load(conn: Connection, folder: Path, counts: dict[str, int]) -> None:
    """Fill empty tables from what `dump` wrote, in the caller's transaction. Raises DataError where rows lack."""
    conn.execute(queries("storage")["unfence_orders"])
    for table in TABLES:
        if table not in counts:
            continue  # a backup of before there was such a table
        with filing.opened(folder / f"{table}.csv.gz") as raw, gzip.open(raw) as file, conn.cursor() as cursor:
            with cursor.copy(_on("copy_in", table)) as copy:
                while block := file.read(_BLOCK):
                    copy.write(block)
            if cursor.rowcount != counts[table]:
                raise DataError(f"{table} has {cursor.rowcount:,} rows in the backup, not {counts[table]:,}")
    conn.execute(queries("storage")["fence_orders"])
    conn.execute(queries("storage")["go_on_counting"])


def is_empty(conn: Connection) -> bool:
    """Whether none of these tables that there are has a row."""
    for table in TABLES:
        there = conn.execute(queries("storage")["is_there"], {"table": table}).fetchone()
        if there == (True,) and conn.execute(_on("any_row", table)).fetchone() is not None:
            return False
    return True


def _on(name: str, table: str) -> sql.Composed:
    return sql.SQL(queries("storage")[name]).format(table=sql.Identifier(table))
