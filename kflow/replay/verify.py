"""Is what the tables hold what was received? Journal, rows and, where there is one, the exchange's own log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import msgspec

from kflow.errors import DataError, DigestMismatch
from kflow.replay.contents import Contents, JournalContents, TableContents, read_journal, read_tables
from kflow.replay.tables import open_tables
from kflow.replay.truth import Recorded, TruthVerdict, compare_truth
from kflow.store import sessions
from kflow.store.journal import segment_paths
from kflow.store.journal_reader import JournalReader
from kflow.store.postgres import Connection, reporting
from kflow.store.sessions import GapRow, Session
from kflow.store.sqlfiles import queries

# Gaps during which nothing was received at all.
_ABSENT = frozenset({"disconnect", "downtime", "oversized"})


class Downtime(msgspec.Struct, frozen=True):
    """A time in which nothing was received; `ended_ns` None: it has not ended."""

    kind: str
    started_ns: int
    ended_ns: int | None
    detail: str


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a comparison found. Where `equal` is false, `differences` says why, a sentence each."""

    session: int
    # Frames in the journal, as far as it is loaded where the session is still being recorded.
    messages: int
    # Rows of rl_gaps; how many of each kind; those during which nothing was received.
    gaps: int
    gap_kinds: dict[str, int]
    downtime: tuple[Downtime, ...]
    # Groups of one exchange µs that left a book crossed, seen by replaying the rows; None where rows are a sample.
    crossed: int | None
    # Of the book events that the tables should hold, and of those they do.
    digest_journal: str
    digest_tables: str
    equal: bool
    differences: tuple[str, ...]
    # Frames by kind.
    journal: dict[str, int]
    tables: dict[str, int]
    # Rows too many: keys that are not unique.
    duplicates: int
    # Rows whose level size does not follow from the rows before them.
    wrong_sizes: int
    # 1 of this many deltas is in the tables; `sampled` where that is not each.
    sample_rate: int
    sampled: bool
    state: str
    # Bytes of the journal that are not loaded yet: the session is being recorded, or waits to be recovered.
    unloaded_bytes: int
    truth: TruthVerdict | None = None

    def require(self) -> None:
        """Raises DigestMismatch where not equal."""
        if not self.equal:
            raise DigestMismatch(
                f"session {self.session}: " + "; ".join(self.differences),
                hint="the journal is what was received; kflow replay export --source journal reads it",
            )


def verify(
    conn: Connection,
    session: int,
    *,
    truth: Path | None = None,
    journal: Path | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Verdict:
    """Compare a session's rows with its journal, and its journal with an exchange's truth log (a directory).

    `conn` must not be in a transaction. `journal` says where the journal is, if not where it was recorded. `progress`
    hears how many more frames or rows were read. Memory does not grow with the session. Raises UsageError (no such
    session), JournalError and DataError (no whole journal), DatabaseError.
    """
    with ExitStack() as stack:
        with reporting("reading the tables"), open_tables(conn, session) as tables:
            [row] = sessions.read_sessions(conn, [session])
            directory = journal or stack.enter_context(tables.rows.journal())
            reader = whole_journal(directory, row)
            if truth is not None and row.state == "open":
                raise DataError(
                    f"session {session} has not ended: what the exchange sent is still on its way",
                    hint="stop its recorder; if that was killed, the next kflow ingest completes the session",
                )
            size = reader.size()
            loaded = sessions.read_watermark(conn, session)
            end = loaded if row.state == "open" else size
            of_tables = read_tables(tables, sample_rate=row.sample_rate, progress=progress)
            gaps = tables.rows.gaps()
            foreign = _foreign_connections(conn, session)
        recorded = Recorded(session=row, gaps=gaps, foreign=foreign)
        return compare(of_tables, reader, recorded, end=end, truth=truth, progress=progress)


def compare(
    of_tables: TableContents,
    reader: JournalReader,
    recorded: Recorded,
    *,
    end: int | None = None,
    truth: Path | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Verdict:
    """Hold rows that were read against a journal, up to a logical offset, and that against a truth log."""
    row = recorded.session
    size = reader.size()
    end = size if end is None else end
    of_journal = read_journal(reader, end=end, sample_rate=row.sample_rate, progress=progress)
    damage = [d for d in reader.damage if not (d.torn and d.end >= size)]
    differences = _differences(of_journal, of_tables)
    differences += [f"the journal is damaged from offset {d.offset} to {d.end}" for d in damage]
    verdict = None
    if truth is not None:
        verdict = compare_truth(reader, truth, recorded, digest=of_journal.whole.hexdigest())
        differences += verdict.differences
    return _verdict(row, of_journal, of_tables, tuple(recorded.gaps), differences, size - end, verdict)


def _foreign_connections(conn: Connection, session: int) -> list[int]:
    """When other sessions opened their sockets since this one began; ns since 1970."""
    rows = conn.execute(queries("replay")["foreign_connections"], {"session_id": session})
    return [value for row in rows for value in row if isinstance(value, int)]


def whole_journal(directory: Path, session: Session) -> JournalReader:
    """A session's journal. Raises DataError where it is not there, not from its beginning, or another session's."""
    if not directory.is_dir() or not segment_paths(directory):
        raise DataError(
            f"the journal of session {session.id} is not in {directory}",
            hint="if it was moved, say where with --journal; without it only the rows are left",
        )
    start = segment_paths(directory)[0][0]
    if start > 0:
        raise DataError(
            f"the beginning of the journal of session {session.id} was removed: it starts at offset {start}",
            hint="only a whole journal can be compared",
        )
    reader = JournalReader(directory)
    if reader.session != session.uuid:
        raise DataError(
            f"{directory} is the journal of {reader.session}, not of session {session.id} ({session.uuid})",
            hint="say where the right one is with --journal",
        )
    return reader


def _verdict(
    session: Session,
    of_journal: JournalContents,
    of_tables: TableContents,
    gaps: tuple[GapRow, ...],
    differences: list[str],
    unloaded_bytes: int,
    truth: TruthVerdict | None,
) -> Verdict:
    sampled = session.sample_rate != 1
    return Verdict(
        session=session.id,
        messages=of_journal.frames,
        gaps=len(gaps),
        gap_kinds=dict(Counter(gap.kind for gap in gaps)),
        downtime=tuple(
            Downtime(gap.kind, gap.recv_ns, gap.ended_ns, gap.detail) for gap in gaps if gap.kind in _ABSENT
        ),
        crossed=None if sampled else of_tables.crossed,
        digest_journal=of_journal.books.hexdigest(),
        digest_tables=of_tables.books.hexdigest(),
        equal=not differences,
        differences=tuple(differences),
        journal=dict(of_journal.counts),
        tables=dict(of_tables.counts),
        duplicates=_duplicates(of_journal, of_tables),
        wrong_sizes=of_tables.wrong_sizes,
        sample_rate=session.sample_rate,
        sampled=sampled,
        state=session.state,
        unloaded_bytes=unloaded_bytes,
        truth=truth,
    )


def _duplicates(of_journal: Contents, of_tables: Contents) -> int:
    """Rows that repeat another's key. Each frame is one row: of the kinds without seq, those there are too many of."""
    repeats = max(0, of_tables.books.repeats - of_journal.books.repeats)
    others = ("trades", "tickers", "frames", "gaps", "connections")
    return repeats + sum(max(0, of_tables.counts[kind] - of_journal.counts[kind]) for kind in others)


def _differences(of_journal: JournalContents, of_tables: TableContents) -> list[str]:
    found = [
        f"the journal has {of_journal.counts[kind]:,} {kind}, the tables have {of_tables.counts[kind]:,}"
        for kind in sorted(of_journal.counts | of_tables.counts)
        if of_journal.counts[kind] != of_tables.counts[kind]
    ]
    journal, tables = of_journal.books.streams(), of_tables.books.streams()
    for rank, sid in sorted(journal.keys() | tables.keys()):
        if journal.get((rank, sid)) != tables.get((rank, sid)):
            found.append(f"the books of connection {rank}, subscription {sid} differ")
    journal_sums, table_sums = of_journal.sums(), of_tables.sums()
    both = sorted(journal_sums.keys() & table_sums.keys())
    found += [f"the {kind} differ" for kind in both if journal_sums[kind] != table_sums[kind]]
    if of_journal.arrivals != of_tables.arrivals:
        found.append("the receive times of the deltas differ")
    if of_tables.wrong_sizes > of_journal.books.wrong_sizes:
        found.append(f"{of_tables.wrong_sizes:,} rows have a size that does not follow from the rows before them")
    return found
