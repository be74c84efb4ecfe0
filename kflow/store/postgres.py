"""Connections to PostgreSQL whose failures are sentences, and never hold a password.

libpq and psycopg echo parts of a connection string they cannot read, and a password with a bare `@` or `/` in it ends
up in the part that is echoed. So strings are taken apart here first, strictly, and refused without being quoted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, LiteralString
from urllib.parse import quote, unquote

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from kflow.errors import DatabaseError

Connection = psycopg.Connection[tuple[object, ...]]

_SECRETS: Final = ("password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key")
_URL: Final = re.compile(
    r"postgres(?:ql)?://"
    r"(?:(?P<user>[^:/@\s]*)(?::(?P<password>[^/@\s]*))?@)?"
    r"(?P<hosts>(?:[A-Za-z0-9._,-]|%[0-9A-Fa-f]{2}|\[[0-9A-Fa-f:.%]+\]|:[0-9]+)*)"
    r"(?:/(?P<database>[^/@?#\s]*))?"
    r"(?:\?(?P<query>[A-Za-z0-9_]+=[^&#@\s]*(?:&[A-Za-z0-9_]+=[^&#@\s]*)*))?"
)
_BROKEN_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
# A dead server must be noticed without help from it: probes after 10 s of silence, failure within 30 s.
_KEEPALIVE: Final = {
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "4",
    "tcp_user_timeout": "30000",
}
# What libpq says, and what that means for the reader; the first match counts.
_HINTS: Final = (
    ("password authentication failed", "check user and password in DATABASE_URL"),
    ("no password supplied", "add a password to DATABASE_URL, or to ~/.pgpass"),
    ("no pg_hba.conf entry", "the server does not let this user in from this machine: see its pg_hba.conf"),
    ("does not exist", "create it, or correct DATABASE_URL"),
    ("could not translate host name", "correct the host in DATABASE_URL"),
    ("failed to resolve host", "correct the host in DATABASE_URL"),
    ("port number", "correct the port in DATABASE_URL: 1 to 65535, most often 5432"),
    ("No such file or directory", "is PostgreSQL running on this machine?"),
    ("Connection refused", "is PostgreSQL running, and on that port? Without DATABASE_URL kflow brings its own"),
    ("timeout", "the server does not answer: is the host right, is a firewall between?"),
    ("too many clients", "the server has no connection left: close some, or raise max_connections"),
    ("starting up", "the server is starting: try again in a moment"),
    ("SSL", "see sslmode in DATABASE_URL"),
)


def connect(
    dsn: str,
    *,
    application_name: str = "kflow",
    connect_timeout_s: int = 10,
    autocommit: bool = False,
    role: LiteralString | None = None,
) -> Connection:
    """Open a connection, as `role` where one is given. Raises DatabaseError, which never quotes `dsn`."""
    parameters = parse(dsn)
    defaults = {"application_name": application_name, "connect_timeout": str(connect_timeout_s), **_KEEPALIVE}
    try:
        conn = psycopg.connect(make_conninfo(**(defaults | parameters)), autocommit=autocommit)
    except psycopg.Error as error:
        raise _refusal(parameters, error) from None  # the cause's text is in the message, scrubbed
    if role is not None:
        try:
            with reporting(f"taking the role {role}"):
                conn.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
                conn.commit()
        except DatabaseError:
            conn.close()
            raise
    return conn


@contextmanager
def reporting(doing: str) -> Iterator[None]:
    """Turn psycopg's errors inside the block into DatabaseError: "<doing> failed: <the server's sentence>"."""
    try:
        yield
    except psycopg.Error as error:
        raise DatabaseError(f"{doing} failed: {_first_line(error)}") from error


def parse(dsn: str) -> dict[str, str]:
    """A URL or key=value string as libpq's parameters. Raises DatabaseError, which quotes nothing of it."""
    if "\0" in dsn:
        raise _unreadable("it holds a NUL character")
    if "://" in dsn.split("=", 1)[0]:
        match = _URL.fullmatch(dsn)
        if match is None or _BROKEN_ESCAPE.search(dsn):
            raise _unreadable("it is not a URL of the form postgresql://user:password@host:port/database")
    try:
        return {name: str(value) for name, value in conninfo_to_dict(dsn).items() if value is not None}
    except psycopg.Error:
        raise _unreadable("PostgreSQL cannot make sense of it") from None


def redacted(dsn: str) -> str:
    """The string as a URL for people's eyes: no password, no other secret. Never raises."""
    try:
        parameters = parse(dsn)
    except DatabaseError:
        return "(unreadable)"
    return _shown(parameters)


def _shown(parameters: dict[str, str]) -> str:
    user = quote(parameters.get("user", ""), safe="")
    password = ":***" if "password" in parameters else ""
    at = "@" if user or password else ""
    host, port = parameters.get("host", parameters.get("hostaddr", "")), parameters.get("port", "")
    place = quote(host, safe="[]:,/") + (f":{port}" if port else "")
    return f"postgresql://{user}{password}{at}{place}/{quote(parameters.get('dbname', ''), safe='')}"


def _unreadable(why: str) -> DatabaseError:
    return DatabaseError(
        f"DATABASE_URL cannot be read: {why}",
        hint="in a URL, write special characters of the password as %XX: @ is %40, / is %2F, : is %3A, % is %25",
    )


def _refusal(parameters: dict[str, str], error: psycopg.Error) -> DatabaseError:
    said = _first_line(error)
    for name in _SECRETS:
        secret = parameters.get(name)
        if secret:
            said = said.replace(secret, "***").replace(quote(secret, safe=""), "***").replace(unquote(secret), "***")
    hint = next((hint for words, hint in _HINTS if words in said), "")
    return DatabaseError(f"no connection to {_shown(parameters)}: {said}", hint=hint)


def _first_line(error: psycopg.Error) -> str:
    text = error.diag.message_primary or str(error)
    return text.strip().split("\n", 1)[0]
