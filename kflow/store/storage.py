"""How much room the tables take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import LiteralString

import psycopg
from psycopg.rows import class_row

from kflow.store.sqlfiles import queries

Connection = psycopg.Connection[tuple[object, ...]]


@dataclass(frozen=True, slots=True)
class TableSize:
    """One table with its partitions. `estimated_rows` is what the server's last ANALYZE knew."""

    relname: str
    partitions: int
    estimated_rows: int
    table_bytes: int
    index_bytes: int


def table_sizes(conn: Connection) -> tuple[TableSize, ...]:
    """Every table of kflow, largest first."""
    statement: LiteralString = queries("storage")["tables"]
    with conn.cursor(row_factory=class_row(TableSize)) as cursor:
        return tuple(cursor.execute(statement))
