"""`kflow config`: what the settings are, and where each came from."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from kflow.cli import render
from kflow.cli.invocation import load_settings
from kflow.cli.lazy import new_app
from kflow.settings import Declaration, Settings, declared, unknown_variables

app = new_app(help="Show and check the settings.")


@app.command()
def show(
    context: typer.Context,
    origins: Annotated[bool, typer.Option("--origins", help="Also say where each value came from.")] = False,
    form: render.FormatOption = None,
    as_json: render.JsonOption = False,
) -> None:
    """Show every setting and its value; secrets show as ***."""
    settings = load_settings(context)
    columns = ["setting", "value", "unit", *(["origin"] if origins else [])]
    chosen = render.chosen(form, as_json)
    items = [_row(item, settings, for_eyes=chosen is render.Format.TABLE) for item in declared()]
    shown = [{key: value for key, value in item.items() if key in columns} for item in items]
    render.rows("settings", shown, columns=columns, form=chosen)


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
