"""What `kflow db`'s commands share: a connection, and which sessions are meant."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Final

import typer

from kflow.cli import render

if TYPE_CHECKING:
    from kflow.settings import Settings
    from kflow.store.postgres import Connection

DAY_NS: Final = 86_400 * render.NS_PER_S
_KEEP: Final = re.compile(r"(\d{1,6})d?")

SessionsOption = Annotated[
    str | None, typer.Option("--sessions", metavar="N|RANGE", help="These, for example 3, 1-40 or 1,4,7-9.")
]
BeforeOption = Annotated[
    str | None, typer.Option("--before", metavar="TIME", help="Those that ended before then: a date or RFC 3339, UTC.")
]
KeepOption = Annotated[
    str | None,
    typer.Option("--keep", metavar="DAYS", help="Those that ended longer ago: 30d; else storage.keep_days says."),
]


@contextmanager
def connected(settings: Settings, *, any_schema: bool = False) -> Iterator[Connection]:
    from kflow.store import postgres
    from kflow.wiring import database

    with database(settings, any_schema=any_schema) as dsn, postgres.connect(dsn, autocommit=True) as conn:
        yield conn


def chosen_sessions(
    conn: Connection, settings: Settings, numbers: str | None, before: str | None, keep: str | None
) -> tuple[int, ...]:
    """The sessions that are meant. Raises UsageError where nothing says which, or more than one thing does."""
    from kflow.clock import SystemClock
    from kflow.errors import UsageError
    from kflow.replay import load
    from kflow.replay import prune as removing

    if sum(option is not None for option in (numbers, before, keep)) > 1:
        raise UsageError("--sessions, --before and --keep each say which sessions", hint="give one of them")
    if numbers is not None:
        return load.recorded_sessions(conn, numbers)
    if before is not None:
        return tuple(removing.ended_before(conn, load.parse_time(before)))
    days = days_to_keep(keep, settings)
    if days is None:
        raise UsageError(
            "nothing says which sessions", hint="give --sessions, --before or --keep, or set storage.keep_days"
        )
    return tuple(removing.ended_before(conn, SystemClock().wall_ns() - days * DAY_NS))


def days_to_keep(keep: str | None, settings: Settings) -> int | None:
    if keep is None:
        return settings.storage.keep_days
    match = _KEEP.fullmatch(keep)
    if match is None:
        from kflow.errors import UsageError

        raise UsageError(f"{keep!r} is not a number of days", hint="write 30d")
    return int(match[1])
