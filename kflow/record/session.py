"""One run of `kflow ingest`: its journal, its writer, its feed; and the recovery of runs that did not end well."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import msgspec
import psycopg

from kflow import __version__
from kflow.clock import Clock
from kflow.errors import DatabaseError, DataError, InstanceLocked, JournalError
from kflow.kalshi.auth import ApiKey
from kflow.kalshi.feed import Feed
from kflow.record.books import Books
from kflow.record.handoff import BatchLimits, Handoff
from kflow.record.recorder import Plan, Recorder
from kflow.record.survey import survey, tell_missing
from kflow.record.writer import SessionWriter, Writer, load_journal
from kflow.store import sessions
from kflow.store.journal import DirectoryLock, JournalWriter
from kflow.store.journal_reader import JournalReader
from kflow.store.sessions import NewSession

# Opens an autocommit connection: transactions are explicit here.
Connect = Callable[[], psycopg.Connection[tuple[object, ...]]]

# What a session is, beside its journal: enough to load it into a database that has never heard of it.
CARD: Final = "session.json"
DRAIN_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingOptions:
    """How a session is recorded."""

    batch: BatchLimits = field(default_factory=BatchLimits)
    queue_rows: int = 200_000
    sync_interval_s: float = 0.2
    sample_rate: int = 1
    segment_bytes: int = 64 * 2**20


class Syncer(threading.Thread):
    """Forces the journal to the disk at intervals, so that a power cut costs no more than one of them."""

    def __init__(self, journal: JournalWriter, interval_s: float) -> None:
        super().__init__(name="kflow-sync", daemon=True)
        self._journal, self._interval_s = journal, interval_s
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.wait(self._interval_s):
            with contextlib.suppress(JournalError):  # the journal refuses the next append: the recorder hears of it
                self._journal.sync()

    def stop(self) -> None:
        self._stopped.set()
        if self.ident is not None:
            self.join()


class RecordingSession:
    """A session while it is recorded. `begin`, then `feed.run()` for as long as wanted, then `end`."""

    def __init__(
        self,
        journal_root: Path,
        plan: Plan,
        connect: Connect,
        *,
        card: NewSession,
        clock: Clock,
        options: RecordingOptions,
    ) -> None:
        """Make the journal. Raises JournalError."""
        self.card, self.options = card, options
        self.directory = journal_root / str(card.uuid)
        self._connect, self._clock = connect, clock
        self.books = Books()
        self.handoff = Handoff(options.queue_rows, options.batch)
        self.journal = JournalWriter(
            self.directory, card.uuid, segment_bytes=options.segment_bytes, checkpoint=self._checkpoint
        )
        self._lock = DirectoryLock(self.directory)
        write_card(self.directory, card)
        self.recorder = Recorder(plan, self.journal, self.books, self.handoff, clock=clock)
        self._syncer = Syncer(self.journal, options.sync_interval_s)
        # None until `begin`.
        self.number: int | None = None
        self.writer: Writer | None = None

    def _checkpoint(self) -> bytes:
        return self.recorder.state()

    def begin(self) -> int:
        """Enter the session in the database, start the threads. Returns its number. Raises DatabaseError."""
        with self._connect() as conn:
            self.number = sessions.create_session(conn, self.card)
        self.recorder.begin()
        self._syncer.start()
        self.writer = Writer(
            self._connect,
            self.number,
            self.handoff,
            lambda: self.journal.offset,
            lambda: JournalReader(self.directory),
            sample_rate=self.options.sample_rate,
            clock=self._clock,
        )
        self.writer.start()
        return self.number

    def feed(self, url: str, key: ApiKey) -> Feed:
        return Feed(url, key, self.recorder, clock=self._clock)

    async def end(self, within_s: float = DRAIN_S) -> bool:
        """Write what is left. True when the tables hold everything; else the next run loads it from the journal."""
        self._syncer.stop()
        with contextlib.suppress(JournalError):
            self.recorder.finish()
        try:
            return await asyncio.to_thread(self._store_rest, within_s)
        finally:
            self._lock.release()

    def _store_rest(self, within_s: float) -> bool:
        if self.writer is None or self.number is None or not self.writer.stop(within_s):
            return False
        try:
            with self._connect() as conn:
                sessions.close_session(conn, self.number, self._clock.wall_ns())
        except (psycopg.Error, DatabaseError):
            return False  # the rows are stored; that it has ended is not
        return True


def new_card(
    *,
    environment: str,
    use_yes_price: bool,
    sample_rate: int,
    selection: dict[str, Any],
    clock: Clock,
    journal_root: Path,
) -> NewSession:
    """What identifies the session that is about to begin."""
    uuid = uuid4()
    return NewSession(
        uuid=uuid,
        started_ns=clock.wall_ns(),
        environment=environment,
        use_yes_price=use_yes_price,
        sample_rate=sample_rate,
        kflow_version=__version__,
        host=socket.gethostname(),
        journal_dir=str(journal_root / str(uuid)),
        selection=selection,
    )


def write_card(directory: Path, card: NewSession) -> None:
    """Whole or not at all, whenever the process or the machine dies. Raises JournalError."""
    draft = directory / f".{CARD}"
    try:
        with draft.open("wb") as file:
            file.write(msgspec.json.encode(card))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(directory / CARD)
    except OSError as error:
        raise JournalError(
            f"cannot write {directory / CARD}: {error.strerror}",
            hint="free disk space, or give another folder with KFLOW_DATA_DIR",
        ) from error


def read_card(directory: Path) -> NewSession:
    """Raises JournalError where the directory is no session's."""
    try:
        return msgspec.json.decode((directory / CARD).read_bytes(), type=NewSession)
    except (OSError, msgspec.MsgspecError) as error:
        raise JournalError(f"{directory} holds no session card: {error}") from None


@dataclass(frozen=True, slots=True)
class Recovered:
    """What recovery did for one session."""

    number: int
    uuid: UUID
    # Bytes of journal that were loaded into the tables, and that were damaged and could not be.
    loaded_bytes: int
    damaged_bytes: int


def recover(journal_root: Path, connect: Connect, *, clock: Clock) -> Iterator[Recovered]:
    """Load the journals of sessions that nobody writes any more and that the tables do not hold in full.

    A journal that cannot be read does not keep the others from being loaded; its DataError is raised behind them.
    """
    failure: DataError | None = None
    for directory in sorted(path.parent for path in journal_root.glob(f"*/{CARD}")):
        try:
            done = _recover_one(directory, connect, clock)
        except DataError as error:
            failure = error
            continue
        if done is not None:
            yield done
    if failure is not None:
        raise failure


def _recover_one(directory: Path, connect: Connect, clock: Clock) -> Recovered | None:
    """None where there is nothing to do."""
    card = read_card(directory)
    with connect() as conn:
        known = sessions.find_session(conn, card.uuid)
        if known is not None and known.state != "open":
            return None
        try:
            lock = DirectoryLock(directory)
        except InstanceLocked:
            return None
        try:
            return _recover(directory, card, conn, clock)
        finally:
            lock.release()


def _recover(
    directory: Path, card: NewSession, conn: psycopg.Connection[tuple[object, ...]], clock: Clock
) -> Recovered:
    number = sessions.create_session(conn, card)  # the known number, where the database has heard of it
    writer = SessionWriter(conn, number, sample_rate=card.sample_rate)
    before = writer.watermark()
    found = survey(JournalReader(directory), before)
    tell_missing(directory, card, found, clock, watermark=before)
    after = load_journal(writer, JournalReader(directory))
    ended_ns = card.started_ns if found.last is None else found.last.wall_ns
    sessions.close_session(conn, number, ended_ns, "recovered")
    return Recovered(number, card.uuid, after - before, found.damaged_bytes)
