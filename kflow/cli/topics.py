"""`kflow help TOPIC`: what does not belong to a single command."""

from __future__ import annotations

from typing import Annotated

import typer

from kflow.cli.exitcodes import EXIT_CODES
from kflow.errors import UsageError


def _exit_codes() -> str:
    lines = [f"{entry.code:>4}  {entry.name:<12} {entry.meaning}" for entry in EXIT_CODES]
    return "How a kflow command ends:\n\n" + "\n".join(lines)


def _settings() -> str:
    from kflow.settings import declared

    lines = ["Where settings come from: flags, then the environment, then kflow.toml, then defaults.", ""]
    for item in declared():
        unit = f" [{item.unit}]" if item.unit else ""
        lines += [f"{item.key}{unit}: {item.about}", f"    {', '.join(item.env)}"]
    return "\n".join(lines)


TOPICS = {"exit-codes": _exit_codes, "settings": _settings}


def topic(
    name: Annotated[str, typer.Argument(metavar="[TOPIC]", help=f"One of: {', '.join(TOPICS)}.")] = "",
) -> None:
    """Explain a topic, for example: kflow help exit-codes."""
    if not name:
        typer.echo("topics: " + ", ".join(TOPICS) + "\nkflow COMMAND --help explains a command")
        return
    if name not in TOPICS:
        raise UsageError(f"there is no help topic {name}", hint=f"topics: {', '.join(TOPICS)}")
    typer.echo(TOPICS[name]())
