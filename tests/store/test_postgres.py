"""Connection strings and failures: every one a sentence, none with a password."""

import socket

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from kflow.errors import DatabaseError
from kflow.store.postgres import connect, parse, redacted, reporting
from kflow.testing.postgres import Database

CANARY = "Tr0ub4dor"


@pytest.fixture(scope="module")
def closed_port() -> int:
    """A port of this machine on which nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


# Strings that PostgreSQL's own parsers refuse while quoting them, or read in a way that puts the password elsewhere.
MALFORMED = [
    f"postgresql://user:{CANARY}@x@127.0.0.1/db",
    f"postgresql://user:{CANARY}/x@127.0.0.1/db",
    f"postgresql://user:12/{CANARY}@127.0.0.1/db",
    f"postgresql://user:{CANARY} x@127.0.0.1/db",
    f"postgresql://user:{CANARY}%zz@127.0.0.1/db",
    f"postgresql://user:{CANARY}%@127.0.0.1/db",
    f"postgresql://user:{CANARY}@127.0.0.1:port/db",
    f"postgresql://user:{CANARY}@[::1/db",
    f"postgresql://user:{CANARY}@127.0.0.1/db?passwrd={CANARY}",
    f"postgresql://user@127.0.0.1/db?password={CANARY}&x",
    f"postgresql://user:[{CANARY}]x]@[::1]]/db",
    f"postgresql:///{CANARY}@x/db",
    f"postgres:/user:{CANARY}@127.0.0.1/db",
    f"host=127.0.0.1 password={CANARY} x dbname=db",
    f"host=127.0.0.1 password='{CANARY}",
    f"host=127.0.0.1 {CANARY}=x",
    f"user:{CANARY}@127.0.0.1/db",
    f"mysql://user:{CANARY}@127.0.0.1/db",
    f"postgresql://user:{CANARY}\0@127.0.0.1/db",
]


@pytest.mark.parametrize("dsn", MALFORMED)
def test_a_malformed_string_is_refused_without_being_quoted(dsn: str) -> None:
    with pytest.raises(DatabaseError, match="DATABASE_URL cannot be read") as caught:
        connect(dsn)
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    assert CANARY not in f"{caught.value} {caught.value.hint} {redacted(dsn)}"


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://user:{password}@127.0.0.1:{port}/db",
        "postgresql://user@127.0.0.1:{port}/db?password={password}",
        "host=127.0.0.1 port={port} user=user dbname=db password={password}",
        "postgresql://user:{password}@/db?host=/nowhere/{port}",
    ],
)
@pytest.mark.parametrize("password", [CANARY, f"{CANARY}%40%2F", f"{CANARY}:?x"])
def test_a_server_that_is_not_there_is_a_sentence_without_the_password(
    dsn: str, password: str, closed_port: int
) -> None:
    text = dsn.format(password=password, port=closed_port)
    with pytest.raises(DatabaseError, match="no connection to postgresql://user") as caught:
        connect(text)
    assert CANARY not in f"{caught.value} {caught.value.hint} {caught.value!r} {redacted(text)}"
    assert caught.value.exit_code == 4
    assert caught.value.hint
    assert "***" in redacted(text)


def test_what_libpq_takes_is_taken() -> None:
    assert parse("postgres://u%40x:p%2Fw@db.example:5433,[::1]:1/my%20db?sslmode=require&application_name=a") == {
        "user": "u@x",
        "password": "p/w",
        "host": "db.example,::1",
        "port": "5433,1",
        "dbname": "my db",
        "sslmode": "require",
        "application_name": "a",
    }
    assert parse("postgresql://u:a?#b@h/db")["password"] == "a?#b"
    assert parse("postgresql://") == {}
    assert parse("") == {}
    assert parse("postgresql://%2Frun%2Fpg/db") == {"host": "/run/pg", "dbname": "db"}


def test_a_redacted_string_shows_where_but_not_how() -> None:
    assert redacted("postgresql://u:secret@h:5433/db?sslmode=require") == "postgresql://u:***@h:5433/db"
    assert redacted("host=/run/x dbname=db") == "postgresql:///run/x/db"
    assert redacted("postgresql://u:a@b@c/db") == "(unreadable)"


def test_a_missing_database_is_named(database: Database) -> None:
    with pytest.raises(DatabaseError, match='database "nope" does not exist') as caught:
        connect(make_conninfo(database.dsn, dbname="nope"))
    assert caught.value.hint == "create it, or correct DATABASE_URL"


def test_a_connection_bears_its_name_and_role(database: Database) -> None:
    with connect(database.dsn, application_name="kflow ingest", role="kflow_reader") as conn:
        row = conn.execute("SELECT current_setting('application_name'), current_user").fetchone()
    assert row == ("kflow ingest", "kflow_reader")


def test_an_unknown_role_is_a_database_error(database: Database) -> None:
    with pytest.raises(DatabaseError, match='taking the role kflow_nobody failed: role "kflow_nobody" does not exist'):
        connect(database.dsn, role="kflow_nobody")


def test_reporting_says_what_failed(database: Database) -> None:
    expected = pytest.raises(DatabaseError, match=r"^counting failed: division by zero$")
    with database.connect() as conn, expected as caught, reporting("counting"):
        conn.execute("SELECT 1 / 0")
    assert isinstance(caught.value.__cause__, psycopg.errors.DivisionByZero)
