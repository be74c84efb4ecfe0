"""Rows that are written behind: in the order in which they were given, by a thread, over one connection.

What cannot be stored now waits in memory, bounded, and is stored when the database is back. Where too much waits, or
the database refuses a row for good, every further `put` raises.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final, LiteralString, NamedTuple

import psycopg

from kflow.errors import DatabaseError, DataError
from kflow.store.postgres import Connection
from kflow.store.sqlfiles import queries

_log = logging.getLogger(__name__)
STATEMENT_S: Final = 2.0  # how long the server may take for one
_BATCH: Final = 256  # rows of one transaction: whoever needs the connection has to wait for it
_RETRY_S: Final = 0.5
_END_S: Final = 5.0

Values = Mapping[str, object]


class Row(NamedTuple):
    """Something to be stored. A `lossy` one is dropped, and counted, where there is no room; nothing depends on it."""

    query: str
    table: str
    values: Values
    lossy: bool = False


@dataclass(slots=True)
class BehindStatus:
    """For watching."""

    connected: bool = False
    waiting: int = 0  # rows that are not stored yet
    dropped: int = 0  # lossy ones that are lost: there was no room, or the database refused them
    refused: int = 0  # others that the database refused for good
    rows: Counter[str] = field(default_factory=Counter)  # stored, by table
    errors: Counter[str] = field(default_factory=Counter)  # by class
    last_error: str = ""


class Behind:
    """A connection of its own, and what waits for it. May be used from several threads."""

    def __init__(
        self, connect: Callable[[], Connection], whole: Callable[[Connection, Row], Values], *, most: int
    ) -> None:
        """`connect` opens an autocommit connection; `whole`: of a row all that its query takes.

        `most`: rows that may wait, and as many lossy ones.
        """
        self.status: Final = BehindStatus()
        self._connect, self._whole, self._most = connect, whole, most
        self._conn: Connection | None = None
        self._using = threading.RLock()  # the connection
        self._changed = threading.Condition()  # guards what follows
        self._rows: deque[Row] = deque()
        self._lossy = 0  # of them
        self._failed = ""
        self._ended = False
        self._thread = threading.Thread(target=self._write, name="kflow-actor-records", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def end(self) -> None:
        """Store what waits, as far as the database lets us within seconds; the log tells what is left."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._thread.join(_END_S)
        self._disconnect()
        if self._rows:
            _log.error("%d rows are not stored: %s", len(self._rows), self.status.last_error)

    def put(self, *rows: Row) -> None:
        """Rows that must not be lost. Raises DatabaseError where too many wait, or one was refused before."""
        self.raise_if_failed()
        with self._changed:
            if len(self._rows) - self._lossy + len(rows) > self._most:
                raise DatabaseError(
                    f"{self._most:,} rows of orders wait for the database: {self.status.last_error}",
                    hint="no order leaves before they are stored",
                )
            self._append(*rows)

    def put_lossy(self, row: Row) -> None:
        """A row that may be lost, if that is told."""
        with self._changed:
            room = self._lossy < self._most
            if room:
                self._lossy += 1
                self._append(row)
        if not room:
            self._drop("there is no room for them")

    def raise_if_failed(self) -> None:
        """Raises DatabaseError once a row was refused for good."""
        if self._failed:
            raise DatabaseError(self._failed, hint="the tables of this run are not whole: the log has what they miss")

    def flush(self) -> bool:
        """Store what waits, now. False where something still does, since the database cannot be used."""
        for again in (False, True):
            try:
                while self._rows:
                    with self.connection(_END_S) as conn:
                        rows = self._first()
                        self._store(conn, rows)
                        self._pop(len(rows))
            except DatabaseError:
                return False
            except psycopg.Error:
                # A connection that had died while nobody used it.
                if again or self.status.connected:
                    return False
            else:
                return True
        return False

    @contextmanager
    def connection(self, patience_s: float) -> Iterator[Connection]:
        """The connection, for one thread at a time. Raises DatabaseError where it cannot be had in time."""
        if not self._using.acquire(timeout=patience_s):
            raise DatabaseError(f"the database was busy for {patience_s:g} s: {self.status.last_error}")
        try:
            if self._conn is None:
                fresh = self._connect()
                be_patient(fresh, STATEMENT_S, local=False)
                self._conn, self.status.connected = fresh, True
            yield self._conn
        except psycopg.Error as error:
            self._note(error)
            if self._conn is not None and self._conn.closed:
                self._disconnect()
            raise
        except DatabaseError as error:
            self._note(error)
            raise
        finally:
            self._using.release()

    def _disconnect(self) -> None:
        self.status.connected = False
        conn, self._conn = self._conn, None
        if conn is not None:
            with suppress(psycopg.Error):
                conn.close()

    def _note(self, error: Exception) -> None:
        self.status.errors[type(error).__name__] += 1
        self.status.last_error = str(error).strip().split("\n", 1)[0]

    # The thread.

    def _write(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._rows or self._ended)
            stored_all = self.flush()
            with self._changed:
                if self._ended and not (stored_all and self._rows):
                    return
                if not stored_all:
                    self._changed.wait_for(lambda: self._ended, _RETRY_S)

    def _append(self, *rows: Row) -> None:
        self._rows.extend(rows)
        self.status.waiting = len(self._rows)
        self._changed.notify_all()

    def _first(self) -> list[Row]:
        with self._changed:
            return [self._rows[place] for place in range(min(len(self._rows), _BATCH))]

    def _pop(self, count: int) -> None:
        with self._changed:
            for _ in range(count):
                self._lossy -= self._rows.popleft().lossy
            self.status.waiting = len(self._rows)

    def _store(self, conn: Connection, rows: list[Row]) -> None:
        """All of them; where one is refused for good, each by itself. Raises psycopg.Error where it may work later."""
        try:
            # Before the transaction, since what it learns of the tables has to stay true where that is rolled back.
            wholes = [self._whole(conn, row) for row in rows]
            with conn.transaction():
                for row, values in zip(rows, wholes, strict=True):
                    found = conn.execute(_query(row.query), values).rowcount
                    if not found and not row.lossy:
                        raise DataError("there is no such row")
        except (psycopg.Error, DataError) as error:
            if _passes(error):
                raise
            if len(rows) == 1:
                self._refuse(rows[0], error)
                return
            for row in rows:
                self._store(conn, [row])
            return
        self.status.rows.update(row.table for row in rows)

    def _refuse(self, row: Row, error: Exception) -> None:
        self._note(error)
        if row.lossy:
            self._drop(self.status.last_error)
            return
        self.status.refused += 1
        _log.error("the database refused a row of %s: %s: %s", row.table, error, dict(row.values))
        self._failed = f"the database refused a row of {row.table}: {self.status.last_error}"

    def _drop(self, why: str) -> None:
        self.status.dropped += 1
        if self.status.dropped.bit_count() == 1:  # 1, 2, 4, 8 …: told, and never the most of the log
            _log.warning("%d decisions could not be written down so far: %s", self.status.dropped, why)


def be_patient(conn: Connection, seconds: float, *, local: bool) -> None:
    """Let statements take so long; `local`: those of this transaction."""
    conn.execute(_query("patience"), {"ms": round(seconds * 1000), "local": local})


def _passes(error: Exception) -> bool:
    """Whether the same may be stored later: the server is away, full, read-only, or something was locked."""
    if not isinstance(error, psycopg.Error):
        return False
    # 25: read-only for now, as a standby is
    return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) or (error.sqlstate or "")[:2] == "25"


def _query(name: str) -> LiteralString:
    return queries("orders")[name]
