"""The judge of the fault tests. It shares no code with what it judges but the files' and the wire's published forms.

Lost 0 and duplicated 0 mean: every frame of every journal is in the tables exactly once, and every frame that the
exchange wrote to a socket is journalled, or the rows say that and when its connection was not heard.
"""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import google_crc32c
import psycopg

FRAME, CONNECTED = 1, 2
# Gaps in which nothing at all was received.
ABSENT = ("disconnect", "downtime", "oversized")
_HEAD = struct.Struct("<4sIIqqII")  # magic, length, crc, wall_ns, mono_ns, connection, kind

Key = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    kind: int
    connection: int
    wall_ns: int
    payload: bytes


@dataclass(slots=True)
class Judgement:
    """What was found. `sound` is the promise."""

    sessions: int = 0
    journalled: int = 0
    sent: int = 0
    # Journalled frames that are in no row; rows that no journalled frame accounts for.
    lost: int = 0
    duplicated: int = 0
    # Sent frames that were never journalled: within recorded gaps, and outside of them.
    unheard: int = 0
    unrecorded: int = 0
    # Journalled frames that the exchange did not send.
    unknown: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        return not (self.lost or self.duplicated or self.unrecorded or self.unknown)

    def figures(self) -> dict[str, int]:
        names = ("sessions", "sent", "journalled", "lost", "duplicated", "unheard", "unrecorded", "unknown")
        return {name: getattr(self, name) for name in names}


def read_log(directory: Path) -> Iterator[Entry]:
    """The sound records of a journal or truth log."""
    for path in sorted(directory.glob("*.kfj")):
        data, at = path.read_bytes(), 32
        while at + _HEAD.size <= len(data):
            magic, length, crc, wall_ns, _, connection, kind = _HEAD.unpack_from(data, at)
            end = at + _HEAD.size + length
            if magic != b"KFR1" or end > len(data) or google_crc32c.value(data[at + 12 : end]) != crc:
                at = data.find(b"KFR1", at + 1)
                if at < 0:
                    break
                continue
            yield Entry(kind, connection, wall_ns, data[at + _HEAD.size : end])
            at = end


def scaled(text: str, places: int) -> int:
    return int(Decimal(text).scaleb(places))


def key_of(connection: int, wall_ns: int, payload: bytes) -> Key | None:
    """What the row of a book, trade or ticker frame must say. None for every other frame."""
    try:
        message = json.loads(payload)
        kind, sid, body = message["type"], message["sid"], message["msg"]
        seq, start = message.get("seq"), (connection, wall_ns)
        if kind == "orderbook_delta":
            side = ("yes", "no").index(body["side"])
            price, change = scaled(body["price_dollars"], 4), scaled(body["delta_fp"], 2)
            return ("delta", *start, sid, seq, body["market_ticker"], side, price, change)
        if kind == "orderbook_snapshot":
            sides = [
                tuple((scaled(p, 4), scaled(s, 2)) for p, s in body.get(name, ()))
                for name in ("yes_dollars_fp", "no_dollars_fp")
            ]
            return ("snapshot", *start, sid, seq, body["market_ticker"], *sides)
        if kind == "trade":
            return ("trade", *start, sid, seq, body["market_ticker"], body.get("trade_id"), scaled(body["count_fp"], 2))
        if kind == "ticker":
            return ("ticker", *start, sid, seq, body["market_ticker"], body.get("ts_ms"))
    except (ValueError, KeyError, TypeError, ArithmeticError, RecursionError):
        return None
    return None


_ROWS = {
    "delta": "SELECT connection, recv_ns, sid, seq, ticker, side, price_e4, delta_e2"
    " FROM rl_orderbook_deltas d JOIN rl_markets m ON m.id = d.market_id WHERE session_id = %s",
    "trade": "SELECT connection, recv_ns, sid, seq, ticker, trade_id, size_e2"
    " FROM rl_trades t JOIN rl_markets m ON m.id = t.market_id WHERE session_id = %s",
    "ticker": "SELECT connection, recv_ns, sid, seq, ticker, venue_ms"
    " FROM rl_tickers k JOIN rl_markets m ON m.id = k.market_id WHERE session_id = %s",
}


def rows_of(conn: psycopg.Connection[Any], session: int) -> Counter[Key]:
    """Every stored message of a session, as `key_of` would name it; other frames by their bytes."""
    found: Counter[Key] = Counter()
    for kind, statement in _ROWS.items():
        found.update((kind, *row) for row in conn.execute(statement, [session]))
    snapshots = (
        "SELECT connection, recv_ns, sid, seq, ticker, yes_prices, yes_sizes, no_prices, no_sizes"
        " FROM rl_orderbook_snapshots s JOIN rl_markets m ON m.id = s.market_id WHERE session_id = %s"
    )
    for *start, yes_prices, yes_sizes, no_prices, no_sizes in conn.execute(snapshots, [session]):
        yes = tuple(zip(yes_prices, yes_sizes, strict=True))
        found["snapshot", *start, yes, tuple(zip(no_prices, no_sizes, strict=True))] += 1
    frames = conn.execute("SELECT connection, recv_ns, raw FROM rl_frames WHERE session_id = %s", [session])
    found.update(("frame", connection, recv_ns, bytes(raw)) for connection, recv_ns, raw in frames)
    return found


@dataclass(slots=True)
class _Heard:
    """One connection as a journal has it."""

    session: int
    connection: int
    frames: list[bytes]
    opened_ns: int


def judge(dsn: str, journals: Path, truth: Path | None = None) -> Judgement:
    """Look at every session of a database, the folder of its journals, and the exchange's log."""
    found, heard = Judgement(), list[_Heard]()
    with psycopg.connect(dsn, autocommit=True) as conn:
        for session, uuid in conn.execute("SELECT id, uuid::text FROM rl_sessions ORDER BY id").fetchall():
            found.sessions += 1
            heard += _judge_session(conn, session, journals / uuid, found)
        if truth is not None:
            _judge_truth(conn, truth, heard, found)
    return found


def _judge_session(conn: psycopg.Connection[Any], session: int, directory: Path, found: Judgement) -> list[_Heard]:
    rows = rows_of(conn, session)
    heard: dict[int, _Heard] = {}
    lost = 0
    for entry in read_log(directory):
        if entry.kind == CONNECTED:
            heard[entry.connection] = _Heard(session, entry.connection, [], entry.wall_ns)
        if entry.kind != FRAME:
            continue
        found.journalled += 1
        heard[entry.connection].frames.append(entry.payload)
        raw: Key = ("frame", entry.connection, entry.wall_ns, entry.payload)
        key = raw if rows.get(raw) else key_of(entry.connection, entry.wall_ns, entry.payload)
        if key is not None and rows[key] > 0:
            rows[key] -= 1
        else:
            lost += 1
    over = sum(count for count in rows.values() if count > 0)
    if lost or over:
        query = "SELECT state, journal_offset FROM rl_sessions JOIN rl_watermarks ON session_id = id WHERE id = %s"
        state = conn.execute(query, [session]).fetchone()
        found.notes.append(f"session {session} {state}: {lost} frames in no row, {over} rows of no frame; {directory}")
    found.lost += lost
    found.duplicated += over
    return list(heard.values())


def _judge_truth(conn: psycopg.Connection[Any], truth: Path, heard: list[_Heard], found: Judgement) -> None:
    sent: dict[int, list[Entry]] = {}
    for entry in read_log(truth):
        if entry.kind == FRAME:
            sent.setdefault(entry.connection, []).append(entry)
    gaps = conn.execute(
        "SELECT session_id, connection, recv_ns, ended_ns FROM rl_gaps WHERE kind = ANY(%s)", [list(ABSENT)]
    ).fetchall()
    closed = conn.execute("SELECT session_id, connection FROM rl_connections WHERE closed_ns IS NOT NULL").fetchall()
    # Connections whose end is on record: what was still under way on them then is known not to have come.
    ended = {(session, connection) for session, connection, *_ in gaps} | set(closed)
    found.sent = sum(map(len, sent.values()))
    for connection in (one for one in heard if one.frames):
        number = _same(connection, sent)
        if number is None:
            found.unknown += len(connection.frames)
            found.notes.append(f"session {connection.session} connection {connection.connection}: never sent like that")
            continue
        rest = sent.pop(number)[len(connection.frames) :]
        if (connection.session, connection.connection) in ended:
            found.unheard += len(rest)
        else:
            _outside(rest, gaps, found)
    for entries in sent.values():
        _outside(entries, gaps, found)


def _same(ours: _Heard, sent: dict[int, list[Entry]]) -> int | None:
    """The exchange's connection that this one was: it begins with the very frames that were received."""
    count = len(ours.frames)
    for number, entries in sorted(sent.items(), key=lambda item: abs(item[1][0].wall_ns - ours.opened_ns)):
        if len(entries) >= count and all(e.payload == f for e, f in zip(entries, ours.frames, strict=False)):
            return number
    return None


def _outside(entries: list[Entry], gaps: list[tuple[Any, ...]], found: Judgement) -> None:
    for entry in entries:
        inside = any(start <= entry.wall_ns and (end is None or entry.wall_ns <= end) for _, _, start, end in gaps)
        found.unheard += inside
        found.unrecorded += not inside
