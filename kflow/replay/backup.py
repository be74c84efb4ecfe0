"""The whole database, its journals and its models as files, while recorders go on writing.

    BACKUPS/20261126T223700Z/manifest.json     what is here; each file's SHA-256
                             tables/           every table but those of the stream, as CSV
                             sessions/0007/    the rest of a session, see `kept`
                             models/           as in the data folder

Each backup is whole by itself. What has not changed since the last one in the same folder is the same file under
another name (a hard link): finished sessions, and segments of a journal that another follows.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
import psycopg

from kflow import __version__
from kflow.errors import ConfigError, DataError
from kflow.replay import kept
from kflow.replay.contents import read_tables
from kflow.replay.kept import Kept
from kflow.replay.source import Beside, StoredRows, fixed_view
from kflow.replay.tables import Tables
from kflow.store import copy, filing, ledger, migrate, read, sessions, whole
from kflow.store.copy import HEADER, TRAILER, BinaryTable
from kflow.store.filing import File
from kflow.store.ledger import Standing, Step
from kflow.store.postgres import Connection, reporting
from kflow.store.sessions import Session

SCHEMA_VERSION: Final = 1
STREAM: Final[Mapping[str, BinaryTable]] = {
    "deltas": copy.DELTAS,
    "snapshots": copy.SNAPSHOTS,
    "trades": copy.TRADES,
    "tickers": copy.TICKERS,
    "frames": copy.FRAMES,
}
_STAMP: Final = "%Y%m%dT%H%M%SZ"
Progress = Callable[[int], None]


class Backup(msgspec.Struct, frozen=True, kw_only=True):
    """The manifest of a backup. `sessions`: SHA-256 of each session's manifest, by its folder's name."""

    schema_version: int
    kflow_version: str
    server_version: str
    migration: int
    taken_at: datetime
    tables: dict[str, int]
    sessions: dict[str, str]
    # Sessions whose journals were not on this machine; and those that were removed, by where their copies lie.
    without_journal: list[int]
    elsewhere: dict[int, str | None]
    files: list[File]


@dataclass(slots=True)
class Report:
    """What a backup did. Bytes: of what was written anew, and of what lay there already."""

    folder: Path
    manifest: Backup
    written: list[int] = field(default_factory=list)
    unchanged: list[int] = field(default_factory=list)
    new_bytes: int = 0
    old_bytes: int = 0
    # Whether the ledger knows of it; the user may not be allowed to write there.
    noted: bool = True


def backup(conn: Connection, data: Path, out: Path, *, progress: Progress = lambda _: None) -> Report:
    """Write a backup into a new folder of `out`. `conn` must not be in a transaction.

    Raises ConfigError (the folder cannot be written), InstanceLocked, DatabaseError, DataError (a copy that is carried
    over is not whole).
    """
    root = out.absolute()
    with reporting("the backup"), ledger.alone(conn), filing.claimed(root):
        report = _backup(conn, data, root, progress)
    report.noted = _note(conn, report)
    return report


def _backup(conn: Connection, data: Path, root: Path, progress: Progress) -> Report:
    previous = newest(root)
    folder = root / datetime.now(UTC).strftime(_STAMP)
    with filing.writing(folder) as part:
        work = _Backup(conn, part, previous, progress)
        with fixed_view(conn) as beside:
            work.database(beside)
        _models(data / "models", part / "models")
        return work.finish(folder)


class _Backup:
    """A backup while it is written."""

    def __init__(self, conn: Connection, part: Path, previous: Path | None, progress: Progress) -> None:
        self._conn, self._part, self._previous, self._progress = conn, part, previous, progress
        self._counts: dict[str, int] = {}
        self._without: list[int] = []
        self._elsewhere: dict[int, str | None] = {}
        self._written: list[int] = []
        self._unchanged: list[int] = []
        self._migration = 0

    def database(self, beside: Beside) -> None:
        """All of it, as one transaction sees it. Journals are read behind it: they are never behind the tables."""
        self._migration = migrate.status(self._conn).version
        self._counts = whole.dump(self._conn, self._part / "tables")
        standings = ledger.standings(self._conn)
        for session in sessions.read_sessions(self._conn):
            standing = standings.get(session.id, Standing(session.id))
            before = self._before(session, only=standing.removed)
            if standing.removed:
                self._elsewhere[session.id] = None if standing.folder is None else str(standing.folder)
                if before is not None:
                    self._adopt(session, *before)
            elif before is not None and self._is_same(session, before[1]):
                self._adopt(session, *before)
            else:
                self._write(session, beside, before)

    def _before(self, session: Session, *, only: bool) -> tuple[Path, Kept] | None:
        """What the last backup has of a session, no file of it missing or cut; else DataError where it is the `only`
        copy that could be taken. Rows that are here are written anew instead.
        """
        folder = None if self._previous is None else self._previous / "sessions" / kept.name_of(session.id)
        if folder is None or not (folder / filing.MANIFEST).is_file():
            return None
        try:
            found, _ = kept.read_kept(folder)
            filing.look(folder, found.files)
        except DataError as error:
            if not only:
                return None
            raise DataError(
                f"the copy of session {session.id}, whose rows were removed, cannot be carried along: {error}",
                hint="bring that file back, or back up into another --out",
            ) from None
        return (folder, found) if found.uuid == session.uuid else None

    def _is_same(self, session: Session, before: Kept) -> bool:
        """A session that has ended does not change any more; its journal may have come to this machine."""
        known = before.journal is not None or not Path(session.journal_dir).is_dir()
        return session.state != "open" and before.state == session.state and known

    def _adopt(self, session: Session, folder: Path, before: Kept) -> None:
        target = self._part / "sessions" / folder.name
        for file in before.files:
            filing.adopt(filing.inside(folder, file.name), target / file.name)
        filing.adopt(folder / filing.MANIFEST, target / filing.MANIFEST)
        self._unchanged.append(session.id)
        if before.journal is None:
            self._without.append(session.id)

    def _write(self, session: Session, beside: Beside, before: tuple[Path, Kept] | None) -> None:
        folder = self._part / "sessions" / kept.name_of(session.id)
        facts = kept.write_facts(self._conn, session.id, folder)
        for name, table in STREAM.items():
            with filing.new_gzip(folder / f"{name}.copy.gz") as file:
                file.write(HEADER)
                for block in read.copied(self._conn, table.of_session(session.id)):
                    file.write(block)
                file.write(TRAILER)
        rows = StoredRows(self._conn, beside, session.id)
        contents = read_tables(Tables(rows), sample_rate=session.sample_rate, progress=self._progress)
        journal = kept.pack_journal(
            Path(session.journal_dir),
            session.uuid,
            folder,
            known=(before[1].journal or ()) if before is not None else (),
            before=before[0] if before is not None else None,
        )
        if journal is None:
            self._without.append(session.id)
        files = filing.seal(folder)
        filing.write_manifest(folder, kept.describe(self._conn, "backup", facts, contents, journal, files))
        self._written.append(session.id)

    def finish(self, folder: Path) -> Report:
        part = self._part
        files = filing.seal(part, "tables") + filing.seal(part, "models")
        for where, _, _ in os.walk(part / "sessions"):
            filing.sync_folder(Path(where))  # links and manifests: prune may trust them from now on
        manifest = Backup(
            schema_version=SCHEMA_VERSION,
            kflow_version=__version__,
            server_version=self._conn.info.parameter_status("server_version") or "",
            migration=self._migration,
            taken_at=datetime.strptime(folder.name, _STAMP).replace(tzinfo=UTC),
            tables=self._counts,
            sessions={place.name: kept.read_kept(place)[1] for place in sorted((part / "sessions").glob("*"))},
            without_journal=sorted(self._without),
            elsewhere=self._elsewhere,
            files=files,
        )
        filing.write_manifest(part, manifest)
        report = Report(folder, manifest, self._written, self._unchanged)
        for path in part.rglob("*"):
            found = path.lstat()
            if path.is_file():
                report.new_bytes += found.st_size if found.st_nlink == 1 else 0
                report.old_bytes += found.st_size if found.st_nlink > 1 else 0
        return report


def _models(source: Path, target: Path) -> None:
    """The files of the registry. Links in it are not followed: they are none of the registry's."""
    for where, folders, names in os.walk(source):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            path = Path(where) / name
            if not path.is_symlink():
                with filing.opened(path) as old, filing.new_file(target / path.relative_to(source)) as new:
                    shutil.copyfileobj(old, new)


def _note(conn: Connection, report: Report) -> bool:
    """Tell the ledger where the copies of finished sessions lie; False where the user may not."""
    try:
        with conn.transaction():
            for name, sha256 in report.manifest.sessions.items():
                folder = report.folder / "sessions" / name
                found, _ = kept.read_kept(folder)
                if found.state == "open":
                    continue
                facts = {"counts": found.counts, "bytes": found.bytes, "journal": found.journal is not None}
                ledger.take(conn, Step(
                    session_id=found.session, step="backed_up", folder=str(folder), manifest=sha256,
                    digest=found.digest, facts=facts,
                ))  # fmt: skip
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction):
        return False
    return True


# Reading one.


def newest(root: Path) -> Path | None:
    """The last whole backup in a folder of some."""
    found = [path for path in sorted(root.glob("*T*Z")) if (path / filing.MANIFEST).is_file() and not path.is_symlink()]
    return found[-1] if found else None


def open_backup(place: Path) -> tuple[Path, Backup]:
    """A backup, or the last one in a folder of some. Raises ConfigError, DataError."""
    folder = place if (place / filing.MANIFEST).is_file() else newest(place)
    if folder is None:
        raise ConfigError(f"there is no whole backup in {place}", hint="name a folder that kflow db backup wrote")
    found, _ = filing.read_manifest(folder, Backup)
    if found.schema_version != SCHEMA_VERSION:
        raise DataError(
            f"{folder} has version {found.schema_version} of backups, this kflow reads {SCHEMA_VERSION}",
            hint="use a newer kflow",
        )
    return folder, found


def check(folder: Path, manifest: Backup, progress: Progress = lambda _: None) -> Iterator[tuple[Path, Kept]]:
    """Hold every file against its hash; each session's folder and manifest. Raises DataError, which names the file."""
    filing.check(folder, manifest.files, progress)
    for name, sha256 in sorted(manifest.sessions.items()):
        place = filing.inside(folder, f"sessions/{name}")
        found, is_now = kept.read_kept(place)
        if is_now != sha256:
            raise DataError(f"{place / filing.MANIFEST} is not what was written", hint="take another copy")
        filing.check(place, found.files, progress)
        yield place, found


def read_session(folder: Path, number: int) -> Kept:
    """What a backup says of one of its sessions. Raises DataError."""
    return kept.read_kept(folder / "sessions" / kept.name_of(number))[0]
