"""A session as a folder of files that can be brought back: what archives and backups have in common.

0007/manifest.json        what is here, each file with its SHA-256; of the session: counts, digest
     facts.json           the session, its connections, markets and gaps, as they stood in the database
     journal/             session.json, and each segment as N.kfj.gz
     deltas.parquet ...   the rows: Parquet in an archive, PostgreSQL's binary COPY (.copy.gz) in a backup
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal
from uuid import UUID

import msgspec

from kflow import __version__
from kflow.errors import DataError, UsageError
from kflow.replay.contents import TableContents
from kflow.replay.source import ConnectionRow
from kflow.store import filing, migrate
from kflow.store.filing import File
from kflow.store.journal import SUFFIX, segment_paths
from kflow.store.postgres import Connection
from kflow.store.sessions import GapRow, Session, StoredMarket
from kflow.store.sqlfiles import queries

SCHEMA_VERSION: Final = 1
FACTS: Final = "facts.json"
JOURNAL: Final = "journal"
CARD: Final = "session.json"
PACKED: Final = f"{SUFFIX}.gz"
Kind = Literal["archive", "backup"]


class Segment(msgspec.Struct, frozen=True):
    """A journal segment before it was compressed. `offset`: logical, of its first byte; sha256 of `bytes` bytes."""

    offset: int
    bytes: int
    sha256: str


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """The manifest of a kept session. `journal` None: none was on the machine that wrote this."""

    schema_version: int
    kflow_version: str
    kind: Kind
    migration: int
    session: int
    uuid: UUID
    state: str
    sample_rate: int
    started_ns: int
    ended_ns: int | None
    # Up to where of the journal the rows reach.
    journal_offset: int
    # UTC days since 1970 that have rows.
    days: list[int]
    # Rows by kind, what their checksums are, and the digest of the books, as kflow replay verify shows it.
    counts: dict[str, int]
    sums: dict[str, str]
    digest: str
    journal: list[Segment] | None
    files: list[File]

    @property
    def bytes(self) -> int:
        """What the folder takes on disk, but for the manifest."""
        return sum(file.bytes for file in self.files)

    @property
    def rows(self) -> int:
        return sum(number for kind, number in self.counts.items() if kind not in ("gaps", "connections"))


class Watermark(msgspec.Struct, frozen=True):
    shard: int
    journal_offset: int


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """facts.json."""

    session: Session
    connections: list[ConnectionRow]
    markets: list[StoredMarket]
    gaps: list[GapRow]
    watermarks: list[Watermark]


def write_facts(conn: Connection, number: int, folder: Path) -> Facts:
    """What the database knows of a session beside its rows. Raises UsageError where there is no such session."""
    row = conn.execute(queries("storage")["facts"], {"session_id": number}).fetchone()
    if row is None:
        raise UsageError(f"no session has the number {number}", hint="kflow sessions ls shows those there are")
    text = str(row[0]).encode()
    with filing.new_file(folder / FACTS) as file:
        file.write(text)
    return msgspec.json.decode(text, type=Facts)


def read_facts(folder: Path) -> Facts:
    """Raises DataError."""
    try:
        with filing.opened(folder / FACTS) as file:
            return msgspec.json.decode(file.read(), type=Facts)
    except (OSError, msgspec.MsgspecError) as error:
        raise DataError(f"{folder / FACTS} cannot be read: {error}", hint="take another copy") from None


def describe(
    conn: Connection,
    kind: Kind,
    facts: Facts,
    contents: TableContents,
    journal: list[Segment] | None,
    files: list[File],
) -> Kept:
    """The manifest of what was written."""
    days = conn.execute(queries("storage")["days"], {"session_id": facts.session.id})
    session = facts.session
    return Kept(
        schema_version=SCHEMA_VERSION,
        kflow_version=__version__,
        kind=kind,
        migration=migrate.status(conn).version,
        session=session.id,
        uuid=session.uuid,
        state=session.state,
        sample_rate=session.sample_rate,
        started_ns=session.started_ns,
        ended_ns=session.ended_ns,
        journal_offset=next((mark.journal_offset for mark in facts.watermarks if mark.shard == 0), 0),
        days=[int(str(row[0])) for row in days],
        counts=dict(sorted(contents.counts.items())),
        sums=contents.sums(),
        digest=contents.books.hexdigest(),
        journal=journal,
        files=files,
    )


def read_kept(folder: Path) -> tuple[Kept, str]:
    """The manifest of a kept session, and its SHA-256. Raises DataError."""
    kept, sha256 = filing.read_manifest(folder, Kept)
    if kept.schema_version != SCHEMA_VERSION:
        raise DataError(
            f"{folder} has version {kept.schema_version} of kept sessions, this kflow reads {SCHEMA_VERSION}",
            hint="use a newer kflow",
        )
    return kept, sha256


def name_of(number: int) -> str:
    return f"{number:04d}"


# Journals.


def pack_journal(
    directory: Path, uuid: UUID, folder: Path, *, known: Sequence[Segment] = (), before: Path | None = None
) -> list[Segment] | None:
    """Copy a session's journal, each segment compressed; None where it is not on this machine.

    Segments `known` that lie in `before` are taken from there: a segment that another follows is never written again.
    """
    if not directory.is_dir() or directory.is_symlink():
        return None
    segments = segment_paths(directory)
    if not segments or owner_of(directory) != uuid:
        return None
    found, old = [], {segment.offset: segment for segment in known}
    target = folder / JOURNAL
    for index, (offset, path) in enumerate(segments):
        size = path.stat(follow_symlinks=False).st_size
        packed = f"{path.name}.gz"
        closed, same = index + 1 < len(segments), old.get(offset)
        if closed and same is not None and same.bytes == size and before is not None:
            filing.adopt(before / JOURNAL / packed, target / packed)
            found.append(same)
        else:
            found.append(Segment(offset, size, filing.compress(path, target / packed, size)))
    with filing.opened(directory / CARD) as card, filing.new_file(target / CARD) as copy:
        shutil.copyfileobj(card, copy)
    return found


class _Card(msgspec.Struct):
    uuid: UUID


def owner_of(directory: Path) -> UUID | None:
    """Whose journal a directory says it is; None where it says nothing."""
    try:
        with filing.opened(directory / CARD) as file:
            return msgspec.json.decode(file.read(), type=_Card).uuid
    except (OSError, msgspec.MsgspecError):
        return None


def unpack_journal(folder: Path, kept: Kept, into: Path) -> None:
    """Write the journal as it was into a new folder. Raises DataError where a segment is not what it was."""
    filing.private_folder(into)
    for segment in kept.journal or ():
        name = f"{segment.offset:020d}{SUFFIX}"
        filing.expand(filing.inside(folder, f"{JOURNAL}/{name}.gz"), into / name)
        with filing.opened(into / name) as file:
            if (os.fstat(file.fileno()).st_size, filing.sha256_of(file)) != (segment.bytes, segment.sha256):
                raise DataError(f"{folder / JOURNAL / name}.gz is not what was kept", hint="take another copy")
    with filing.opened(folder / JOURNAL / CARD) as card, filing.new_file(into / CARD) as copy:
        shutil.copyfileobj(card, copy)
    filing.seal(into)


def check_journal(folder: Path, kept: Kept) -> None:
    """Each segment comes out as it went in. Raises DataError."""
    for segment in kept.journal or ():
        path = filing.inside(folder, f"{JOURNAL}/{segment.offset:020d}{PACKED}")
        if filing.expanded(path) != (segment.bytes, segment.sha256):
            raise DataError(f"{path} is not what was kept", hint="take another copy")


@contextmanager
def journal_of(folder: Path, kept: Kept) -> Iterator[Path]:
    """The journal as a directory that can be read while the block runs. Raises DataError where none was kept."""
    if kept.journal is None:
        raise DataError(
            f"{folder} holds no journal of session {kept.session}",
            hint="it was not on the machine that wrote this: only the rows are left",
        )
    with tempfile.TemporaryDirectory(prefix="kflow-journal-") as place:
        directory = Path(place) / str(kept.uuid)
        unpack_journal(folder, kept, directory)
        yield directory
