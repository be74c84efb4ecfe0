"""`kflow replay`: recorded sessions given back."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kflow.cli import render, serving
from kflow.cli.invocation import load_settings
from kflow.cli.lazy import new_app

if TYPE_CHECKING:
    from kflow.replay.export import Report
    from kflow.replay.verify import Verdict
    from kflow.store.postgres import Connection

app = new_app(help="Give recorded sessions back: verify, export, serve.")

SESSIONS = "Sessions, for example 3, 1-40 or 1,4,7-9; of a range, those there are."
_COLUMNS = (
    "session",
    "equal",
    "messages",
    "gaps",
    "crossed",
    "duplicates",
    "digest_journal",
    "digest_tables",
    "sampled",
)


@app.command()
def verify(
    context: typer.Context,
    session: Annotated[str, typer.Option("--session", metavar="N|RANGE", help=SESSIONS)],
    truth: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Also hold the journal against an exchange's truth log.")
    ] = None,
    journal: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the journal is, if it was moved (one session only).")
    ] = None,
    archive: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Of an archive instead, without any database.")
    ] = None,
    form: render.FormatOption = None,
    as_json: render.JsonOption = False,
) -> None:
    """Compare the rows of sessions with their journals; exit 6 where they differ."""
    from kflow.errors import UsageError
    from kflow.replay import load
    from kflow.replay import verify as checking
    from kflow.store import postgres, sessions
    from kflow.wiring import database

    chosen = render.chosen(form, as_json)
    named = load.parse_sessions(session)
    if journal is not None and len(named) > 1:
        raise UsageError("--journal is the journal of one session", hint="verify one session at a time")
    verdicts: list[Verdict] = []
    if archive is not None:
        if truth is not None or journal is not None:
            raise UsageError("--archive has its own journal, and no truth log", hint="leave the others out")
        verdicts = _verify_archive(archive, named)
        _show(verdicts, chosen)
        for verdict in verdicts:
            verdict.require()
        return
    with database(load_settings(context)) as dsn, postgres.connect(dsn, autocommit=True) as conn:
        numbers = load.recorded_sessions(conn, session)
        counted = sessions.list_sessions(conn, numbers)
        rows = sum(one.deltas + one.snapshots + one.trades + one.tickers + one.frames + one.gaps for one in counted)
        with render.progress("verify", 2 * rows, unit="rows") as advance:
            for number in numbers:
                found = checking.verify(conn, number, truth=truth, journal=journal, progress=advance)
                verdicts.append(found)
    _show(verdicts, chosen)
    for verdict in verdicts:
        verdict.require()


def _verify_archive(root: Path, numbers: Sequence[int]) -> list[Verdict]:
    from kflow.replay.archive import verify_archived
    from kflow.replay.archived import find

    with render.progress("verify", None, unit="rows") as advance:
        return [verify_archived(find(root, number), progress=advance) for number in numbers]


def _show(verdicts: list[Verdict], form: render.Format) -> None:
    import msgspec

    items: list[dict[str, Any]] = [msgspec.to_builtins(verdict) for verdict in verdicts]
    if len(items) == 1 and form is not render.Format.TABLE:
        render.record(items[0], form=form)
        return
    if form is render.Format.TABLE:
        for item in items:
            item["digest_journal"], item["digest_tables"] = item["digest_journal"][:16], item["digest_tables"][:16]
    render.rows("verdicts", items, columns=_COLUMNS, form=form)
    for item in items:
        if item["truth"] is not None and form is render.Format.TABLE:
            found = item["truth"]
            render.note(
                f"session {item['session']}: the exchange sent {found['frames']:,} frames over {found['connections']} "
                f"connections; {found['journalled']:,} are journalled, {found['lost']:,} lost, "
                f"{found['lost_outside_gaps']:,} of them outside gaps"
            )


@app.command()
def export(
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to write into; nothing leaves it.")],
    sessions: Annotated[str, typer.Option("--sessions", metavar="N|RANGE", help=SESSIONS)],
    kind: Annotated[
        str, typer.Option("--format", metavar="NAME", help="csv, jsonl, parquet, lobster, tardis or hftbacktest.")
    ] = "parquet",
    market: Annotated[
        list[str] | None, typer.Option("--market", metavar="TICKER", help="Only this market; may be repeated.")
    ] = None,
    start: Annotated[
        str | None, typer.Option(metavar="TIME", help="Received from then on: a date or RFC 3339.")
    ] = None,
    end: Annotated[str | None, typer.Option(metavar="TIME", help="Received before then.")] = None,
    source: Annotated[
        str, typer.Option(metavar="tables|journal", help="Where to read; journals are whole.")
    ] = "tables",
    levels: Annotated[int, typer.Option(min=1, max=1000, help="lobster: price levels in the book file.")] = 10,
    partitioned: Annotated[
        bool, typer.Option("--partitioned", help="parquet: folders session=/market=/date= instead of one file.")
    ] = False,
    finished: Annotated[
        bool, typer.Option("--finished", help="Only sessions that are over; where none is, nothing is written.")
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for another export into the same folder; else exit 8.")
    ] = False,
    as_json: render.JsonOption = False,
) -> None:
    """Write sessions to files, one set per market; run again, it writes only what is missing."""
    from kflow.errors import UsageError
    from kflow.replay import export as exporting
    from kflow.replay import load
    from kflow.replay.formats import format_named
    from kflow.store import postgres
    from kflow.wiring import database

    if source not in ("tables", "journal"):
        raise UsageError(f"there is no source {source}", hint="read from tables or journal")
    if partitioned and kind != "parquet":
        raise UsageError(f"--partitioned is for parquet, not for {kind}")
    request = exporting.Request(
        out=out,
        format=format_named(kind),
        sessions=load.parse_sessions(sessions),
        pick=load.Pick(
            markets=frozenset(market) if market else None,
            start_ns=None if start is None else load.parse_time(start),
            end_ns=None if end is None else load.parse_time(end),
        ),
        source="journal" if source == "journal" else "tables",
        levels=levels,
        partitioned=partitioned,
        wait=wait,
    )
    with (
        database(load_settings(context)) as dsn,
        postgres.connect(dsn, autocommit=True) as conn,
        render.progress("export", None, unit="events") as advance,
    ):
        request = replace(request, sessions=_numbers(conn, sessions, finished))
        report = exporting.export(conn, request, progress=advance)
    _show_exports(report, render.Format.JSON if as_json else render.Format.TABLE)


def _numbers(conn: Connection, text: str, finished: bool) -> tuple[int, ...]:
    """Of the sessions that `text` names, those to export. Raises UsageError where none was recorded."""
    from kflow.replay import load
    from kflow.store import sessions

    if not finished:
        return load.recorded_sessions(conn, text)
    named = set(load.parse_sessions(text))
    return tuple(one.id for one in sessions.read_sessions(conn) if one.id in named and one.state != "open")


def _show_exports(report: Report, form: render.Format) -> None:
    done = [(one, "written") for one in report.written] + [(one, "unchanged") for one in report.skipped]
    items = [
        {
            "session": one.session,
            "market": one.market,
            "state": state,
            "events": sum(one.counts.values()),
            "gaps": len(one.gaps),
            "bytes": sum(file["bytes"] for file in one.files),
            "digest": one.digest,
            "files": [file["name"] for file in one.files],
        }
        for one, state in sorted(done, key=lambda item: (item[0].session, item[0].market))
    ]
    columns = ("session", "market", "state", "events", "gaps", "bytes")
    render.rows("exports", items, columns=columns, form=form, empty="these sessions have no markets")


@app.command()
def serve(
    context: typer.Context,
    session: Annotated[int, typer.Option("--session", metavar="N", help="Which session.")],
    speed: serving.Speed = "1",
    fault: serving.Faults = None,
    truth: serving.Truth = None,
    host: serving.Host = "127.0.0.1",
    port: serving.Port = 0,
    keys: serving.Keys = None,
    wait: serving.Wait = True,
    until_end: serving.UntilEnd = False,
    users: serving.Users = 1,
    cash: serving.Cash = "10000",
    tier: serving.Tier = "premier",
    key_type: serving.Key = serving.KeyType.RSA,
    order_latency: serving.OrderLatency = 0.0,
    read_lag: serving.ReadLag = 0.0,
) -> None:
    """Serve a session as a live feed. Prints one line of JSON when ready; Ctrl-C ends it."""
    import asyncio
    import tempfile

    from kflow.exchange.faults import load_script
    from kflow.exchange.serve import parse_speed
    from kflow.exchange.server import ExchangeOptions
    from kflow.replay import serve as running
    from kflow.replay.tables import open_journal
    from kflow.store import postgres, sessions
    from kflow.wiring import database

    pace = parse_speed(speed)
    options = ExchangeOptions(
        host=host,
        port=port,
        faults=load_script(fault) if fault is not None else (),
        truth=truth,
        key_folder=keys,
        terms=serving.terms(cash, tier, (order_latency, 0.0, read_lag)),
        users=users,
        rsa=key_type is serving.KeyType.RSA,
    )
    with ExitStack() as stack:
        with database(load_settings(context)) as dsn, postgres.connect(dsn, autocommit=True) as conn:
            [found] = sessions.read_sessions(conn, [session])
            directory = stack.enter_context(open_journal(conn, found))
        found = replace(found, journal_dir=str(directory))
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="kflow-replay-"))
        recording = Path(folder) / "frames.jsonl.gz"
        with render.progress("read", None, unit="frames") as advance:
            _, left_out = running.write_frames(found, recording, progress=advance)
        if left_out:
            render.note(f"{left_out:,} frames are no JSON and cannot be sent again; seq shows where they were")
        asyncio.run(running.serve(recording, pace, options, typer.echo, session=found, waits=wait, until_end=until_end))
