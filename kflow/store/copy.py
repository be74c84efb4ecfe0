"""Rows in PostgreSQL's binary COPY format: the fastest way in, and one that refuses numbers that do not fit.

psycopg's own COPY wraps a number that is too large for its column; struct refuses it. A table packs its rows to bytes
anywhere, and sends them later, so that a retry after a lost connection packs nothing twice:

    packed = DELTAS.pack_rows(rows)             # or b"".join([TRADES.pack(...), TRADES.pack(...)])
    with conn.transaction():
        DELTAS.write(cursor, packed)
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from itertools import starmap
from typing import Any, Final

import numpy as np
import psycopg
from psycopg import sql

from kflow.errors import Unrepresentable

Encode = Callable[[Any], bytes]
Cursor = psycopg.Cursor[Any]

HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)  # signature, no flags, no extension
TRAILER: Final = b"\xff\xff"
_NULL: Final = b"\xff\xff\xff\xff"  # a length of -1
_LENGTH: Final = struct.Struct(">i")
_ARRAY: Final = struct.Struct(">iiiiii")  # length, dimensions, has nulls, element type, size, first index
_EMPTY_ARRAY: Final = struct.Struct(">iiii")
# What can go wrong when a value meets its column.
_REFUSALS: Final = (struct.error, TypeError, OverflowError, UnicodeEncodeError, ValueError)


def _integer(width: int, code: str) -> Encode:
    pack = struct.Struct(f">i{code}").pack
    return lambda value: pack(width, value)


def _boolean(value: object) -> bytes:
    if value is not True and value is not False:
        raise TypeError
    return b"\0\0\0\1\1" if value else b"\0\0\0\1\0"


def _bytea(value: bytes) -> bytes:
    return _LENGTH.pack(len(value)) + value


def _text(value: str) -> bytes:
    raw = str.encode(value)
    if b"\0" in raw:
        raise ValueError
    return _LENGTH.pack(len(raw)) + raw


def _array(width: int, code: str, element_oid: int) -> Encode:
    layout = np.dtype([("length", ">i4"), ("value", f">i{width}")])

    def encode(values: Sequence[int]) -> bytes:
        if not values:
            return _EMPTY_ARRAY.pack(12, 0, 0, element_oid)
        checked = struct.pack(f">{len(values)}{code}", *values)  # refuses what does not fit; numpy would wrap or round
        elements = np.empty(len(values), layout)
        elements["length"] = width
        elements["value"] = np.frombuffer(checked, f">i{width}")
        return _ARRAY.pack(20 + elements.nbytes, 1, 0, element_oid, len(values), 1) + elements.tobytes()

    return encode


_ENCODERS: Final[dict[str, Encode]] = {
    "smallint": _integer(2, "h"),
    "integer": _integer(4, "i"),
    "bigint": _integer(8, "q"),
    "boolean": _boolean,
    "text": _text,
    "bytea": _bytea,
    "smallint[]": _array(2, "h", 21),
    "bigint[]": _array(8, "q", 20),
}


def _nullable(encode: Encode) -> Encode:
    return lambda value: _NULL if value is None else encode(value)


class BinaryTable:
    """How rows of one table are packed and sent. Columns are (name, type), in the order `pack` takes their values;
    a type that ends in `?` takes None.
    """

    def __init__(self, table: str, columns: Sequence[tuple[str, str]]) -> None:
        self.table = table
        self.columns: Final = tuple(name for name, _ in columns)
        self.types: Final = tuple(kind for _, kind in columns)
        encoders = [_ENCODERS[kind.removesuffix("?")] for kind in self.types]
        self._encoders: Final = tuple(
            _nullable(encode) if kind.endswith("?") else encode
            for encode, kind in zip(encoders, self.types, strict=True)
        )
        self._start: Final = struct.pack(">h", len(columns))
        self.statement: Final = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(
            sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, self.columns))
        )

    def of_session(self, session_id: int) -> sql.Composed:
        """The statement that sends a session's rows, as `statement` takes them."""
        return sql.SQL("COPY (SELECT {} FROM {} WHERE session_id = {}) TO STDOUT (FORMAT BINARY)").format(
            sql.SQL(", ").join(map(sql.Identifier, self.columns)), sql.Identifier(self.table), sql.Literal(session_id)
        )

    def pack(self, *values: object) -> bytes:
        """One row, its values in the order of `columns`. Raises Unrepresentable for a value its column cannot hold."""
        try:
            fields = [encode(value) for encode, value in zip(self._encoders, values, strict=True)]
        except _REFUSALS:
            raise self._refusal(values) from None
        return self._start + b"".join(fields)

    def pack_rows(self, rows: Iterable[Sequence[object]]) -> bytes:
        """Many rows. Raises Unrepresentable for the first value that its column cannot hold."""
        return b"".join(starmap(self.pack, rows))

    def write(self, cursor: Cursor, packed: bytes) -> None:
        """Send rows in the cursor's transaction. Raises psycopg.Error, after which the transaction is void."""
        if not packed:
            return
        with cursor.copy(self.statement) as copy:
            copy.write(b"".join((HEADER, packed, TRAILER)))

    def _refusal(self, values: Sequence[object]) -> Unrepresentable:
        """What to say of a row that does not pack: its first column that refuses."""
        if len(values) != len(self.columns):
            return Unrepresentable(f"row of {self.table}, which has {len(self.columns)} columns", len(values))
        for name, kind, encode, value in zip(self.columns, self.types, self._encoders, values, strict=True):
            try:
                encode(value)
            except _REFUSALS:
                shown = value if len(repr(value)) <= 100 else f"{repr(value)[:100]}…"
                return Unrepresentable(f"{kind.removesuffix('?')} for {self.table}.{name}", shown)
        raise AssertionError("every value packs by itself")


class _DeltaTable(BinaryTable):
    """The hot table. Same bytes as its base makes, by one precompiled struct per pattern of nulls."""

    def __init__(self) -> None:
        super().__init__(
            "rl_orderbook_deltas",
            [
                ("recv_ns", "bigint"),
                ("venue_us", "bigint?"),
                ("seq", "bigint"),
                ("delta_e2", "bigint"),
                ("size_e2", "bigint?"),
                ("session_id", "integer"),
                ("connection", "integer"),
                ("sid", "integer"),
                ("market_id", "integer"),
                ("price_e4", "smallint"),
                ("side", "smallint"),
                ("flags", "smallint"),
            ],
        )
        # Values only; the bytes between them (number of fields, lengths) are the same in every row of no nulls.
        self._values: Final = struct.Struct(">6xq4xq4xq4xq4xq4xi4xi4xi4xi4xh4xh4xh")
        blank = self._values.pack(*[0] * 12)
        full = super().pack(*[0] * 12)
        assert len(blank) == len(full)
        self._between: Final = np.frombuffer(full, np.uint8)

    def pack_rows(self, rows: Iterable[Sequence[object]]) -> bytes:
        """Many rows, half the cost of packing each. Rows without None are the fast case."""
        known = rows if isinstance(rows, list | tuple) else list(rows)
        try:
            packed = b"".join(starmap(self._values.pack, known))
        except struct.error:
            return b"".join(starmap(pack_delta, known))  # a None somewhere, or a value to refuse
        grid = np.frombuffer(packed, np.uint8).reshape(-1, self._values.size)
        return (grid | self._between).tobytes()


DELTAS: Final = _DeltaTable()

SNAPSHOTS: Final = BinaryTable(
    "rl_orderbook_snapshots",
    [
        ("recv_ns", "bigint"),
        ("venue_ms", "bigint?"),
        ("seq", "bigint"),
        ("session_id", "integer"),
        ("connection", "integer"),
        ("sid", "integer"),
        ("market_id", "integer"),
        ("flags", "smallint"),
        ("reason", "text"),
        ("yes_prices", "smallint[]"),
        ("yes_sizes", "bigint[]"),
        ("no_prices", "smallint[]"),
        ("no_sizes", "bigint[]"),
    ],
)

TRADES: Final = BinaryTable(
    "rl_trades",
    [
        ("recv_ns", "bigint"),
        ("venue_ms", "bigint?"),
        ("seq", "bigint?"),
        ("size_e2", "bigint"),
        ("session_id", "integer"),
        ("connection", "integer"),
        ("sid", "integer"),
        ("market_id", "integer"),
        ("price_e4", "smallint"),
        ("taker", "smallint?"),
        ("is_block", "boolean?"),
        ("trade_id", "text?"),
    ],
)

TICKERS: Final = BinaryTable(
    "rl_tickers",
    [
        ("recv_ns", "bigint"),
        ("venue_ms", "bigint?"),
        ("seq", "bigint?"),
        ("yes_bid_size_e2", "bigint?"),
        ("yes_ask_size_e2", "bigint?"),
        ("volume_e2", "bigint?"),
        ("open_interest_e2", "bigint?"),
        ("session_id", "integer"),
        ("connection", "integer"),
        ("sid", "integer"),
        ("market_id", "integer"),
        ("last_e4", "smallint?"),
        ("yes_bid_e4", "smallint?"),
        ("yes_ask_e4", "smallint?"),
    ],
)

FRAMES: Final = BinaryTable(
    "rl_frames",
    [
        ("recv_ns", "bigint"),
        ("seq", "bigint?"),
        ("session_id", "integer"),
        ("connection", "integer"),
        ("sid", "integer?"),
        ("kind", "text"),
        ("market", "text?"),
        ("raw", "bytea"),
    ],
)

GAPS: Final = BinaryTable(
    "rl_gaps",
    [
        ("recv_ns", "bigint"),
        ("expected", "bigint?"),
        ("received", "bigint?"),
        ("ended_ns", "bigint?"),
        ("session_id", "integer"),
        ("connection", "integer"),
        ("sid", "integer?"),
        ("market_id", "integer?"),
        ("kind", "text"),
        ("detail", "text"),
    ],
)

TABLES: Final = (DELTAS, SNAPSHOTS, TRADES, TICKERS, FRAMES, GAPS)

_FULL: Final = struct.Struct(">hiqiqiqiqiqiiiiiiiiihihih").pack
_NO_SIZE: Final = struct.Struct(">hiqiqiqiqiiiiiiiiiihihih").pack
_NO_VENUE_TIME: Final = struct.Struct(">hiqiiqiqiqiiiiiiiiihihih").pack
_NEITHER: Final = struct.Struct(">hiqiiqiqiiiiiiiiiihihih").pack


def pack_delta(
    recv_ns: int,
    venue_us: int | None,
    seq: int,
    change: int,
    size: int | None,
    session_id: int,
    connection: int,
    sid: int,
    market_id: int,
    price: int,
    side: int,
    flags: int,
) -> bytes:
    """One row of rl_orderbook_deltas. For many at once `DELTAS.pack_rows` is twice as fast.

    Raises Unrepresentable for a value its column cannot hold.
    """
    # fmt: off
    try:
        if size is not None and venue_us is not None:
            return _FULL(12, 8, recv_ns, 8, venue_us, 8, seq, 8, change, 8, size, 4, session_id, 4, connection,
                         4, sid, 4, market_id, 2, price, 2, side, 2, flags)
        tail = (4, session_id, 4, connection, 4, sid, 4, market_id, 2, price, 2, side, 2, flags)
        if size is not None:
            return _NO_VENUE_TIME(12, 8, recv_ns, -1, 8, seq, 8, change, 8, size, *tail)
        if venue_us is not None:
            return _NO_SIZE(12, 8, recv_ns, 8, venue_us, 8, seq, 8, change, -1, *tail)
        return _NEITHER(12, 8, recv_ns, -1, 8, seq, 8, change, -1, *tail)
    except struct.error:
        return DELTAS.pack(recv_ns, venue_us, seq, change, size, session_id, connection, sid, market_id, price, side,
                           flags)
    # fmt: on
