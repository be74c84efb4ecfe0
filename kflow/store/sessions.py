"""Sessions, their connections, markets, gaps and watermarks: plain functions over a connection.

They take part in the caller's transaction and never commit it; on an autocommit connection each is one of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from decimal import Decimal
from typing import Final, Literal, LiteralString
from uuid import UUID

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from kflow.errors import DataError, UsageError
from kflow.store.sqlfiles import queries

Connection = psycopg.Connection[tuple[object, ...]]

DAY_NS: Final = 86_400_000_000_000  # partitions are UTC days; a new one starts at each multiple


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSession:
    """What is known when `kflow ingest` starts. `selection` is what was asked for, as JSON."""

    uuid: UUID
    started_ns: int
    environment: str
    use_yes_price: bool
    sample_rate: int
    kflow_version: str
    host: str
    journal_dir: str
    selection: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A row of rl_sessions."""

    id: int
    uuid: UUID
    started_ns: int
    ended_ns: int | None
    environment: str
    use_yes_price: bool
    sample_rate: int
    kflow_version: str
    host: str
    journal_dir: str
    selection: Mapping[str, object]
    state: Literal["open", "closed", "recovered"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """What is known of a market at updated_ns; None is unknown. `info` is the venue's own JSON."""

    ticker: str
    updated_ns: int
    market_id: UUID | None = None
    event_ticker: str | None = None
    series_ticker: str | None = None
    price_ranges: Sequence[Mapping[str, str]] | None = None
    fee_type: str | None = None
    fee_multiplier: Decimal | None = None
    status: str | None = None
    open_time: datetime | None = None
    close_time: datetime | None = None
    result: str | None = None
    settlement_value_e4: int | None = None
    exchange_index: int | None = None
    info: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredMarket(Market):
    """A row of rl_markets."""

    id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a session's rows say. Times are None where it has no rows."""

    session: Session
    markets: int
    connections: int
    deltas: int
    snapshots: int
    trades: int
    tickers: int
    frames: int
    gaps: int
    first_ns: int | None
    last_ns: int | None
    lost_ns: int

    @property
    def coverage(self) -> float | None:
        """Share of the time from first to last row in which a market's book could be trusted, mean over markets."""
        if self.first_ns is None or self.last_ns is None or self.first_ns == self.last_ns:
            return None
        return 1 - self.lost_ns / (self.last_ns - self.first_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class GapRow:
    """A row of rl_gaps. `ended_ns` is None while the books concerned are not live again."""

    recv_ns: int
    expected: int | None
    received: int | None
    ended_ns: int | None
    connection: int
    sid: int | None
    market_id: int | None
    kind: str
    detail: str


def _query(name: str) -> LiteralString:
    return queries("sessions")[name]


def _number(value: object) -> int:
    assert isinstance(value, int)
    return value


def create_session(conn: Connection, new: NewSession, *, shards: int = 1) -> int:
    """Store a session under the next number, its watermarks at 0; the known number where its uuid is known already."""
    values = {field.name: getattr(new, field.name) for field in fields(new)} | {"selection": Jsonb(new.selection)}
    with conn.transaction():
        conn.execute(_query("lock_numbers"))
        row = conn.execute(_query("create"), values).fetchone()
        if row is None:
            known = find_session(conn, new.uuid)
            assert known is not None
            return known.id
        session_id = _number(row[0])
        for shard in range(shards):
            conn.execute(_query("start_watermark"), {"session_id": session_id, "shard": shard})
    return session_id


def find_session(conn: Connection, uuid: UUID) -> Session | None:
    with conn.cursor(row_factory=class_row(Session)) as cursor:
        return cursor.execute(_query("find"), {"uuid": uuid}).fetchone()


def read_sessions(conn: Connection, ids: Iterable[int] | None = None) -> tuple[Session, ...]:
    """Sessions in order of their number. Raises UsageError naming every wanted one that does not exist."""
    wanted = None if ids is None else sorted(set(ids))
    possible = None if wanted is None else [number for number in wanted if 0 < number < 2**31]
    with conn.cursor(row_factory=class_row(Session)) as cursor:
        found = tuple(cursor.execute(_query("read"), {"ids": possible}))
    missing = set(wanted or ()) - {session.id for session in found}
    if missing:
        raise UsageError(
            f"no session has the number {', '.join(map(str, sorted(missing)))}",
            hint="kflow sessions ls shows those there are",
        )
    return found


def close_session(
    conn: Connection, session_id: int, ended_ns: int, state: Literal["closed", "recovered"] = "closed"
) -> None:
    """The session has ended. The first end stands: closing once more changes nothing."""
    conn.execute(_query("close"), {"id": session_id, "ended_ns": ended_ns, "state": state})


def open_connection(conn: Connection, session_id: int, connection: int, opened_ns: int, url: str) -> None:
    """A socket was connected; storing it once more changes nothing."""
    values = {"session_id": session_id, "connection": connection, "opened_ns": opened_ns, "url": url}
    conn.execute(_query("open_connection"), values)


def close_connection(conn: Connection, session_id: int, connection: int, closed_ns: int, reason: str) -> None:
    """A socket was closed. The first reason stands."""
    values = {"session_id": session_id, "connection": connection, "closed_ns": closed_ns, "reason": reason}
    conn.execute(_query("close_connection"), values)


def upsert_market(conn: Connection, market: Market) -> int:
    """Store what is known of a market; its id. None never erases, older knowledge never replaces newer."""
    return upsert_markets(conn, [market])[market.ticker]


def upsert_markets(conn: Connection, markets: Iterable[Market]) -> dict[str, int]:
    """The same for many in one round trip: ticker -> id. In order of ticker, so that two recorders cannot deadlock."""
    ordered = sorted(markets, key=lambda market: market.ticker)
    rows = [_market_values(market) for market in ordered]
    if not rows:
        return {}
    ids: dict[str, int] = {}
    with conn.cursor() as cursor:
        cursor.executemany(_query("upsert_market"), rows, returning=True)
        for market, result in zip(ordered, cursor.results(), strict=True):
            row = result.fetchone()
            assert row is not None
            ids[market.ticker] = _number(row[0])
    return ids


def _market_values(market: Market) -> dict[str, object]:
    values = asdict(market)
    for name in ("price_ranges", "info"):
        values[name] = None if values[name] is None else Jsonb(values[name])
    return values


def link_markets(conn: Connection, session_id: int, market_ids: Iterable[int]) -> None:
    """The session records these markets; linking once more changes nothing."""
    conn.execute(_query("link_markets"), {"session_id": session_id, "market_ids": sorted(set(market_ids))})


def read_markets(conn: Connection, session_ids: Iterable[int] | None = None) -> tuple[StoredMarket, ...]:
    """The markets of some sessions, or of all, by id."""
    wanted = None if session_ids is None else sorted(set(session_ids))
    with conn.cursor(row_factory=class_row(StoredMarket)) as cursor:
        return tuple(cursor.execute(_query("markets"), {"session_ids": wanted}))


def read_watermark(conn: Connection, session_id: int, shard: int = 0, *, lock: bool = False) -> int:
    """Journal offset up to which rows are stored. With `lock` nobody else moves it before this transaction ends.

    Raises DataError for a session or shard that was never created.
    """
    name = "lock_watermark" if lock else "read_watermark"
    row = conn.execute(_query(name), {"session_id": session_id, "shard": shard}).fetchone()
    if row is None:
        raise DataError(f"session {session_id} has no watermark for shard {shard}")
    return _number(row[0])


def move_watermark(conn: Connection, session_id: int, start: int, end: int, shard: int = 0) -> None:
    """The rows of journal records from `start` to `end` are in this transaction.

    Raises DataError where the watermark is not at `start`: those rows were stored before, or others are missing.
    """
    values = {"session_id": session_id, "shard": shard, "start": start, "end": end}
    if conn.execute(_query("move_watermark"), values).fetchone() is None:
        raise DataError(f"session {session_id} shard {shard}: the watermark is not at {start}; nothing was stored")


def list_sessions(conn: Connection, ids: Iterable[int] | None = None) -> tuple[Summary, ...]:
    """Counts, gaps and coverage of sessions, read from their rows. Raises UsageError for one that does not exist."""
    sessions = {session.id: session for session in read_sessions(conn, ids)}
    cursor = conn.execute(_query("summaries"), {"ids": None if ids is None else sorted(sessions)})
    assert cursor.description is not None
    names = [column.name for column in cursor.description]
    rows = [dict(zip(names, map(_optional_number, row), strict=True)) for row in cursor]
    return tuple([_summary(sessions, row) for row in rows])


def _optional_number(value: object) -> int | None:
    return None if value is None else _number(value)


def _summary(sessions: Mapping[int, Session], row: dict[str, int | None]) -> Summary:
    session_id = row.pop("id")
    assert session_id is not None
    times = {name: row.pop(name) for name in ("first_ns", "last_ns")}
    counts = {name: count for name, count in row.items() if count is not None}
    return Summary(session=sessions[session_id], **times, **counts)  # type: ignore[arg-type]  # names are the query's


def read_gaps(conn: Connection, session_id: int) -> tuple[GapRow, ...]:
    """The gaps of a session in the order they were found, per connection."""
    with conn.cursor(row_factory=class_row(GapRow)) as cursor:
        return tuple(cursor.execute(_query("gaps"), {"session_id": session_id}))


def end_gaps(
    conn: Connection, session_id: int, connection: int, sid: int, ended_ns: int, market_id: int | None = None
) -> None:
    """Books are live again: open gaps of the subscription (or of its one market) end at `ended_ns`."""
    values = {"session_id": session_id, "connection": connection, "sid": sid, "ended_ns": ended_ns}
    conn.execute(_query("end_gaps"), values | {"market_id": market_id})


def end_connection_gaps(
    conn: Connection, session_id: int, connection: int, ended_ns: int, kinds: Iterable[str] | None = None
) -> None:
    """Gaps of a connection (of these kinds) that were open at `ended_ns` ended then: it did, or was subscribed anew."""
    values = {"session_id": session_id, "connection": connection, "ended_ns": ended_ns}
    conn.execute(_query("end_connection_gaps"), values | {"kinds": None if kinds is None else list(kinds)})


def ensure_day(conn: Connection, recv_ns: int) -> None:
    """Make the partitions of the UTC day of `recv_ns`. Call it before a day's first row, outside its transaction."""
    conn.execute(_query("ensure_day"), {"ns": recv_ns})
