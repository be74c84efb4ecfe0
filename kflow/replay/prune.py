"""Sessions removed from the database and from the disk, once a copy of them was found whole.

A removal is written down before it begins and after it ended. In between the session counts as removed: whoever is
killed leaves one that the next prune ends, whatever that was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from kflow.errors import DataError, UsageError
from kflow.replay import kept
from kflow.store import filing, ledger, removal, sessions
from kflow.store.journal import segment_paths
from kflow.store.ledger import Standing, Step
from kflow.store.postgres import Connection, reporting
from kflow.store.removal import Removed
from kflow.store.sessions import Session, Summary
from kflow.store.sqlfiles import queries

Progress = Callable[[int], None]
_QUIET: Final[Progress] = lambda _: None  # noqa: E731 - a name for "nobody looks"
# What else lies in a journal; the card, which says whose it is, goes last.
_IN_JOURNALS: Final = (f".{kept.CARD}", "lock", kept.CARD)


@dataclass(slots=True)
class Candidate:
    """A session that was asked for, and whether it may go: where `keep` is empty."""

    session: Session
    standing: Standing
    rows: int
    first_ns: int | None
    last_ns: int | None
    journal: Path | None  # where it is on this machine
    journal_bytes: int
    summary: dict[str, Any]
    copy: Step | None = None
    # Why it has to stay.
    keep: list[str] = field(default_factory=list)

    @property
    def half_removed(self) -> bool:
        return self.standing.half_removed


@dataclass(frozen=True, slots=True)
class Plan:
    """What a prune would do. `days`: those that go whole, and what they take; `now_ns` as the plan was made."""

    going: tuple[Candidate, ...]
    staying: tuple[Candidate, ...]
    days: int
    freed_bytes: int
    now_ns: int


@dataclass(slots=True)
class Pruned:
    """What was removed."""

    sessions: list[int]
    rows: int
    journal_bytes: int
    removed: Removed


def ended_before(conn: Connection, before_ns: int) -> list[int]:
    """Numbers of the sessions that had ended by then, and whose rows are here."""
    away = {number for number, standing in ledger.standings(conn).items() if standing.removed}
    return [
        session.id
        for session in sessions.read_sessions(conn)
        if session.ended_ns is not None and session.ended_ns < before_ns and session.id not in away
    ]


def plan(
    conn: Connection,
    numbers: Iterable[int],
    *,
    now_ns: int,
    without_copy: bool = False,
    read_copies: bool = True,
    progress: Progress = _QUIET,
) -> Plan:
    """What may go of these sessions, their copies checked byte by byte; and what an earlier prune did not end.

    `progress` hears of bytes checked. Without `read_copies` the ledger is believed: for a look only. Raises UsageError
    for a session that does not exist, DatabaseError.
    """
    with reporting("looking at what may go"):
        standings = ledger.standings(conn)
        half = {number for number, standing in standings.items() if standing.half_removed}
        gone = {number for number, standing in standings.items() if standing.removed} - half
        everything = sessions.list_sessions(conn)
        known = {summary.session.id: summary for summary in everything}
        sessions.read_sessions(conn, numbers := set(numbers))  # complains of those that do not exist
        needs = _needs(conn)
        going: list[Candidate] = []
        staying: list[Candidate] = []
        for number in sorted((numbers | half) - gone):
            one = _candidate(known[number], standings.get(number, Standing(number)))
            if one.half_removed:
                if read_copies:
                    _judge_half(one, without_copy, progress)
            else:
                _judge(one, needs.get(number, []), without_copy, progress if read_copies else None)
            (staying if one.keep else going).append(one)
        days, freed = _whole_days(conn, everything, {one.session.id for one in going}, now_ns)
    return Plan(tuple(going), tuple(staying), days, freed, now_ns)


def _candidate(summary: Summary, standing: Standing) -> Candidate:
    session = summary.session
    journal = Path(session.journal_dir)
    there = journal.is_dir() and not journal.is_symlink() and kept.owner_of(journal) == session.uuid
    told = {name: value for name, value in asdict(summary).items() if name != "session"}
    if standing.half_removed and standing.removal is not None:
        told = dict(standing.removal.facts["summary"])
    return Candidate(
        session=session,
        standing=standing,
        rows=sum(told[name] for name in ("deltas", "snapshots", "trades", "tickers", "frames")),
        first_ns=told["first_ns"],
        last_ns=told["last_ns"],
        journal=journal if there else None,
        journal_bytes=_bytes_in(journal) if there else 0,
        summary=told,
    )


def _bytes_in(journal: Path) -> int:
    return sum(path.stat().st_size for _, path in segment_paths(journal))


def _needs(conn: Connection) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for number, what in conn.execute(queries("storage")["needs"]):
        found.setdefault(int(str(number)), []).append(str(what))
    return found


def _judge_half(one: Candidate, without_copy: bool, progress: Progress) -> None:
    """A removal that was begun is ended, unless the copy that allowed it is gone since."""
    removal_step = one.standing.removal
    if removal_step is None or removal_step.folder is None or without_copy:
        return
    folder = Path(removal_step.folder)
    try:
        found, sha256 = kept.read_kept(folder)
        filing.check(folder, found.files, progress)
    except DataError as error:
        one.keep.append(f"its removal was begun, but {error}")
        return
    if sha256 != removal_step.manifest:
        one.keep.append(f"its removal was begun, but {folder} holds another copy since")


def _judge(one: Candidate, needs: Sequence[str], without_copy: bool, progress: Progress | None) -> None:
    """Find out why a session has to stay, or the copy with which it may go; without `progress` no copy is read."""
    if one.session.state == "open":
        one.keep.append("it has not ended")
        return
    one.keep += needs
    if one.keep:
        return
    wrong = []
    for copy in one.standing.copies:
        why = _wrong_with(one, copy, progress) if progress is not None else ""
        if not why:
            one.copy = copy
            return
        wrong.append(why)
    if not without_copy:
        one.keep += wrong or ["it is neither archived nor backed up"]


def _wrong_with(one: Candidate, copy: Step, progress: Progress) -> str:
    """Why a copy does not stand for the session; empty where it is whole and all of it."""
    folder = Path(copy.folder or "")
    try:
        found, sha256 = kept.read_kept(folder)
        filing.check(folder, found.files, progress)
    except DataError as error:
        return str(error)
    if sha256 != copy.manifest or found.uuid != one.session.uuid:
        return f"{folder} is not the copy that was written there"
    if any(found.counts.get(name, 0) != one.summary[name] for name in ("deltas", "snapshots", "trades", "tickers",
                                                                       "frames", "gaps")):  # fmt: skip
        return f"{folder} has other counts than the tables"
    if one.journal is not None:
        segments = {offset: path.stat().st_size for offset, path in segment_paths(one.journal)}
        if {segment.offset: segment.bytes for segment in found.journal or ()} != segments:
            return f"{folder} has not all of the journal in {one.journal}"
    return ""


def _whole_days(conn: Connection, everything: Sequence[Summary], going: set[int], now_ns: int) -> tuple[int, int]:
    """How many days have no rows of others, and what they take."""
    days = freed = 0
    spans = {one.session.id: (one.first_ns, one.last_ns) for one in everything}
    for start, tables in removal.day_tables(conn).items():
        end = tables[0].end_ns
        inside = {
            number
            for number, (first, last) in spans.items()
            if first is not None and last is not None and first < end and last >= start
        }
        if inside and inside <= going and end <= now_ns:
            days += 1
            freed += sum(table.bytes for table in tables)
    return days, freed


def prune(conn: Connection, planned: Plan, *, told: removal.Told = lambda _: None) -> Pruned:
    """Remove what is going. `told` hears of every step, in words.

    `conn` is in autocommit. Raises ConfigError (the user is not the owner), UsageError (one is needed by now,
    another ended its removal, or its journal changed), InstanceLocked, DatabaseError.
    """
    going = planned.going
    with reporting("the prune"), ledger.alone(conn):
        ledger.require_owner(conn, "prune")
        _require_unchanged(conn, going)
        with conn.transaction():
            for one in going:
                if not one.half_removed:
                    _write_down(conn, one)
        told("it is written down what goes")
        spans = [(one.first_ns, one.last_ns) for one in going if one.first_ns is not None and one.last_ns is not None]
        numbers = [one.session.id for one in going]
        removed = removal.remove_rows(conn, numbers, spans, now_ns=planned.now_ns, told=told)
        journal_bytes = 0
        for one in going:
            journal_bytes += _remove_journal(one, told)
            facts = {"rows": one.rows, "journal_bytes": one.journal_bytes}
            ledger.take(conn, Step(session_id=one.session.id, step="pruned", facts=facts))
            told(f"session {one.session.id} is removed")
    return Pruned(numbers, sum(one.rows for one in going), journal_bytes, removed)


def _require_unchanged(conn: Connection, going: Iterable[Candidate]) -> None:
    """Between plan and answer somebody may have begun to need one, ended its removal, or written to its journal."""
    needs, standings = _needs(conn), ledger.standings(conn)
    for one in going:
        if one.half_removed and not standings[one.session.id].half_removed:
            raise UsageError(
                f"the removal of session {one.session.id} was ended by another since the plan was made",
                hint="nothing was removed; ask again",
            )
        if one.journal is not None and not one.half_removed and _bytes_in(one.journal) != one.journal_bytes:
            raise UsageError(
                f"the journal of session {one.session.id} changed since the plan was made",
                hint="nothing was removed; ask again",
            )
        if one.session.id in needs and not one.half_removed:
            raise UsageError(
                f"session {one.session.id} is needed since the plan was made: {needs[one.session.id][0]}",
                hint="nothing was removed; ask again",
            )


def _write_down(conn: Connection, one: Candidate) -> None:
    copy = one.copy
    ledger.take(conn, Step(
        session_id=one.session.id, step="pruning", folder=copy.folder if copy else None,
        manifest=copy.manifest if copy else None, digest=copy.digest if copy else None,
        facts={"summary": one.summary, "journal": str(one.journal) if one.journal else None},
    ))  # fmt: skip


def _remove_journal(one: Candidate, told: removal.Told) -> int:
    """Delete the segments, then what else a recorder left there. Nothing that is not its own is touched."""
    if one.journal is None:
        return 0
    freed = 0
    for _, path in segment_paths(one.journal):
        freed += path.stat(follow_symlinks=False).st_size
        path.unlink()
        told("a segment is removed")
    for name in _IN_JOURNALS:
        (one.journal / name).unlink(missing_ok=True)
    if not any(one.journal.iterdir()):
        one.journal.rmdir()
    return freed
