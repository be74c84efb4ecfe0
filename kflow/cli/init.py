"""`kflow init`: a settings file that explains itself."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from enum import StrEnum
from itertools import count
from pathlib import Path
from typing import Annotated

import typer

from kflow.cli import render
from kflow.errors import ConfigError, UsageError
from kflow.settings import FILE_NAME
from kflow.settings.template import PRESETS, template


class Environment(StrEnum):
    """Which venue the file is for."""

    LOCAL = "local"
    DEMO = "demo"
    PRODUCTION = "production"


_KEY_ID = "export KALSHI_API_KEY_ID=your-key-id (to record, a key that can only read is enough)"
_KEY_FILE = "put the key's private part into kalshi_private_key.pem beside the file, and chmod 600 it"
_STEPS = {
    Environment.LOCAL: ("kflow ingest --market INXD-25JAN03 --duration 60",),
    Environment.DEMO: (_KEY_ID, _KEY_FILE, "kflow doctor"),
    Environment.PRODUCTION: (_KEY_ID, _KEY_FILE, "kflow actor limits -o limits.toml, and read them", "kflow doctor"),
}


def init(
    context: typer.Context,
    environment: Annotated[
        Environment, typer.Option("--env", metavar="local|demo|production", help="For which venue.")
    ] = Environment.LOCAL,
    minimal: Annotated[bool, typer.Option("--minimal", help="Only what most people set.")] = False,
    output: Annotated[
        str | None, typer.Option("-o", "--output", metavar="FILE", help="Else ./kflow.toml; - is stdout.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Write over a file that is there; a copy of it is kept.")
    ] = False,
) -> None:
    """Write kflow.toml: every setting with its meaning.

    Each setting stands there behind a #, with its default and unit. Secrets are never in it.
    """
    text = template(PRESETS[environment.value], minimal=minimal)
    if output == "-":
        sys.stdout.write(text)
        return
    path = Path(output) if output else _read_file(context)
    if force and (kept := _kept(path)) is not None:
        render.note(f"what was there is now {kept}")
        path.unlink()
    try:
        _write_new(path, text.encode())
    except FileExistsError:
        raise UsageError(
            f"{path} is there already, and stays as it is",
            hint="kflow init --force writes a new one and keeps a copy; kflow init -o - only shows it",
        ) from None
    render.note(f"{path} is for {environment.value}; next:")
    for step in _STEPS[environment]:
        render.note(f"  {step}")
    typer.echo(path)


def _read_file(context: typer.Context) -> Path:
    """The file that settings are read from."""
    chosen = context.find_root().obj
    return Path(chosen["config"] or os.environ.get("KFLOW_CONFIG") or FILE_NAME)


def _kept(path: Path) -> Path | None:
    """Copy what stands at `path` to a name of its own; None where there is nothing."""
    try:
        before = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", hint="choose another with -o FILE") from None
    for number in count(1):
        kept = path.with_name(f"{path.name}.bak{'' if number == 1 else number}")
        with suppress(FileExistsError):
            _write_new(kept, before, mode=path.stat().st_mode)
            return kept
    return None


def _write_new(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Write the whole file or none. Raises FileExistsError, ConfigError."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode & 0o777), "wb") as out:
            try:
                out.write(content)
                out.flush()
            except OSError:
                path.unlink()
                raise
    except FileExistsError:
        raise
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}", hint="choose another with -o FILE") from None
