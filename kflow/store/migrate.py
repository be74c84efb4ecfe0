"""Bring a database's schema to the version this kflow was written for, or say why it cannot be used."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, LiteralString

import psycopg

from kflow.errors import ConfigError, DatabaseError, SchemaMismatch
from kflow.store.sqlfiles import Migration, migrations, queries

Connection = psycopg.Connection[tuple[object, ...]]

_OLDEST_SERVER: Final = 150000  # PostgreSQL 15, as server_version_num writes it


@dataclass(frozen=True, slots=True)
class Applied:
    """A migration the database has seen."""

    version: int
    name: str
    applied_at: datetime
    checksum: bytes


@dataclass(frozen=True, slots=True)
class Status:
    """Where a database's schema stands. `version` is 0 where no kflow has touched it."""

    version: int
    known: int
    applied: tuple[Applied, ...]
    pending: tuple[Migration, ...]

    @property
    def current(self) -> bool:
        return self.version == self.known


def _query(name: str) -> LiteralString:
    return queries("migrations")[name]


def _applied(conn: Connection) -> tuple[Applied, ...]:
    row = conn.execute(_query("exists")).fetchone()
    if row is None or not row[0]:
        return ()
    with conn.cursor(row_factory=psycopg.rows.class_row(Applied)) as cursor:
        return tuple(cursor.execute(_query("applied")))


def _status(applied: tuple[Applied, ...]) -> Status:
    known = migrations()
    version = applied[-1].version if applied else 0
    if version <= len(known):
        _require_same_history(applied, known)
    return Status(version, len(known), applied, known[version:])


def _require_same_history(applied: tuple[Applied, ...], known: tuple[Migration, ...]) -> None:
    for number, (was, ours) in enumerate(zip(applied, known, strict=False), start=1):
        if was.version != number or was.checksum != ours.checksum:
            raise ConfigError(
                f"the database was built by another migration {number} ({was.name}) than this kflow's ({ours.name})",
                hint="use the kflow that built it, or point DATABASE_URL at another database",
            )


def status(conn: Connection) -> Status:
    """Where the schema stands. Raises ConfigError where its history is not ours; changes nothing."""
    with conn.transaction():
        return _status(_applied(conn))


def require_current(conn: Connection) -> None:
    """Raises SchemaMismatch unless the schema is exactly the one this kflow knows; changes nothing."""
    now = status(conn)
    if not now.current:
        raise SchemaMismatch(now.version, now.known)


def upgrade(conn: Connection, *, to: int | None = None) -> tuple[Migration, ...]:
    """Apply every pending migration (up to number `to`), all or none, and return them. Several may call it at once.

    Raises SchemaMismatch for a schema newer than ours, ConfigError for a strange history or server, DatabaseError where
    the server refuses a migration.
    """
    if conn.info.server_version < _OLDEST_SERVER:
        raise ConfigError(
            f"PostgreSQL {conn.info.server_version // 10000} is too old for kflow",
            hint="use PostgreSQL 15 or later, or leave DATABASE_URL unset for the embedded server",
        )
    with conn.transaction():
        conn.execute(_query("lock"))
        now = _status(_applied(conn))
        if now.version > now.known:
            raise SchemaMismatch(now.version, now.known)
        if now.version == 0:
            conn.execute(_query("create"))
        wanted = tuple(migration for migration in now.pending if to is None or migration.version <= to)
        for migration in wanted:
            _apply(conn, migration)
    return wanted


def _apply(conn: Connection, migration: Migration) -> None:
    try:
        conn.execute(migration.sql)
        conn.execute(
            _query("record"),
            {"version": migration.version, "name": migration.name, "checksum": migration.checksum},
        )
    except psycopg.Error as error:
        raise DatabaseError(
            f"migration {migration.version} ({migration.name}) failed and was rolled back: {error}",
            hint="the database is as it was; it may hold tables of another program, or the user may not create tables",
        ) from error
