"""Pytest fixtures that give tests a real PostgreSQL. Load them with `pytest_plugins = ["kflow.testing.postgres"]`.

    def test_of_mine(database):             # a fresh database with kflow's schema, dropped afterwards
        with database.connect() as conn: ...
        subprocess.run([...], env={**os.environ, "DATABASE_URL": database.dsn})

One server runs per pytest process; it starts in about a second, a database takes about 20 ms. The server does not wait
for its disk (fsync is off): for a test that cuts power or kills the server, acquire an EmbeddedServer of its own.
KFLOW_TEST_POSTGRES names a folder of other server programs than the wheel's, to test with another version.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, LiteralString

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from kflow.store.embedded import EmbeddedServer
from kflow.store.migrate import upgrade

Connection = psycopg.Connection[tuple[object, ...]]

_TEMPLATE: Final = "kflow_template"
_FAST: Final = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "200"}


@dataclass(frozen=True, slots=True)
class Database:
    """One database of a test. `dsn` is its superuser's."""

    dsn: str

    def connect(self, *, autocommit: bool = False) -> Connection:
        return psycopg.connect(self.dsn, autocommit=autocommit)

    def login(self, role: LiteralString) -> str:
        """A connection string of a user that has only `role`, for example kflow_writer."""
        user = f"login_of_{role}"
        with self.connect(autocommit=True) as conn:
            if conn.execute("SELECT FROM pg_roles WHERE rolname = %s", [user]).fetchone() is None:
                statement = sql.SQL("CREATE ROLE {} LOGIN IN ROLE {}")
                conn.execute(statement.format(sql.Identifier(user), sql.Identifier(role)))
        return make_conninfo(self.dsn, user=user)


class TestServer:
    """A server that makes databases."""

    __test__ = False  # not a test class

    def __init__(self, embedded: EmbeddedServer) -> None:
        self.embedded = embedded
        self._numbers = itertools.count(1)
        self.create(_TEMPLATE, template="template0")
        with psycopg.connect(self.dsn(_TEMPLATE), autocommit=True) as conn:
            upgrade(conn)

    def dsn(self, name: str) -> str:
        return make_conninfo(self.embedded.dsn, dbname=name)

    def create(self, name: str, *, template: str) -> Database:
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} ENCODING UTF8")
        self._administer(statement.format(sql.Identifier(name), sql.Identifier(template)))
        return Database(self.dsn(name))

    def drop(self, name: str) -> None:
        self._administer(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def fresh_name(self) -> str:
        return f"test_{next(self._numbers)}"

    def _administer(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.dsn("postgres"), autocommit=True) as conn:
            conn.execute(statement)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[TestServer]:
    """The PostgreSQL server of this pytest process."""
    with tempfile.TemporaryDirectory(prefix="kflow-test-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)  # where tests run as root, the server's own user must reach its files
        chosen = os.environ.get("KFLOW_TEST_POSTGRES")
        programs = Path(chosen) if chosen else None
        with EmbeddedServer.acquire(Path(folder), settings=_FAST, programs=programs) as embedded:
            yield TestServer(embedded)


@pytest.fixture
def new_database(postgres_server: TestServer) -> Iterator[Callable[[str], Database]]:
    """Makes databases: `new_database("kflow_template")` with kflow's schema, `new_database("template0")` empty."""
    names: list[str] = []

    def make(template: str = _TEMPLATE) -> Database:
        names.append(postgres_server.fresh_name())
        return postgres_server.create(names[-1], template=template)

    yield make
    for name in names:
        postgres_server.drop(name)


@pytest.fixture
def database(new_database: Callable[[str], Database]) -> Database:
    """A fresh database with kflow's schema."""
    return new_database(_TEMPLATE)


@pytest.fixture
def empty_database(new_database: Callable[[str], Database]) -> Database:
    """A fresh database that no kflow has touched."""
    return new_database("template0")
