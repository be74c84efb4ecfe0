"""`kflow config`: what the settings are, and where each came from."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from kflow.cli import render
from kflow.cli.invocation import load_settings
from kflow.cli.lazy import new_app
from kflow.errors import UsageError
from kflow.settings import Declaration, Settings, declared, unknown_variables

app = new_app(help="Show and check the settings.")


@app.command()
def show(
    context: typer.Context,
    setting: Annotated[
        list[str] | None, typer.Argument(metavar="[SETTING]…", help="Only these, or those of these groups.")
    ] = None,
    origins: Annotated[bool, typer.Option("--origins", help="Also say where each value came from.")] = False,
    form: render.FormatOption = None,
    as_json: render.JsonOption = False,
) -> None:
    """Show every setting and its value; secrets show as ***."""
    settings = load_settings(context)
    columns = ["setting", "value", "unit", *(["origin"] if origins else [])]
    chosen = render.chosen(form, as_json)
    wanted = [item for item in declared() if not setting or _named(item, setting)]
    items = [_row(item, settings, for_eyes=chosen is render.Format.TABLE) for item in wanted]
    shown = [{key: value for key, value in item.items() if key in columns} for item in items]
    render.rows("settings", shown, columns=columns, form=chosen)


def _named(item: Declaration, names: Sequence[str]) -> bool:
    """Whether a name is the setting's or its group's. Raises UsageError for a name of neither."""
    known = {name for one in declared() for name in (one.key, one.key.partition(".")[0])}
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "kflow config show lists them all"
            raise UsageError(f"there is no setting {name}", hint=hint)
    return bool({item.key, item.key.partition(".")[0]} & {*names})


def _row(item: Declaration, settings: Settings, *, for_eyes: bool) -> dict[str, Any]:
    value = settings.value(item.key)
    return {
        "setting": item.key,
        "value": item.shown(value) if for_eyes else item.public(value),
        "unit": item.unit or None,
        "origin": settings.origins[item.key],
    }


@app.command()
def check(context: typer.Context, as_json: render.JsonOption = False) -> None:
    """Check that every setting fits; exit 3 and a sentence where one does not."""
    settings = load_settings(context)
    unread = unknown_variables()
    for name, near in unread:
        render.note(
            f"warning: nothing reads the environment variable {name}" + (f"; did you mean {near}?" if near else "")
        )
    given = sum(origin != "default" for origin in settings.origins.values())
    by_default = len(settings.origins) - given
    if as_json:
        unread_names = [name for name, _ in unread]
        render.record({"given": given, "default": by_default, "unread": unread_names}, form=render.Format.JSON)
    else:
        typer.echo(f"settings fit: {given} given, {by_default} by default")
