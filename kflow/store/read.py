"""Rows of a session, streamed in order and with bounded memory: arrays for the deltas, tuples for the rest."""

from __future__ import annotations

import select
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from psycopg import sql
from psycopg.rows import args_row

from kflow.errors import DatabaseError
from kflow.store.copy import HEADER, TRAILER
from kflow.store.postgres import Connection, reporting
from kflow.store.sqlfiles import queries

_Row = TypeVar("_Row")

UNKNOWN: Final = -(2**63)  # in venue_us and size_e2 of a delta array: the column is null
BATCH_ROWS: Final = 65_536

# One row of a delta array. Units as in rl_orderbook_deltas; side 0 YES, 1 NO.
DELTA: Final = np.dtype(
    [
        ("recv_ns", "i8"),
        ("venue_us", "i8"),
        ("seq", "i8"),
        ("delta_e2", "i8"),
        ("size_e2", "i8"),
        ("connection", "i4"),
        ("sid", "i4"),
        ("market_id", "i4"),
        ("price_e4", "i2"),
        ("side", "i2"),
        ("flags", "i2"),
    ]
)
_NAMES: Final = DELTA.names or ()
# The same row as the server sends it: a count of fields, then each field behind its length, the highest byte first.
_WIRE: Final = np.dtype(
    [
        ("fields", ">i2"),
        *(
            (part, kind)
            for name in _NAMES
            for part, kind in ((f"{name}_length", ">i4"), (name, DELTA[name].str.replace("<", ">")))
        ),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Which rows of a session: of these markets, received from start_ns up to but without end_ns; None: all."""

    market_ids: Sequence[int] | None = None
    start_ns: int | None = None
    end_ns: int | None = None


WHOLE: Final = Slice()


class SnapshotRow(NamedTuple):
    """A row of rl_orderbook_snapshots. Levels ascend by price: price_e4 beside size_e2."""

    recv_ns: int
    venue_ms: int | None
    seq: int
    session_id: int
    connection: int
    sid: int
    market_id: int
    flags: int
    reason: str
    yes_prices: list[int]
    yes_sizes: list[int]
    no_prices: list[int]
    no_sizes: list[int]


class TradeRow(NamedTuple):
    """A row of rl_trades."""

    recv_ns: int
    venue_ms: int | None
    seq: int | None
    size_e2: int
    session_id: int
    connection: int
    sid: int
    market_id: int
    price_e4: int
    taker: int | None
    is_block: bool | None
    trade_id: str | None


class TickerRow(NamedTuple):
    """A row of rl_tickers."""

    recv_ns: int
    venue_ms: int | None
    seq: int | None
    yes_bid_size_e2: int | None
    yes_ask_size_e2: int | None
    volume_e2: int | None
    open_interest_e2: int | None
    session_id: int
    connection: int
    sid: int
    market_id: int
    last_e4: int | None
    yes_bid_e4: int | None
    yes_ask_e4: int | None


class FrameRow(NamedTuple):
    """A row of rl_frames."""

    recv_ns: int
    seq: int | None
    session_id: int
    connection: int
    sid: int | None
    kind: str
    market: str | None
    raw: bytes


def read_deltas(conn: Connection, session_id: int, which: Slice = WHOLE) -> Iterator[NDArray[np.void]]:
    """Deltas in order of (connection, sid, seq), as arrays of dtype DELTA, at most a few more than BATCH_ROWS each.

    Nulls are UNKNOWN. The connection is in a transaction until the iterator ends or is closed. Raises DatabaseError.
    """
    for rows in copied(conn, _bound("deltas", session_id, which)):
        yield _native(np.frombuffer(rows, _WIRE))


def _native(wire: NDArray[np.void]) -> NDArray[np.void]:
    rows = np.empty(len(wire), DELTA)
    for name in _NAMES:
        rows[name] = wire[name]
    return rows


def read_snapshots(conn: Connection, session_id: int, which: Slice = WHOLE) -> Iterator[SnapshotRow]:
    """Whole books in order of (connection, sid, seq). In a transaction until the iterator ends or is closed."""
    return _rows(conn, SnapshotRow, "snapshots", session_id, which)


def read_trades(conn: Connection, session_id: int, which: Slice = WHOLE) -> Iterator[TradeRow]:
    """Trades per connection in the order of receipt. In a transaction until the iterator ends or is closed."""
    return _rows(conn, TradeRow, "trades", session_id, which)


def read_tickers(conn: Connection, session_id: int, which: Slice = WHOLE) -> Iterator[TickerRow]:
    """Tops of book per connection in the order of receipt. In a transaction until the iterator ends or is closed."""
    return _rows(conn, TickerRow, "tickers", session_id, which)


def read_frames(conn: Connection, session_id: int, which: Slice = WHOLE) -> Iterator[FrameRow]:
    """All other frames per connection in the order of receipt; none where `which` names markets."""
    return _rows(conn, FrameRow, "frames", session_id, which)


def _bound(name: str, session_id: int, which: Slice) -> sql.Composed:
    """A query with its values written in: COPY and DECLARE take no parameters."""
    values = {
        "session_id": sql.Literal(session_id),
        "market_ids": sql.Literal(None if which.market_ids is None else list(which.market_ids)),
        "start_ns": sql.Literal(which.start_ns),
        "end_ns": sql.Literal(which.end_ns),
    }
    pieces = queries("rows")[name].rstrip(";").split("%(")
    parts: list[sql.Composable] = [sql.SQL(pieces[0])]
    for piece in pieces[1:]:
        word, _, text = piece.partition(")s")
        parts += [values[word], sql.SQL(text)]
    return sql.Composed(parts)


def _rows(conn: Connection, make: Callable[..., _Row], name: str, session_id: int, which: Slice) -> Iterator[_Row]:
    with conn.transaction():
        conn.execute(queries("rows")["sort_in_memory"])
        with conn.cursor(f"kflow_{name}", row_factory=args_row(make)) as cursor:
            cursor.itersize = 5000
            yield from cursor.execute(_bound(name, session_id, which), binary=True)


def copied(conn: Connection, statement: sql.Composed) -> Iterator[bytes]:
    """The rows that a COPY TO sends, BATCH_ROWS at a time. A message of the server is always one whole row.

    Takes them straight from libpq's buffer: three times as fast as psycopg's iterator, which waits for each.
    """
    with conn.transaction():
        conn.execute(queries("rows")["sort_in_memory"])
        with reporting("reading rows"), conn.cursor() as cursor, cursor.copy(statement) as copy:
            first = bytes(copy.read())
            rows = [first[len(HEADER) :]]
            while rows[-1] != TRAILER:
                if len(rows) >= BATCH_ROWS:
                    yield b"".join(rows)
                    rows = []
                rows.append(_next_row(conn.pgconn))
            if len(rows) > 1:
                yield b"".join(rows[:-1])
            copy.read()  # the end of the COPY


def _next_row(connection: Any) -> bytes:
    """The next message of a COPY TO; `connection` is a psycopg.pq.PGconn, whose stub differs from its types."""
    while True:
        size, row = connection.get_copy_data(1)
        if size > 0:
            return bytes(row)
        if size < 0:
            raise DatabaseError(f"reading rows failed: {_said(connection)}")
        select.select([connection.socket], [], [])
        connection.consume_input()


def _said(connection: Any) -> str:
    """What the server said instead of the next row; leaves nothing unread, so that the connection can go on."""
    said = ""
    while (result := connection.get_result()) is not None:
        said = said or result.get_error_message()
    text: str = said or connection.get_error_message()
    return text.strip().split("\n", 1)[0]
