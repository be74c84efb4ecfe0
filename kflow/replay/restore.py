"""Backups and archives brought back: all of a database into an empty one, or one session whose rows were removed."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from psycopg.types.json import Jsonb

from kflow.errors import ConfigError, DataError, UsageError
from kflow.replay import kept
from kflow.replay.archived import find
from kflow.replay.backup import STREAM, Backup, check, open_backup
from kflow.replay.kept import Facts, Kept
from kflow.store import copy, filing, ledger, migrate, sessions, whole
from kflow.store.ledger import Step
from kflow.store.postgres import Connection, reporting
from kflow.store.sqlfiles import queries

Progress = Callable[[int], None]
_BLOCK: Final = 2**20
# In the data folder while a backup is brought back: what was put in place is in it, or was.
_WORK: Final = ".restoring"


# A whole backup.


class Restored(NamedTuple):
    """What was brought back. rows: of the stream and of all other tables."""

    folder: Path
    manifest: Backup
    rows: int


def restore(conn: Connection, data: Path, place: Path, *, progress: Progress = lambda _: None) -> Restored:
    """Bring a backup (or the last one in a folder of some) back into an empty database and data folder.

    Every file is checked before anything is written; the rows come in one transaction, with which the files take
    their places. `conn` must not be in a transaction. Raises ConfigError (they are not empty), DataError (a file is
    not what was written), DatabaseError, InstanceLocked.
    """
    folder, manifest = open_backup(place.absolute())
    with reporting("the restore"), ledger.alone(conn):
        _clear_interrupted(conn, data)
        _require_empty(conn, data, manifest)
        kept_sessions = list(check(folder, manifest, progress))
        work = data / _WORK
        try:
            _bring_files(folder, manifest, kept_sessions, work)
            with conn.transaction():
                migrate.upgrade(conn, to=manifest.migration)
                _bring_rows(conn, data, folder, manifest, kept_sessions, progress)
                migrate.upgrade(conn)
                _settle(work, data)
        except BaseException as error:
            _take_back(work, data)
            if isinstance(error, OSError):
                raise ConfigError(
                    f"cannot write to {data}: {error.strerror or error}; nothing was restored",
                    hint="free disk space, or restore into another folder with --data",
                ) from error
            raise
        shutil.rmtree(work)
        conn.execute(queries("storage")["look_again"])
    there = sum(session.rows for _, session in kept_sessions if session.session not in manifest.elsewhere)
    return Restored(folder, manifest, there + sum(manifest.tables.values()))


def _require_empty(conn: Connection, data: Path, manifest: Backup) -> None:
    for name in ("journal", "models"):
        there = data / name
        if there.is_dir() and any(there.iterdir()):
            raise ConfigError(f"{there} is not empty", hint="restore into another folder with --data")
    if not whole.is_empty(conn):
        raise ConfigError(
            "the database is not empty",
            hint="restore into another folder with --data, or point DATABASE_URL at an empty database",
        )
    now = migrate.status(conn)
    if manifest.migration > now.known:
        raise ConfigError(
            f"the backup has schema version {manifest.migration}, this kflow knows {now.known}",
            hint="use the kflow that wrote it, or a newer one",
        )
    if now.version > manifest.migration:
        raise ConfigError(
            f"the database has schema version {now.version} already, the backup {manifest.migration}",
            hint="restore into a database that no kflow has touched",
        )


def _bring_files(folder: Path, manifest: Backup, found: list[tuple[Path, Kept]], work: Path) -> None:
    """Journals and models, beside where they will lie."""
    for place, session in found:
        if session.journal is not None and session.session not in manifest.elsewhere:
            kept.unpack_journal(place, session, work / "journal" / str(session.uuid))
    for file in manifest.files:
        if file.name.startswith("models/"):
            with filing.opened(filing.inside(folder, file.name)) as old, filing.new_file(work / file.name) as new:
                shutil.copyfileobj(old, new)
    filing.private_folder(work)
    filing.seal(work)


def _bring_rows(
    conn: Connection,
    data: Path,
    folder: Path,
    manifest: Backup,
    found: list[tuple[Path, Kept]],
    progress: Progress,
) -> None:
    whole.load(conn, folder / "tables", manifest.tables)
    for place, session in found:
        if session.session in manifest.elsewhere:
            continue  # its rows were removed: its copy is carried along
        _make_days(conn, session)
        _bring_stream(conn, place, session, progress)
        if session.journal is not None:
            _point(conn, session, data)


def _point(conn: Connection, session: Kept, data: Path) -> None:
    values = {"session_id": session.session, "journal_dir": str(data / "journal" / str(session.uuid))}
    conn.execute(queries("storage")["move_journal"], values)


def _make_days(conn: Connection, session: Kept) -> None:
    for day in session.days:
        sessions.ensure_day(conn, day * sessions.DAY_NS)


def _bring_stream(conn: Connection, place: Path, session: Kept, progress: Progress) -> None:
    """A session's rows, of a backup or of an archive. Raises DataError where they are not as many as were kept."""
    numbers = None if session.kind == "backup" else _numbers(conn, kept.read_facts(place))
    for name, table in STREAM.items():
        wanted, came = session.counts.get(name, 0), 0
        if numbers is None:
            path = place / f"{name}.copy.gz"
            with filing.opened(path) as raw, gzip.open(raw) as file, conn.cursor() as cursor:
                with cursor.copy(table.statement) as into:
                    while block := file.read(_BLOCK):
                        into.write(block)
                came = cursor.rowcount
        else:
            from kflow.replay import rowfiles  # needs pyarrow, which backups do without

            with conn.cursor() as cursor:
                for packed in rowfiles.pack(place, name, session.session, numbers):
                    table.write(cursor, packed)
                    came += cursor.rowcount
        progress(came)
        if came != wanted:
            raise DataError(f"{place} holds {came:,} {name}, not {wanted:,}", hint="take another copy")


def _numbers(conn: Connection, facts: Facts) -> dict[int, int]:
    """What this database calls the markets of an archive."""
    here = sessions.upsert_markets(conn, facts.markets)
    return {market.id: here[market.ticker] for market in facts.markets}


def _settle(work: Path, data: Path) -> None:
    """Give everything its place. A mark is made before: it says what a killed restore placed, and nothing else goes."""
    for name in ("journal", "models"):
        if (work / name).is_dir():
            with suppress(FileNotFoundError):
                (data / name).rmdir()  # empty, as was made sure
            with filing.new_file(work / f"placing-{name}") as mark:
                mark.write(_listed(work / name))
                mark.flush()
                os.fsync(mark.fileno())
            filing.sync_folder(work)
            (work / name).rename(data / name)
    filing.sync_folder(data)


def _clear_interrupted(conn: Connection, data: Path) -> None:
    """What a restore that was killed has left: the rows are not there unless all are, so the files go with them."""
    work = data / _WORK
    if not work.is_dir():
        return
    if whole.is_empty(conn):
        _take_back(work, data)
    else:
        shutil.rmtree(work)


def _take_back(work: Path, data: Path) -> None:
    for name in ("journal", "models"):
        mark = work / f"placing-{name}"
        if mark.exists() and not (work / name).exists() and mark.read_bytes() == _listed(data / name):
            shutil.rmtree(data / name, ignore_errors=True)
    shutil.rmtree(work, ignore_errors=True)


def _listed(folder: Path) -> bytes:
    """What lies in a folder, a line each: whatever is recorded there later makes it another."""
    found = []
    for path in folder.rglob("*"):
        size = 0 if path.is_dir() else path.lstat().st_size
        found.append(os.fsencode(path.relative_to(folder)) + b" %d\n" % size)
    return b"".join(sorted(found))


# One session.


def restore_session(
    conn: Connection, data: Path, place: Path, number: int, *, progress: Progress = lambda _: None
) -> tuple[Path, Kept]:
    """Bring the rows and the journal of one session back, out of an archive or a backup.

    Every file is checked first; the rows come in one transaction. A session that this database never knew comes with
    all that was known of it, out of an archive only. Raises UsageError (it is here already, or not there), ConfigError
    (another session has its number; the user may not), DataError (a file is not what was written).
    """
    folder = find(place.absolute(), number)
    found, _ = kept.read_kept(folder)
    with reporting("the restore"), ledger.alone(conn):
        ledger.require_owner(conn, "restore")
        known = _require_absent(conn, found)
        if known:
            _require_complete(conn, found, folder)
        filing.check(folder, found.files, progress)
        facts = kept.read_facts(folder)
        if found.kind == "backup":
            _require_same_markets(conn, facts)
        journal = data / "journal" / str(found.uuid)
        if found.journal is not None:
            shutil.rmtree(journal, ignore_errors=True)  # what a prune or a restore that was killed has left of it
            with filing.writing(journal) as part:
                part.rmdir()
                kept.unpack_journal(folder, found, part)
        _make_days(conn, found)  # not within the transaction: recorders wait for whoever makes one
        with conn.transaction():
            if not known:
                _introduce(conn, facts)
            for name in STREAM:
                conn.execute(queries("storage")[f"forget_{name}"], {"session_id": number})
            _bring_stream(conn, folder, found, progress)
            if found.journal is not None:
                _point(conn, found, data)
            ledger.take(conn, Step(session_id=number, step="restored", folder=str(folder), digest=found.digest))
    return folder, found


def _require_absent(conn: Connection, found: Kept) -> bool:
    """Whether the database knows the session, whose rows are not there."""
    here = [session for session in sessions.read_sessions(conn) if found.session == session.id]
    if not here:
        if sessions.find_session(conn, found.uuid) is not None or found.kind == "backup":
            raise ConfigError(
                f"session {found.session} of that copy is not session {found.session} of this database",
                hint="a backup brings sessions back to the database that it is of; an archive to any",
            )
        return False
    if here[0].uuid != found.uuid:
        raise ConfigError(
            f"session {found.session} of this database is another one ({here[0].uuid})",
            hint="restore into another database: kflow db restore FOLDER --session N --data NEW",
        )
    if not ledger.standing(conn, found.session).removed:
        raise UsageError(f"session {found.session} is here: nothing is to be restored", hint="kflow sessions ls")
    return True


def _require_complete(conn: Connection, found: Kept, folder: Path) -> None:
    """A backup may have copied a session while it was recorded: that is not brought back where there is a whole one."""
    standing = ledger.standing(conn, found.session)
    was = {} if standing.removal is None else standing.removal.facts["summary"]
    short = found.state == "open" or any(found.counts.get(kind, 0) != was.get(kind, 0) for kind in STREAM)
    if short and standing.folder is not None:
        raise DataError(
            f"{folder} is not all of session {found.session}: it was copied before it was complete",
            hint=f"kflow db restore {standing.folder} --session {found.session}",
        )


def _require_same_markets(conn: Connection, facts: Facts) -> None:
    here = {market.ticker: market.id for market in sessions.read_markets(conn, [facts.session.id])}
    if any(here.get(market.ticker) != market.id for market in facts.markets):
        raise ConfigError(
            f"the backup numbers the markets of session {facts.session.id} otherwise than this database",
            hint="it is of another database: restore it whole, into an empty one",
        )


def _introduce(conn: Connection, facts: Facts) -> None:
    """A session that this database never heard of, with its connections, markets and gaps."""
    numbers = _numbers(conn, facts)
    session = facts.session
    sql = queries("storage")
    row = {name: getattr(session, name) for name in session.__dataclass_fields__}
    conn.execute(sql["introduce"], row | {"selection": Jsonb(dict(session.selection))})
    for mark in facts.watermarks:
        values = {"session_id": session.id, "shard": mark.shard, "journal_offset": mark.journal_offset}
        conn.execute(sql["introduce_watermark"], values)
    sessions.link_markets(conn, session.id, numbers.values())
    for link in facts.connections:
        sessions.open_connection(conn, session.id, link.connection, link.opened_ns, link.url)
        if link.closed_ns is not None:
            sessions.close_connection(conn, session.id, link.connection, link.closed_ns, link.reason or "")
    with conn.cursor() as cursor:
        copy.GAPS.write(cursor, copy.GAPS.pack_rows([
            (gap.recv_ns, gap.expected, gap.received, gap.ended_ns, session.id, gap.connection, gap.sid,
             None if gap.market_id is None else numbers[gap.market_id], gap.kind, gap.detail)
            for gap in facts.gaps
        ]))  # fmt: skip
