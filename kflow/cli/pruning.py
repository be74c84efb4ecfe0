"""`kflow db prune`: what may go, said and asked; then removed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from kflow.cli import render
from kflow.cli.invocation import load_settings
from kflow.cli.keeping import BeforeOption, KeepOption, SessionsOption, chosen_sessions, connected

if TYPE_CHECKING:
    from kflow.replay.prune import Candidate, Plan, Pruned

_PLAN: Final = ("session", "ended", "rows", "journal", "copy", "goes")


def prune(
    context: typer.Context,
    sessions: SessionsOption = None,
    before: BeforeOption = None,
    keep: KeepOption = None,
    without_archive: Annotated[
        bool, typer.Option("--without-archive", help="Also what is neither archived nor backed up. It is lost then.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would go.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask. Needed where nobody can be asked.")] = False,
    form: render.FormatOption = None,
    as_json: render.JsonOption = False,
) -> None:
    """Remove rows and journals of sessions whose copies are found whole; shows what goes, and asks.

    Never an open session, nor one that a model, an evaluation or an actor still needs. The session itself stays listed.
    """
    from kflow.clock import SystemClock
    from kflow.replay import prune as removing

    chosen = render.chosen(form, as_json)
    settings = load_settings(context)
    with connected(settings) as conn:
        with render.progress("check copies", None, unit="bytes") as advance:
            numbers = chosen_sessions(conn, settings, sessions, before, keep)
            planned = removing.plan(
                conn, numbers, now_ns=SystemClock().wall_ns(), without_copy=without_archive, progress=advance
            )
        if chosen is render.Format.TABLE or dry_run:
            _show_plan(planned, chosen)
        if dry_run or not planned.going:
            if chosen is not render.Format.TABLE and not dry_run:
                _show_pruned(planned, None, chosen)
            return
        if not yes:
            _ask(planned)
        done = removing.prune(conn, planned)
    _show_pruned(planned, done, chosen)


def _ask(planned: Plan) -> None:
    count = len(planned.going)
    if not sys.stdin.isatty():
        from kflow.errors import UsageError

        raise UsageError("pruning has to be confirmed, and nobody can be asked here", hint="say it with --yes")
    what = f"{count} session{'s' if count > 1 else ''}, {sum(one.rows for one in planned.going):,} rows"
    typer.confirm(f"Remove {what}?", abort=True, err=True)


def _show_plan(planned: Plan, form: render.Format) -> None:
    items = [_planned(one) for one in (*planned.going, *planned.staying)]
    if form is not render.Format.TABLE:
        render.rows("plan", items, columns=tuple(items[0]) if items else _PLAN, form=form)
        return
    for item in items:
        item["journal"] = render.size(item["journal_bytes"])
        item["goes"] = f"no: {'; '.join(item['keep'])}" if item["keep"] else "yes"
        item["ended"] = render.minute(item["ended"])
    render.rows("plan", items, columns=_PLAN, form=form, empty="nothing is to be removed")
    if planned.going:
        render.note(
            f"{planned.days} whole days go ({render.size(planned.freed_bytes)} of the disk); "
            "of other days rows are deleted, whose room PostgreSQL fills again"
        )


def _planned(one: Candidate) -> dict[str, Any]:
    copy = one.copy or one.standing.removal
    return {
        "session": one.session.id,
        "ended": render.when(one.session.ended_ns),
        "rows": one.rows,
        "journal_bytes": one.journal_bytes,
        "copy": copy.folder if copy else None,
        "interrupted": one.half_removed,
        "keep": one.keep,
    }


def _show_pruned(planned: Plan, done: Pruned | None, form: render.Format) -> None:
    freed = done.removed if done is not None else None
    sizes = {
        "freed_table_bytes": freed.freed_bytes if freed else 0,
        "freed_journal_bytes": done.journal_bytes if done is not None else 0,
    }
    shown = {name: render.size(value) for name, value in sizes.items()} if form is render.Format.TABLE else sizes
    render.record(
        {
            "pruned": done.sessions if done is not None else [],
            "kept": {str(one.session.id): one.keep for one in planned.staying},
            "rows": done.rows if done is not None else 0,
            "days_dropped": freed.days if freed else 0,
            **shown,
            "rows_deleted": freed.reusable_rows if freed else 0,
        },
        form=form,
    )
