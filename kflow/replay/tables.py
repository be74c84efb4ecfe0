"""A session's rows as one consistent view of the database, book events merged into the venue's order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kflow.errors import DataError
from kflow.market.events import BookSnapshot, SnapshotReason
from kflow.replay.source import Rows, StoredRows, fixed_view
from kflow.store import ledger
from kflow.store.postgres import Connection
from kflow.store.read import WHOLE, Slice, SnapshotRow
from kflow.store.sessions import Session
from kflow.units import Price, Size


class Run(NamedTuple):
    """Deltas of one subscription with no snapshot between them."""

    connection: int
    sid: int
    rows: NDArray[np.void]  # of dtype read.DELTA


class Reset(NamedTuple):
    """Where the venue began to count a subscription anew."""

    recv_ns: int
    connection: int
    sid: int
    expected: int
    received: int


class _Tickers(dict[int, str]):
    """A number that names no market of the session stays a number: what is wrong must be seen, not crash."""

    def __missing__(self, number: int) -> str:
        return f"#{number}"


class Tables:
    """One session's tables. `tickers` names markets by their number."""

    def __init__(self, rows: Rows) -> None:
        self.rows, self.session_id = rows, rows.session_id
        self.tickers: Final = _Tickers(rows.markets())

    def numbers(self, tickers: frozenset[str]) -> list[int]:
        """Numbers of the markets that the session records, of these tickers."""
        return [number for number, ticker in self.tickers.items() if ticker in tickers]

    def resets(self) -> list[Reset]:
        found = [
            Reset(gap.recv_ns, gap.connection, gap.sid, gap.expected, gap.received)
            for gap in self.rows.gaps()
            if gap.kind == "reset" and gap.sid is not None and gap.expected is not None and gap.received is not None
        ]
        return sorted(found)

    def books(self, which: Slice = WHOLE) -> Iterator[Run | tuple[int, BookSnapshot, int]]:
        """Book events, each subscription's in the venue's order: runs of deltas, and (connection, snapshot, recv_ns).

        Sorted by seq; where the venue counted anew, by what came before that and what came after it.
        """
        start_ns = which.start_ns
        for reset in self.resets():
            yield from self._sorted(replace(which, start_ns=start_ns, end_ns=_least(reset.recv_ns, which.end_ns)))
            instant = replace(which, start_ns=reset.recv_ns, end_ns=reset.recv_ns + 1)
            yield from _reordered(reset, list(self._sorted(instant)))
            start_ns = reset.recv_ns + 1
        yield from self._sorted(replace(which, start_ns=start_ns))

    def _sorted(self, which: Slice) -> Iterator[Run | tuple[int, BookSnapshot, int]]:
        snapshots = self.rows.snapshots(which)
        following = next(snapshots, None)
        for batch in self.rows.deltas(which):
            for run in _runs(batch):
                rest = run
                while following is not None and _place(following) <= (
                    run.connection,
                    run.sid,
                    int(rest.rows["seq"][-1]),
                ):
                    before, rest = _split(rest, following)
                    if len(before.rows):
                        yield before
                    yield self._snapshot(following)
                    following = next(snapshots, None)
                    if not len(rest.rows):
                        break
                if len(rest.rows):
                    yield rest
        while following is not None:
            yield self._snapshot(following)
            following = next(snapshots, None)

    def _snapshot(self, row: SnapshotRow) -> tuple[int, BookSnapshot, int]:
        yes = tuple((Price(price), Size(size)) for price, size in zip(row.yes_prices, row.yes_sizes, strict=True))
        no = tuple((Price(price), Size(size)) for price, size in zip(row.no_prices, row.no_sizes, strict=True))
        try:
            reason = SnapshotReason(row.reason)
        except ValueError:
            raise DataError(f"session {self.session_id} holds a snapshot whose reason is {row.reason!r}") from None
        event = BookSnapshot(self.tickers[row.market_id], None, row.sid, row.seq, yes, no, reason, row.venue_ms)
        return row.connection, event, row.recv_ns


def _least(first: int, second: int | None) -> int:
    return first if second is None else min(first, second)


def _place(row: SnapshotRow) -> tuple[int, int, int]:
    return row.connection, row.sid, row.seq


def _runs(batch: NDArray[np.void]) -> Iterator[Run]:
    """The batch cut where the subscription changes."""
    connections, sids = batch["connection"], batch["sid"]
    cuts = np.flatnonzero((np.diff(connections) != 0) | (np.diff(sids) != 0)) + 1
    for rows in np.split(batch, cuts):
        if len(rows):
            yield Run(int(rows["connection"][0]), int(rows["sid"][0]), rows)


def _split(run: Run, snapshot: SnapshotRow) -> tuple[Run, Run]:
    """What of the run comes before the snapshot, and what behind it."""
    at = 0
    if (snapshot.connection, snapshot.sid) == (run.connection, run.sid):
        at = int(np.searchsorted(run.rows["seq"], snapshot.seq))
    return run._replace(rows=run.rows[:at]), run._replace(rows=run.rows[at:])


def _reordered(
    reset: Reset, items: list[Run | tuple[int, BookSnapshot, int]]
) -> list[Run | tuple[int, BookSnapshot, int]]:
    """Events of the instant of a reset: those of the old count first. What it counted to and began with tells them."""
    old: list[Run | tuple[int, BookSnapshot, int]] = []
    new: list[Run | tuple[int, BookSnapshot, int]] = []
    for item in items:
        if isinstance(item, Run):
            seqs = item.rows["seq"]
            of_new = _is_new(seqs, reset) if (item.connection, item.sid) == reset[1:3] else np.ones(len(seqs), bool)
            for part, into in ((item.rows[~of_new], old), (item.rows[of_new], new)):
                if len(part):
                    into.append(item._replace(rows=part))
        else:
            connection, event, _ = item
            mine = (connection, event.sid) == reset[1:3]
            (new if not mine or _is_new(np.array(event.seq), reset) else old).append(item)
    return old + new


def _is_new(seqs: NDArray[np.int64], reset: Reset) -> NDArray[np.bool_]:
    """Counted anew: nearer to the first of the new count than to the last of the old one."""
    return (seqs >= reset.expected) | ((seqs >= reset.received) & (seqs - reset.received < reset.expected - seqs))


@contextmanager
def open_tables(conn: Connection, session_id: int) -> Iterator[Tables]:
    """The session's tables as they are now, for as long as the block lasts, whatever is written meanwhile.

    Of a session whose rows were removed, those of its archive. `conn` must not be in a transaction. Raises
    DatabaseError, and DataError where the rows were removed and their archive is not where it was.
    """
    with fixed_view(conn) as beside:
        standing = ledger.standing(conn, session_id)
        if not standing.removed:
            yield Tables(StoredRows(conn, beside, session_id))
            return
        from kflow.replay.archived import open_rows  # needs pyarrow, which nobody else here does

        yield Tables(open_rows(standing))


@contextmanager
def open_journal(conn: Connection, session: Session) -> Iterator[Path]:
    """The directory of a session's journal: where it was recorded, else unpacked from its archive for the block.

    Raises DataError where it was removed, and its archive is not where it was.
    """
    standing = ledger.standing(conn, session.id)
    if not standing.removed:
        yield Path(session.journal_dir)
        return
    from kflow.replay.archived import open_rows

    with open_rows(standing).journal() as directory:
        yield directory
