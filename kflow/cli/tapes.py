"""What commands that simulate share: where their tapes come from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kflow.cli import render
from kflow.cli.invocation import load_settings

if TYPE_CHECKING:
    from kflow.sim.tape import Tape
    from kflow.store.postgres import Connection

_RECORD = "record a book: kflow ingest --duration 60; or name a recording with --from"

SessionsOption = Annotated[
    str | None,
    typer.Option("--sessions", metavar="N|RANGE", help="Sessions, for example 3, 1-40 or 1,4,7-9. Default: all."),
]
FromOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--from", metavar="PATH", help="A journal, an export, frames or segments instead of sessions; may be repeated."
    ),
]
MarketOption = Annotated[
    list[str] | None,
    typer.Option("--market", metavar="TICKER", help="Only this market, or those that fit KXBTC*; may be repeated."),
]
SourceOption = Annotated[str, typer.Option("--source", metavar="tables|journal", help="Where sessions are read.")]


def load_tapes(
    context: typer.Context,
    sessions: str | None,
    paths: list[Path] | None,
    markets: list[str] | None,
    *,
    source: str = "tables",
    rebuild: bool = False,
) -> list[Tape]:
    """Tapes as asked for, compiled where they are not yet. Raises UsageError, DataError and what reading raises."""
    from kflow.errors import UsageError
    from kflow.replay.load import parse_sessions, recorded_sessions
    from kflow.replay.tapes import Shelf
    from kflow.store import postgres
    from kflow.wiring import data_dir, database

    if sessions is not None and paths:
        raise UsageError("--sessions and --from name two sources", hint="give one of them")
    if source not in ("tables", "journal"):
        raise UsageError(f"there is no source {source}", hint="read from tables or journal")
    if sessions is not None:
        parse_sessions(sessions)  # before a database is asked
    settings = load_settings(context)
    root = data_dir(settings) / "tapes"
    tapes: list[Tape] = []
    with render.progress("read", None, unit="events") as advance:
        shelf = Shelf(root, rebuild, advance)
        if paths:
            tapes += shelf.of_files(paths, markets)
        else:
            with database(settings) as dsn, postgres.connect(dsn, autocommit=True) as conn:
                numbers = recorded_sessions(conn, sessions) if sessions else _all_sessions(conn)
                tapes += shelf.of_sessions(conn, numbers, markets, "journal" if source == "journal" else "tables")
    for market, why in sorted(shelf.empty.items()):
        render.note(f"{market} is left out: {why}")
    if not tapes:
        raise UsageError("there is no book to simulate on", hint=_RECORD)
    return tapes


def _all_sessions(conn: Connection) -> tuple[int, ...]:
    from kflow.errors import UsageError
    from kflow.store import sessions

    numbers = tuple(session.id for session in sessions.read_sessions(conn))
    if not numbers:
        raise UsageError("nothing is recorded here yet", hint=_RECORD)
    return numbers
