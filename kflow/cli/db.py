"""`kflow db`: the database's schema, and the room it takes."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from kflow.cli import render
from kflow.cli.invocation import load_settings
from kflow.cli.lazy import new_app

app = new_app(help="Upgrade and inspect the database.")


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
def stats(context: typer.Context, form: render.FormatOption = None, as_json: render.JsonOption = False) -> None:
    """Show how much room each table takes."""
    from kflow.store import postgres, storage
    from kflow.wiring import database

    chosen = render.chosen(form, as_json)
    with database(load_settings(context)) as dsn, postgres.connect(dsn, autocommit=True) as conn:
        sizes = storage.table_sizes(conn)
    items = [{"table": size.relname} | asdict(size) for size in sizes]
    if chosen is render.Format.TABLE:
        items = [item | {name: render.size(item[name]) for name in ("table_bytes", "index_bytes")} for item in items]
    columns = ("table", "partitions", "estimated_rows", "table_bytes", "index_bytes")
    render.rows("tables", [{name: item[name] for name in columns} for item in items], columns=columns, form=chosen)
