"""Rows of sessions removed for good: whole days where nobody else has rows in them, else row by row.

A dropped day's room is the disk's again at once. Deleted rows' room is PostgreSQL's, which fills it with new rows;
VACUUM marks it as free. Everything here may be done twice: who is killed starts again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from kflow.store.postgres import Connection
from kflow.store.sqlfiles import queries

# A day is dropped while others record: they wait for no longer than this, so many times.
_TRIES: Final = 3
_PAGES: Final = 4096  # of 8 kB that one transaction deletes from
Told = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class DayTable:
    """A partition: rows received from start_ns up to but without end_ns."""

    name: str
    start_ns: int
    end_ns: int
    bytes: int


@dataclass(slots=True)
class Removed:
    """What became free. `reusable_rows`: deleted, their room is PostgreSQL's."""

    days: int = 0
    freed_bytes: int = 0
    reusable_rows: int = 0


def day_tables(conn: Connection) -> dict[int, list[DayTable]]:
    """The partitions of each day, by when it starts, ns since 1970."""
    with conn.cursor(row_factory=class_row(DayTable)) as cursor:
        found = list(cursor.execute(queries("storage")["day_tables"]))
    return {start: list(tables) for start, tables in groupby(found, key=lambda table: table.start_ns)}


def remove_rows(
    conn: Connection, numbers: Sequence[int], spans: Iterable[tuple[int, int]], *, now_ns: int, told: Told
) -> Removed:
    """Remove the stream's rows of sessions, which were received within `spans` (first and last ns, inclusive).

    `conn` is in autocommit. Each transaction is short. Raises psycopg.Error.
    """
    removed, wanted = Removed(), list(spans)
    for start, tables in day_tables(conn).items():
        end = tables[0].end_ns
        if not any(first < end and last >= start for first, last in wanted):
            continue
        # Today's is about to be written to: dropping it would only make it anew.
        if end <= now_ns and _drop(conn, tables, numbers):
            removed.days += 1
            removed.freed_bytes += sum(table.bytes for table in tables)
            told("a day is dropped")
            continue
        for table in tables:
            deleted = _delete(conn, table, numbers, told)
            if deleted:
                conn.execute(_on("vacuum", table))
                removed.reusable_rows += deleted
                told("a table is vacuumed")
    return removed


def _drop(conn: Connection, tables: Sequence[DayTable], numbers: Sequence[int]) -> bool:
    """Drop a day's tables, all or none; False where others have rows there, or somebody reads for long."""
    if any(_others(conn, table, numbers) for table in tables):
        return False
    for _ in range(_TRIES):
        try:
            with conn.transaction():
                conn.execute(queries("storage")["do_not_hold_others_up"])
                for table in tables:
                    conn.execute(_on("hold_still", table))
                    if _others(conn, table, numbers):
                        return False
                for table in tables:
                    conn.execute(_on("drop_day", table))
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            continue
        return True
    return False


def _others(conn: Connection, table: DayTable, numbers: Sequence[int]) -> bool:
    return conn.execute(_on("rows_of_others", table), {"ids": list(numbers)}).fetchone() is not None


def _delete(conn: Connection, table: DayTable, numbers: Sequence[int], told: Told) -> int:
    """Page by page, so that no transaction is long."""
    deleted = 0
    for first, last in _pages(conn, table):
        values = {"ids": list(numbers), "first": f"({first},0)", "last": f"({last},0)"}
        done = conn.execute(_on("delete_pages", table), values).rowcount
        deleted += done
        if done:
            told("rows are deleted")
    return deleted


def _pages(conn: Connection, table: DayTable) -> Iterator[tuple[int, int]]:
    row = conn.execute(queries("storage")["pages"], {"table": table.name}).fetchone()
    assert row is not None
    pages = int(str(row[0]))
    for first in range(0, pages, _PAGES):
        yield first, first + _PAGES


def _on(name: str, table: DayTable) -> sql.Composed:
    return sql.SQL(queries("storage")[name]).format(table=sql.Identifier(table.name))
