"""`kflow db`: the database's schema and room; copies of what is in it, their way back, and what is removed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from kflow.cli import copies, pruning, render
from kflow.cli.invocation import load_settings
from kflow.cli.keeping import DAY_NS, KeepOption, connected, days_to_keep
from kflow.cli.lazy import new_app

if TYPE_CHECKING:
    from kflow.replay.prune import Plan
    from kflow.settings import Settings
    from kflow.store.postgres import Connection
    from kflow.store.storage import SessionSize

app = new_app(help="Upgrade, measure, back up, restore, archive and prune the database.")

_STATS: Final = ("session", "state", "started", "rows", "tables", "journal", "per_million_deltas", "copy")


@app.command()
def upgrade(
    context: typer.Context,
    check: Annotated[bool, typer.Option("--check", help="Change nothing; exit 3 where an upgrade is due.")] = False,
) -> None:
    """Bring the schema to this kflow's version. Safe to run twice, and by several at once."""
    from kflow.store import migrate, postgres
    from kflow.wiring import database

    with database(load_settings(context), any_schema=True) as dsn, postgres.connect(dsn, autocommit=True) as conn:
        if check:
            migrate.require_current(conn)
        done = () if check else migrate.upgrade(conn)
        for migration in done:
            render.note(f"applied {migration.version:04} {migration.name}")
        version = migrate.status(conn).version
    typer.echo(f"{postgres.redacted(dsn)}: schema version {version}" + ("" if done else ", nothing to do"))


@app.command()
def status(context: typer.Context, form: render.FormatOption = None, as_json: render.JsonOption = False) -> None:
    """Show which schema version the database has, and which one this kflow knows. Exit 3 where they differ."""
    from kflow.errors import SchemaMismatch
    from kflow.store import migrate, postgres
    from kflow.wiring import database

    chosen = render.chosen(form, as_json)
    with database(load_settings(context), any_schema=True) as dsn, postgres.connect(dsn, autocommit=True) as conn:
        now = migrate.status(conn)
        server = conn.info.parameter_status("server_version")
    known = {
        "database": postgres.redacted(dsn),
        "server": server,
        "version": now.version,
        "known": now.known,
        "current": now.current,
        "pending": [migration.name for migration in now.pending],
        "upgraded_at": now.applied[-1].applied_at if now.applied else None,
    }
    render.record(known, form=chosen)
    if not now.current:
        raise SchemaMismatch(now.version, now.known)


@app.command()
def stats(
    context: typer.Context,
    keep: KeepOption = None,
    form: render.FormatOption = None,
    as_json: render.JsonOption = False,
) -> None:
    """Show how much room each table and each session takes, and what a prune would free."""
    from kflow.store import ledger, sessions, storage

    chosen = render.chosen(form, as_json)
    settings = load_settings(context)
    with connected(settings) as conn:
        tables = storage.table_sizes(conn)
        summaries = sessions.list_sessions(conn)
        found = storage.session_sizes(tables, summaries, ledger.standings(conn))
        prunable = _prunable(conn, settings, keep)
    sizes: list[dict[str, Any]] = [{"table": size.relname} | asdict(size) for size in tables]
    for item in sizes:
        del item["relname"]
    if chosen is not render.Format.TABLE:
        whole = {"tables": sizes, "sessions": [asdict(one) for one in found], **_totals(found, prunable)}
        if chosen is render.Format.JSON:
            render.record(whole, form=chosen)
        else:
            render.rows("tables", sizes, columns=tuple(sizes[0]), form=chosen)
        return
    columns = ("table", "partitions", "estimated_rows", "table_bytes", "index_bytes")
    shown = [item | {name: render.size(item[name]) for name in ("table_bytes", "index_bytes")} for item in sizes]
    render.rows("tables", shown, columns=columns, form=chosen)
    typer.echo()
    render.rows("sessions", [_for_eyes(asdict(one)) for one in found], columns=_STATS, form=chosen, empty="no sessions")
    typer.echo()
    totals = _totals(found, prunable)
    render.record(
        {name: render.size(value) if name.endswith("bytes") else value for name, value in totals.items()}, form=chosen
    )


def _for_eyes(item: dict[str, Any]) -> dict[str, Any]:
    return {
        **item,
        "started": render.minute(render.when(item["started_ns"])),
        "tables": render.size(item["table_bytes"]),
        "journal": render.size(item["journal_bytes"]),
        "per_million_deltas": render.size(item["bytes_per_million_deltas"]),
        "state": "pruned" if item["removed"] else item["state"],
        "copy": item["copy"] and item["copy"].replace("_", " "),
    }


def _totals(found: Sequence[SessionSize], prunable: Plan) -> dict[str, Any]:
    here = [one for one in found if one.rows]
    goes = {one.session.id for one in prunable.going}
    return {
        "oldest": render.when(min((one.started_ns for one in here), default=None)),
        "newest": render.when(max((one.started_ns for one in here), default=None)),
        "journal_bytes": sum(one.journal_bytes or 0 for one in found),
        "prune_sessions": sorted(goes),
        "prune_days_dropped": prunable.days,
        "prune_freed_bytes": prunable.freed_bytes,
        # Of rows that are deleted: PostgreSQL fills it again.
        "prune_reusable_bytes": max(
            0, sum(one.table_bytes for one in found if one.session in goes) - prunable.freed_bytes
        ),
        "prune_journal_bytes": sum(one.journal_bytes for one in prunable.going),
    }


def _prunable(conn: Connection, settings: Settings, keep: str | None) -> Plan:
    """What a prune would free, as far as the ledger says: no copy is read for that."""
    from kflow.clock import SystemClock
    from kflow.replay import prune as removing

    now_ns = SystemClock().wall_ns()
    days = days_to_keep(keep, settings) or 0
    numbers = removing.ended_before(conn, now_ns - days * DAY_NS)
    return removing.plan(conn, numbers, now_ns=now_ns, read_copies=False)


for command in (copies.backup, copies.restore, copies.archive, pruning.prune):
    app.command()(command)
