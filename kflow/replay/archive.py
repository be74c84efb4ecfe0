"""Finished sessions to Parquet: written, read back and found to be the same before anything is called archived."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from kflow.errors import ConfigError, DataError, DigestMismatch, UsageError
from kflow.replay import kept, rowfiles
from kflow.replay.archived import ArchivedRows, whole_facts
from kflow.replay.contents import TableContents, read_tables
from kflow.replay.kept import Kept
from kflow.replay.source import ConnectionRow, Rows, StoredRows, fixed_view
from kflow.replay.tables import Tables
from kflow.replay.truth import Recorded
from kflow.replay.verify import Verdict, compare, whole_journal
from kflow.store import filing, ledger, sessions
from kflow.store.ledger import Step
from kflow.store.postgres import Connection, reporting
from kflow.store.read import WHOLE, FrameRow, Slice, SnapshotRow, TickerRow, TradeRow
from kflow.store.sessions import GapRow, Session

_Row = TypeVar("_Row", bound=tuple[Any, ...])
Progress = Callable[[int], None]
_BATCH_ROWS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Archived:
    """One session in an archive. `state`: whether this run wrote it, or found it whole."""

    kept: Kept
    folder: Path
    manifest: str  # its SHA-256
    state: Literal["written", "unchanged"]


def archive(
    conn: Connection, numbers: Sequence[int], out: Path, *, progress: Progress = lambda _: None
) -> Iterator[Archived]:
    """Write finished sessions into folders of `out`, one after the other, and tell the ledger of each.

    A session that lies there whole already is left as it is. `conn` must not be in a transaction. Raises UsageError (no
    such session, or one that has not ended), ConfigError (the folder cannot be written, or holds another session of
    that number; the user may not write down what was archived), DigestMismatch (what was written is not what was
    read), InstanceLocked, DatabaseError.
    """
    found = sessions.read_sessions(conn, numbers)
    for session in found:
        _require_finished(session)
    with reporting("archiving"), ledger.alone(conn), filing.claimed(out.absolute()):
        ledger.require_owner(conn, "archive")
        for session in found:
            yield _archive_one(conn, session, out.absolute(), progress)


def _require_finished(session: Session) -> None:
    if session.state == "open":
        raise UsageError(
            f"session {session.id} has not ended",
            hint="stop its recorder; if that was killed, the next kflow ingest completes the session",
        )


def _archive_one(conn: Connection, session: Session, out: Path, progress: Progress) -> Archived:
    folder, standing = out / kept.name_of(session.id), ledger.standing(conn, session.id)
    if (folder / filing.MANIFEST).exists():
        found, sha256 = kept.read_kept(folder)
        _require_same(session, found, folder)
        filing.check(folder, found.files)
        done = Archived(found, folder, sha256, "unchanged")
        if any(
            (step.folder, step.manifest) == (str(folder), sha256) for step in ledger.standing(conn, session.id).copies
        ):
            return done
    else:
        standing = ledger.standing(conn, session.id)
        if standing.removed:
            raise standing.gone()
        done = _write(conn, session, folder, progress)
    facts = {"counts": done.kept.counts, "bytes": done.kept.bytes, "journal": done.kept.journal is not None}
    ledger.take(conn, Step(
        session_id=session.id, step="archived", folder=str(folder), manifest=done.manifest, digest=done.kept.digest,
        facts=facts,
    ))  # fmt: skip
    return done


def _require_same(session: Session, found: Kept, folder: Path) -> None:
    if found.uuid != session.uuid:
        raise ConfigError(
            f"{folder} holds another session of that number ({found.uuid})",
            hint="an archive is of one database: choose another --out",
        )


def _write(conn: Connection, session: Session, folder: Path, progress: Progress) -> Archived:
    with filing.writing(folder) as part:
        with fixed_view(conn) as beside:
            facts = kept.write_facts(conn, session.id, part)
            with Copying(StoredRows(conn, beside, session.id), part) as rows:
                stored = read_tables(Tables(rows), sample_rate=session.sample_rate, progress=progress)
            journal = kept.pack_journal(Path(session.journal_dir), session.uuid, part)
            files = filing.seal(part)
            found = kept.describe(conn, "archive", facts, stored, journal, files)
        again = read_tables(Tables(ArchivedRows(part)), sample_rate=session.sample_rate, progress=progress)
        _require_equal(session, stored, again)
        kept.check_journal(part, found)
        manifest = filing.write_manifest(part, found)
    return Archived(found, folder, manifest, "written")


def _require_equal(session: Session, stored: TableContents, again: TableContents) -> None:
    if stored.same_as(again):
        return
    raise DigestMismatch(
        f"session {session.id}: what was written does not read back as what was stored; nothing was archived",
        hint="is the disk sound? Try another --out",
    )


class Copying:
    """Rows of the database that are written to files while somebody reads them, all of each stream."""

    def __init__(self, rows: Rows, folder: Path) -> None:
        self._rows, self.session_id = rows, rows.session_id
        markets = rows.markets()
        self._open = ExitStack()
        self._files = {}
        for name in rowfiles.TABLES:
            self._files[name] = rowfiles.RowFile(folder, name, rows.session_id, markets)
            self._open.callback(self._files[name].close)

    def __enter__(self) -> Copying:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def markets(self) -> dict[int, str]:
        return self._rows.markets()

    def deltas(self, which: Slice = WHOLE) -> Iterator[NDArray[np.void]]:
        for batch in self._rows.deltas(which):
            self._files["deltas"].add_deltas(batch)
            yield batch

    def snapshots(self, which: Slice = WHOLE) -> Iterator[SnapshotRow]:
        return self._copied("snapshots", self._rows.snapshots(which))

    def trades(self, which: Slice = WHOLE) -> Iterator[TradeRow]:
        return self._copied("trades", self._rows.trades(which))

    def tickers(self, which: Slice = WHOLE) -> Iterator[TickerRow]:
        return self._copied("tickers", self._rows.tickers(which))

    def frames(self) -> Iterator[FrameRow]:
        return self._copied("frames", self._rows.frames())

    def gaps(self) -> tuple[GapRow, ...]:
        return self._rows.gaps()

    def connections(self) -> tuple[ConnectionRow, ...]:
        return self._rows.connections()

    def journal(self) -> AbstractContextManager[Path]:
        return self._rows.journal()

    def _copied(self, name: str, rows: Iterator[_Row]) -> Iterator[_Row]:
        while batch := list(islice(rows, _BATCH_ROWS)):
            self._files[name].add_rows(batch)
            yield from batch


def verify_archived(folder: Path, *, progress: Progress = lambda _: None) -> Verdict:
    """What `verify` says of a session, told by its archive alone. Raises DataError where a file is not what it was."""
    found, _ = kept.read_kept(folder)
    if found.kind != "archive":
        raise UsageError(
            f"{folder} is a backup, which PostgreSQL alone can read", hint="restore it, then: kflow replay verify"
        )
    filing.check(folder, found.files)
    facts = whole_facts(folder, found)
    session = facts.session
    of_tables = read_tables(Tables(ArchivedRows(folder, facts)), sample_rate=session.sample_rate, progress=progress)
    if of_tables.books.hexdigest() != found.digest or of_tables.sums() != found.sums:
        raise DataError(f"{folder} does not hold what its manifest says", hint="take another copy")
    with kept.journal_of(folder, found) as directory:
        reader = whole_journal(directory, session)
        return compare(of_tables, reader, Recorded(session=session, gaps=facts.gaps), progress=progress)
