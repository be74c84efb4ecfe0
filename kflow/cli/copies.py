"""`kflow db backup`, `restore` and `archive`: copies of what was recorded, and their way back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from kflow.cli import render
from kflow.cli.invocation import load_settings
from kflow.cli.keeping import BeforeOption, KeepOption, SessionsOption, chosen_sessions, connected


def backup(
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where backups are kept; each gets a folder.")],
    form: render.FormatOption = None,
    as_json: render.JsonOption = False,
) -> None:
    """Copy database, journals and models into a new folder, while recorders go on.

    Finished sessions and closed journal segments that the last backup there holds are linked, not written again.
    """
    from kflow.replay import backup as saving
    from kflow.wiring import data_dir

    chosen = render.chosen(form, as_json)
    settings = load_settings(context)
    with connected(settings) as conn, render.progress("backup", None, unit="rows") as advance:
        report = saving.backup(conn, data_dir(settings), out, progress=advance)
    manifest = report.manifest
    if manifest.without_journal:
        render.note(f"no journal of sessions {_listed(manifest.without_journal)} is on this machine: rows only")
    for number, folder in manifest.elsewhere.items():
        render.note(f"session {number} was removed before; its copy is in {folder or 'no place that is written down'}")
    if not report.noted:
        render.note("this user may not write to the ledger: kflow db prune will not know of this backup")
    render.record(
        {
            "folder": report.folder,
            "taken_at": manifest.taken_at,
            "schema": manifest.migration,
            "rows": sum(manifest.tables.values()),
            "sessions_written": report.written,
            "sessions_unchanged": report.unchanged,
            "without_journal": manifest.without_journal,
            "new_bytes": report.new_bytes if chosen is not render.Format.TABLE else render.size(report.new_bytes),
            "linked_bytes": report.old_bytes if chosen is not render.Format.TABLE else render.size(report.old_bytes),
        },
        form=chosen,
    )


def restore(
    context: typer.Context,
    place: Annotated[Path, typer.Argument(metavar="FOLDER", help="A backup, a folder of backups, or an archive.")],
    session: Annotated[
        int | None, typer.Option("--session", metavar="SESSION", help="Only this one, whose rows were removed.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="FOLDER", help="Data folder to restore into; else the usual one.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Only hold every file against its hash.")] = False,
    form: render.FormatOption = None,
    as_json: render.JsonOption = False,
) -> None:
    """Bring a backup back into an empty database and data folder; or one session, of a backup or of an archive.

    Every file is checked first: exit 6 where one is not what was written, and nothing is changed.
    """
    from kflow.replay import backup as saving
    from kflow.replay import restore as bringing
    from kflow.wiring import data_dir

    chosen = render.chosen(form, as_json)
    if check:
        folder, manifest = saving.open_backup(place.absolute())
        with render.progress("check", None, unit="bytes") as advance:
            whole = list(saving.check(folder, manifest, advance))
        render.record({"folder": folder, "whole": True, "sessions": [one.session for _, one in whole]}, form=chosen)
        return
    settings = load_settings(context, {"data.dir": data})
    if session is not None:
        with connected(settings) as conn, render.progress("restore", None, unit="rows") as advance:
            folder, found = bringing.restore_session(conn, data_dir(settings), place, session, progress=advance)
        render.note(f"kflow replay verify --session {session} proves it")
        render.record({"session": session, "from": folder, "rows": found.rows, "digest": found.digest}, form=chosen)
        return
    with connected(settings, any_schema=True) as conn, render.progress("restore", None, unit="rows") as advance:
        done = bringing.restore(conn, data_dir(settings), place, progress=advance)
    render.note("kflow replay verify --session N proves each session")
    render.record(
        {
            "from": done.folder,
            "data": data_dir(settings),
            "sessions": [int(name) for name in done.manifest.sessions],
            "rows": done.rows,
            "removed_before": list(done.manifest.elsewhere),
        },
        form=chosen,
    )


def archive(
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="The archive; each session gets a folder.")],
    sessions: SessionsOption = None,
    before: BeforeOption = None,
    keep: KeepOption = None,
    form: render.FormatOption = None,
    as_json: render.JsonOption = False,
) -> None:
    """Write finished sessions to Parquet, with their journals, and prove each copy by its digest. Removes nothing."""
    chosen = render.chosen(form, as_json)
    settings = load_settings(context)
    _require_pyarrow()
    from kflow.replay import archive as keeping

    items: list[dict[str, Any]] = []
    with connected(settings) as conn, render.progress("archive", None, unit="rows") as advance:
        numbers = chosen_sessions(conn, settings, sessions, before, keep)
        for done in keeping.archive(conn, numbers, out, progress=advance):
            found = done.kept
            render.note(f"session {found.session} is {'archived' if done.state == 'written' else 'there already'}")
            items.append(
                {
                    "session": found.session,
                    "state": done.state,
                    "rows": found.rows,
                    "bytes": found.bytes,
                    "journal": found.journal is not None,
                    "digest": found.digest,
                    "folder": done.folder,
                }
            )
    shown = [item | {"bytes": render.size(item["bytes"])} for item in items] if chosen is render.Format.TABLE else items
    columns = ("session", "state", "rows", "bytes", "journal", "folder")
    render.rows("archived", shown, columns=columns, form=chosen, empty="no session is that old")


def _require_pyarrow() -> None:
    from importlib.util import find_spec

    if find_spec("pyarrow") is None:
        from kflow.errors import ConfigError

        raise ConfigError(
            "archives are Parquet, which needs pyarrow, which is not installed",
            hint="pip install 'kflow[export]'; kflow db backup needs nothing",
        )


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))
