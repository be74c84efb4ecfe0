"""What is shipped for operating: where it lies, and a command line's meaning, asked of the command line itself."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import typer
from typer.main import get_command

from kflow.cli.main import app

ROOT = Path(__file__).resolve().parents[2]
OPS = ROOT / "ops"


def understood(words: list[str]) -> None:
    """Assert that kflow would run these words: every verb, option and value. Nothing is run."""
    command: Any = get_command(app)
    try:
        context = command.make_context("kflow", list(words))
        while hasattr(command, "list_commands"):
            name, command, arguments = command.resolve_command(context, [*context._protected_args, *context.args])
            context = command.make_context(name, arguments, parent=context)
    except typer.TyperException as error:
        raise AssertionError(f"kflow {' '.join(words)}: {error.format_message()}") from None


def calls(text: str) -> list[list[str]]:
    """The words behind each `kflow` of shell lines."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        for part in re.split(r"\s(?:&&|\|\||\||;|&)(?:\s|$)", line):
            words = shlex.split(part, comments=True)
            at = next((i for i, word in enumerate(words) if re.fullmatch(r"(?:\S*/)?kflow", word)), None)
            if at is not None:
                found.append(words[at + 1 :])
    return found
