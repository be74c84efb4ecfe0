"""What became of sessions' rows and journals: rl_storage_steps, whose last row of a session says how it stands."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any, Final, LiteralString

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from kflow.errors import ConfigError, DataError, InstanceLocked
from kflow.store.filing import MANIFEST
from kflow.store.postgres import Connection
from kflow.store.sessions import Summary
from kflow.store.sqlfiles import queries


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A row of rl_storage_steps. `manifest` is the SHA-256 of the one in `folder`; `digest` of the books."""

    session_id: int
    step: str
    folder: str | None = None
    manifest: str | None = None
    digest: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    taken_at: datetime | None = None
    taken_by: str | None = None


COPIES: Final = ("archived", "backed_up")


@dataclass(frozen=True, slots=True)
class Standing:
    """How a session stands: the steps that were taken, first to last."""

    session_id: int
    steps: tuple[Step, ...] = ()

    @property
    def _moved(self) -> str | None:
        """The last step that moved the rows: a copy moves none."""
        return next((step.step for step in reversed(self.steps) if step.step not in COPIES), None)

    @property
    def removed(self) -> bool:
        """Its rows are gone, or going."""
        return self._moved in ("pruning", "pruned")

    @property
    def half_removed(self) -> bool:
        """Whoever removed it did not end."""
        return self._moved == "pruning"

    @property
    def removal(self) -> Step | None:
        """When it was last begun to be removed; its facts say what it was."""
        return next((step for step in reversed(self.steps) if step.step == "pruning"), None)

    @property
    def copies(self) -> list[Step]:
        """What was written down of copies: archives before backups, the newest of each first."""
        return [step for kind in COPIES for step in reversed(self.steps) if step.step == kind]

    @property
    def folder(self) -> Path | None:
        """Where the best copy lies that is still there; where none is, should lie."""
        named = [Path(step.folder) for step in self.copies if step.folder]
        return next((folder for folder in named if os.access(folder / MANIFEST, os.R_OK)), next(iter(named), None))

    @property
    def word(self) -> str | None:
        """What a session whose rows are gone is called; None while they are here."""
        if not self.removed:
            return None
        best = self.copies[0].step if self.copies else "removed"
        return best.replace("_", " ")

    def gone(self) -> DataError:
        """What to say to whoever wants the rows."""
        number, folder = self.session_id, self.folder
        if folder is None:
            return DataError(
                f"the rows of session {number} were removed, and nobody wrote down a copy",
                hint="if there is one in a backup: kflow db restore FOLDER --session N",
            )
        return DataError(
            f"the rows of session {number} were removed; its copy is in {folder}",
            hint=f"bring it back: kflow db restore {folder} --session {number}",
        )


def _query(name: str) -> LiteralString:
    return queries("storage")[name]


def standings(conn: Connection) -> dict[int, Standing]:
    """How each session stands that a step was ever taken with."""
    by_session = groupby(_steps(conn, None), key=lambda step: step.session_id)
    return {number: Standing(number, tuple(steps)) for number, steps in by_session}


def standing(conn: Connection, session_id: int) -> Standing:
    """How one session stands."""
    return Standing(session_id, tuple(_steps(conn, session_id)))


def as_it_was(summary: Summary, standing: Standing) -> Summary:
    """Of a session whose rows were removed, what they said before."""
    if not standing.removed or standing.removal is None:
        return summary
    return replace(summary, **standing.removal.facts["summary"])


def _steps(conn: Connection, session_id: int | None) -> list[Step]:
    with conn.cursor(row_factory=class_row(Step)) as cursor:
        return list(cursor.execute(_query("steps"), {"session_id": session_id}))


def take(conn: Connection, step: Step) -> None:
    """Write down that a step was taken, now and by us. Part of the caller's transaction."""
    values = {
        "session_id": step.session_id,
        "step": step.step,
        "taken_by": _who(),
        "folder": step.folder,
        "manifest": step.manifest,
        "digest": step.digest,
        "facts": Jsonb(dict(step.facts)),
    }
    conn.execute(_query("take"), values)


def _who() -> str:
    user = "unknown"
    with suppress(OSError, KeyError):
        user = getpass.getuser()
    return f"{user}@{socket.gethostname()}"


@contextmanager
def alone(conn: Connection) -> Iterator[None]:
    """Nobody else archives, removes, restores or backs up this database while the block runs. Raises InstanceLocked."""
    row = conn.execute(_query("lock")).fetchone()
    if row is None or not row[0]:
        raise InstanceLocked(
            "another kflow db command is archiving, pruning, restoring or backing up this database",
            hint="wait until it has ended",
        )
    try:
        yield
    finally:
        conn.execute(_query("unlock"))


def require_owner(conn: Connection, doing: str) -> None:
    """Raises ConfigError unless the connection's user may remove rows: it is the owner of the tables, or its member."""
    row = conn.execute(_query("may_remove")).fetchone()
    assert row is not None
    user, owner, may = row
    if not may:
        raise ConfigError(
            f"{user} may not {doing}: the tables belong to {owner}",
            hint=f"connect as a user that is a member of {owner}; recorders should not be",
        )
