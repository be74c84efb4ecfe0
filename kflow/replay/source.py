"""Where a session's rows are read from: the database, here; an archive, in `archived`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.pq import TransactionStatus
from psycopg.rows import args_row

from kflow.store import read, sessions
from kflow.store.postgres import Connection, reporting
from kflow.store.read import WHOLE, FrameRow, Slice, SnapshotRow, TickerRow, TradeRow
from kflow.store.sessions import GapRow
from kflow.store.sqlfiles import queries


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionRow:
    """A row of rl_connections."""

    connection: int
    opened_ns: int
    closed_ns: int | None
    reason: str | None
    url: str


class Rows(Protocol):
    """One session's rows. Streams may be read at the same time as each other, each of them once at a time.

    Order: deltas and snapshots by (connection, sid, seq); the rest per connection in the order of receipt.
    """

    session_id: int

    def markets(self) -> dict[int, str]:
        """Tickers by the number that rows name markets with."""

    def deltas(self, which: Slice = WHOLE) -> Iterator[NDArray[np.void]]:
        """Arrays of dtype read.DELTA."""

    def snapshots(self, which: Slice = WHOLE) -> Iterator[SnapshotRow]: ...

    def trades(self, which: Slice = WHOLE) -> Iterator[TradeRow]: ...

    def tickers(self, which: Slice = WHOLE) -> Iterator[TickerRow]: ...

    def frames(self) -> Iterator[FrameRow]: ...

    def gaps(self) -> tuple[GapRow, ...]: ...

    def connections(self) -> tuple[ConnectionRow, ...]: ...

    def journal(self) -> AbstractContextManager[Path]:
        """The directory of the session's journal, there while the block runs."""


# Another connection that sees the same as the first, one for each stream of rows: it can send one at a time.
Beside = Callable[[str], Connection]


class StoredRows:
    """Those of the database, as one transaction sees them."""

    def __init__(self, conn: Connection, beside: Beside, session_id: int) -> None:
        self.conn: Final = conn
        self.session_id = session_id
        self._beside = beside

    def markets(self) -> dict[int, str]:
        return {market.id: market.ticker for market in sessions.read_markets(self.conn, [self.session_id])}

    def deltas(self, which: Slice = WHOLE) -> Iterator[NDArray[np.void]]:
        return read.read_deltas(self.conn, self.session_id, which)

    def snapshots(self, which: Slice = WHOLE) -> Iterator[SnapshotRow]:
        return read.read_snapshots(self._beside("snapshots"), self.session_id, which)

    def trades(self, which: Slice = WHOLE) -> Iterator[TradeRow]:
        return read.read_trades(self._beside("trades"), self.session_id, which)

    def tickers(self, which: Slice = WHOLE) -> Iterator[TickerRow]:
        return read.read_tickers(self._beside("tickers"), self.session_id, which)

    def frames(self) -> Iterator[FrameRow]:
        return read.read_frames(self.conn, self.session_id)

    def gaps(self) -> tuple[GapRow, ...]:
        return sessions.read_gaps(self.conn, self.session_id)

    def connections(self) -> tuple[ConnectionRow, ...]:
        with self.conn.cursor(row_factory=args_row(_connection_row)) as cursor:
            return tuple(cursor.execute(queries("replay")["connections"], {"session_id": self.session_id}))

    def journal(self) -> AbstractContextManager[Path]:
        [session] = sessions.read_sessions(self.conn, [self.session_id])
        return nullcontext(Path(session.journal_dir))


def _connection_row(
    connection: int, opened_ns: int, closed_ns: int | None, reason: str | None, url: str
) -> ConnectionRow:
    return ConnectionRow(connection=connection, opened_ns=opened_ns, closed_ns=closed_ns, reason=reason, url=url)


@contextmanager
def fixed_view(conn: Connection) -> Iterator[Beside]:
    """The database stays as it is now for `conn`, for as long as the block lasts, and for connections beside it.

    `conn` must not be in a transaction. Raises DatabaseError.
    """
    if conn.info.transaction_status != TransactionStatus.IDLE:
        raise ValueError("the connection is in a transaction already")
    with ExitStack() as stack:
        stack.enter_context(conn.transaction())
        conn.execute(queries("replay")["fix_view"])
        view = conn.execute(queries("replay")["export_view"]).fetchone()
        assert view is not None
        adopt = sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(view[0]))

        @cache
        def beside(_stream: str) -> Connection:
            twin = stack.enter_context(_twin(conn))
            stack.enter_context(twin.transaction())
            twin.execute(queries("replay")["fix_view"])
            twin.execute(adopt)
            return twin

        yield beside


def _twin(conn: Connection) -> AbstractContextManager[Connection]:
    parameters = {**conn.info.get_parameters(), "password": conn.info.password or None}
    with reporting("opening another connection"):
        return psycopg.connect(make_conninfo(**parameters), autocommit=True)  # type: ignore[arg-type]
